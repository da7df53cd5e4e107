//! A child's output on disk, bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Above this size the file moves on to its predecessor `<name>.log.1`.
const BYTES_MAX: u64 = 16 << 20;
/// How much of the end is looked at for the last lines.
const TAIL_BYTES: u64 = 8 << 10;

/// The log file of one backend and, beside it, its predecessor.
#[derive(Clone, Debug)]
pub struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub fn new(folder: &Path, name: &str) -> LogFile {
        LogFile { path: folder.join(format!("{name}.log")) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opened for a child to append to.
    pub fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)
    }

    /// Keeps the file below its bound while a child goes on writing to it.
    ///
    /// The child's handle stays valid, for it appends: the content is copied away and the file emptied. Lines that are written in
    /// between are lost, which a log of a third party's server can bear.
    pub fn bound(&self) -> io::Result<()> {
        if self.path.metadata().map_or(0, |found| found.len()) <= BYTES_MAX {
            return Ok(());
        }
        std::fs::copy(&self.path, self.path.with_extension("log.1"))?;
        OpenOptions::new().write(true).open(&self.path)?.set_len(0)
    }

    /// The last lines, for an error message; empty when there are none.
    pub fn last_lines(&self, count: usize) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).into_owned())
        };
        let tail = read().unwrap_or_default();
        let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_above_its_bound_moves_on_while_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::new(folder.path(), "nats");
        let mut writer = log.open().unwrap();
        writer.write_all(&vec![b'x'; usize::try_from(BYTES_MAX).unwrap() + 1]).unwrap();
        log.bound().unwrap();
        writer.write_all(b"a\n\nb\nc\n").unwrap();
        assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "a\n\nb\nc\n");
        assert_eq!(log.last_lines(2), "b\nc");
        assert_eq!(folder.path().join("nats.log.1").metadata().unwrap().len(), BYTES_MAX + 1);
    }

    #[test]
    fn a_missing_file_has_no_lines() {
        assert_eq!(LogFile::new(Path::new("/nonexistent"), "nats").last_lines(3), "");
    }
}
