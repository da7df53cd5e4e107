//! The file of an import: its hash, its lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// The longest line that is read, in bytes: a message of the greatest length, all of it escaped, and then some.
const LINE_BYTES_MAX: usize = 1 << 20;

/// How files begin that are packed by zstd, and by gzip.
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// An existing history, `.jsonl` or `.jsonl.zst`.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// First 16 bytes of the SHA-256 of the unpacked file, as 32 hex digits: packed or not, it is the same source.
    pub hash: String,
    /// Lines in the file.
    pub lines: u64,
}

impl Source {
    /// Reads the file once for its hash.
    ///
    /// # Errors
    /// It cannot be read or unpacked, or is not UTF-8.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let mut hasher = Sha256::new();
        let mut lines = 0;
        let mut reader = unpacked(path)?;
        loop {
            let chunk = reader.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
            if chunk.is_empty() {
                break;
            }
            hasher.update(chunk);
            lines += chunk.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            let read = chunk.len();
            reader.consume(read);
        }
        let hash = hex::encode(&hasher.finalize()[..16]);
        Ok(Self { path: path.to_owned(), hash, lines })
    }

    /// The lines that are not blank, with their numbers from 1.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn lines(&self) -> anyhow::Result<Lines> {
        Ok(Lines { reader: unpacked(&self.path)?, path: self.path.clone(), number: 0 })
    }
}

/// The lines of a source.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    number: u64,
}

impl Iterator for Lines {
    type Item = anyhow::Result<(u64, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Ok(None) => return None,
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => return Some(Ok((self.number, line))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Lines {
    fn read(&mut self) -> anyhow::Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
        let read =
            limited.read_until(b'\n', &mut bytes).with_context(|| format!("cannot read {}", self.path.display()))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read > LINE_BYTES_MAX {
            bail!(
                "line {} of {} is longer than {LINE_BYTES_MAX} bytes: is this a file of JSON lines?",
                self.number,
                self.path.display()
            );
        }
        // Invalid UTF-8 makes the line invalid JSON, which is refused by its number like any other.
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn unpacked(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut begins = [0; 4];
    let read = file.read(&mut begins).with_context(|| format!("cannot read {}", path.display()))?;
    file.rewind().with_context(|| format!("cannot read {}", path.display()))?;
    if begins[..read].starts_with(&GZIP) {
        bail!("{} is packed by gzip: unpack it, or pack it by zstd", path.display());
    }
    let is_zstd = begins[..read] == ZSTD;
    if path.extension().is_some_and(|extension| extension == "zst") && !is_zstd {
        bail!("{} is not packed by zstd, as its name says", path.display());
    }
    if is_zstd {
        let decoder =
            zstd::stream::read::Decoder::new(file).with_context(|| format!("cannot unpack {}", path.display()))?;
        Ok(Box::new(BufReader::with_capacity(1 << 18, decoder)))
    } else {
        Ok(Box::new(BufReader::with_capacity(1 << 18, file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_or_not_it_is_the_same_source() {
        let folder = tempfile::tempdir().unwrap();
        let text = "{\"a\":1}\n\n{\"b\":2}";
        let (plain, packed) = (folder.path().join("h.jsonl"), folder.path().join("h.jsonl.zst"));
        std::fs::write(&plain, text).unwrap();
        std::fs::write(&packed, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
        let (plain, packed) = (Source::open(&plain).unwrap(), Source::open(&packed).unwrap());
        assert_eq!(plain.hash, packed.hash);
        let lines: Vec<_> = packed.lines().unwrap().map(Result::unwrap).collect();
        assert_eq!(lines, [(1, "{\"a\":1}\n".to_owned()), (3, "{\"b\":2}".to_owned())]);
    }

    #[test]
    fn what_is_packed_otherwise_is_said() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, said) in [
            ("h.jsonl.gz", &[0x1F, 0x8B, 8, 0, 0][..], "packed by gzip"),
            ("h.jsonl.zst", &b"{}\n"[..], "not packed by zstd"),
        ] {
            let file = folder.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            let error = Source::open(&file).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(name), "{error}");
        }
        let packed = folder.path().join("of-any-name");
        std::fs::write(&packed, zstd::encode_all(&b"{}"[..], 1).unwrap()).unwrap();
        assert_eq!(Source::open(&packed).unwrap().lines().unwrap().count(), 1);
    }
}
