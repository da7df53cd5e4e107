//! The data folder: one process at a time, private files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, test_kill_process};
use serde::{Serialize, de::DeserializeOwned};

/// How long the children of a process that was just killed may take to follow it, and hold its lock.
const ORPHANS_WAIT: Duration = Duration::from_secs(3);
/// The same for a holder that seems to live: a killed process has a process id until its parent has looked at it.
const HOLDER_WAIT: Duration = Duration::from_millis(300);

/// An open data folder, locked for this process.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Arc<File>,
}

impl Folder {
    /// Makes the folder where it is missing and takes its lock.
    ///
    /// # Errors
    /// When another process has it: the error names the folder, that process and `--data`.
    pub async fn open(path: &Path) -> anyhow::Result<Folder> {
        make_private(path).with_context(|| format!("cannot make the data folder {}", path.display()))?;
        // Children run in folders of their own, so every path that they are given must be absolute.
        let path = path.canonicalize().with_context(|| format!("cannot open the data folder {}", path.display()))?;
        let lock = take_lock(&path).await?;
        Ok(Folder { path, lock: Arc::new(lock) })
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The locked file. Each child gets it as its standard input: the lock is free again only when the last of them is gone, so
    /// that a server is never started beside its dying predecessor.
    pub fn lock(&self) -> &Arc<File> {
        &self.lock
    }

    /// A private folder in this one, made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn subfolder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        make_private(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Reads a JSON file of this folder; `None` when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read or holds something else.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        read_json(&self.path.join(name))
    }

    /// Writes a JSON file of this folder, readable by its owner only, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        write_private(&self.path.join(name), &serde_json::to_vec_pretty(value)?)
    }
}

/// Reads a JSON file; `None` when there is none.
///
/// # Errors
/// When it cannot be read or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is not what natter wrote", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// When it cannot be written; the error names it.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        // The name too: a power cut must not bring back the file before it.
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

async fn take_lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let started = tokio::time::Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = holder(&mut file)?;
                let patience = if holder.is_none_or(is_alive) { HOLDER_WAIT } else { ORPHANS_WAIT };
                if started.elapsed() > patience {
                    let holder = holder.map_or_else(
                        || "another process".to_owned(),
                        |pid| format!("process {}", pid.as_raw_nonzero()),
                    );
                    bail!(
                        "the data folder {} is in use by {holder}: stop that one, or name another folder by --data",
                        folder.display()
                    );
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(std::process::id().to_string().as_bytes())?;
    Ok(file)
}

fn holder(file: &mut File) -> io::Result<Option<Pid>> {
    let mut written = String::new();
    file.rewind()?;
    file.read_to_string(&mut written)?;
    Ok(written.trim().parse().ok().and_then(Pid::from_raw))
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_folder_in_use_names_itself_its_holder_and_the_option() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let first = Folder::open(&path).await.unwrap();
        let error = Folder::open(&path).await.unwrap_err().to_string();
        for part in [first.path().to_str().unwrap(), &std::process::id().to_string(), "--data"] {
            assert!(error.contains(part), "{error}");
        }
        drop(first);
        Folder::open(&path).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_written_is_private_and_read_again() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("data")).await.unwrap();
        assert_eq!(folder.read_json::<u32>("number.json").unwrap(), None);
        folder.write_json("number.json", &7).unwrap();
        assert_eq!(folder.read_json::<u32>("number.json").unwrap(), Some(7));
        let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path().join("number.json")), 0o600);
        assert_eq!(mode(folder.subfolder("nats").unwrap()), 0o700);
        assert_eq!(mode(folder.path().to_owned()), 0o700);
    }
}
