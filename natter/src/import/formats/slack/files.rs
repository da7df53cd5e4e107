//! The files of an export, in a folder or in a zip file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zip::ZipArchive;

/// The largest file of an export that is read, unpacked: Slack writes one for each channel and day.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// What every export has.
const CHANNELS: &str = "channels.json";

/// The files of an export.
pub enum Files {
    /// Unpacked.
    Folder(PathBuf),
    /// As it was downloaded; with the folder within it in which the files lie.
    Zip(Box<ZipArchive<File>>, String),
}

/// Whether this is an export of Slack, as far as its files' names tell.
pub fn is_export(path: &Path) -> bool {
    Files::open(path).is_ok()
}

impl Files {
    /// Opens an export.
    ///
    /// # Errors
    /// It cannot be read, or has no list of channels.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            if !path.join(CHANNELS).is_file() {
                bail!("{} is no export of Slack: it has no {CHANNELS}", path.display());
            }
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let archive = ZipArchive::new(file).with_context(|| format!("{} is no zip file", path.display()))?;
        // A name that is no text is none of Slack's.
        let names = archive.file_names().filter_map(Result::ok);
        let lists = names.filter(|name| *name == CHANNELS || name.ends_with(&format!("/{CHANNELS}")));
        let Some(list) = lists.min_by_key(|name| name.len()) else {
            bail!("{} is no export of Slack: it has no {CHANNELS}", path.display());
        };
        let folder = list.trim_end_matches(CHANNELS).to_owned();
        Ok(Self::Zip(Box::new(archive), folder))
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).is_file(),
            Self::Zip(archive, folder) => archive.index_for_name(&format!("{folder}{name}")).is_some(),
        }
    }

    /// The JSON files in a folder, in the order of their names; none where there is no such folder.
    pub fn below(&self, name: &str) -> Vec<String> {
        let names: Box<dyn Iterator<Item = String>> = match self {
            Self::Folder(folder) => {
                let entries = std::fs::read_dir(folder.join(name)).into_iter().flatten().flatten();
                Box::new(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            }
            Self::Zip(archive, folder) => {
                let prefix = format!("{folder}{name}/");
                Box::new(
                    archive.file_names().filter_map(move |name| Some(name.ok()?.strip_prefix(&prefix)?.to_owned())),
                )
            }
        };
        let is_json = |file: &String| file.to_lowercase().ends_with(".json") && !file.contains('/');
        let mut names: Vec<String> = names.filter(is_json).map(|file| format!("{name}/{file}")).collect();
        names.sort();
        names
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is too large.
    pub fn read(&mut self, name: &str) -> anyhow::Result<Vec<u8>> {
        let cannot = || format!("cannot read {name} of the export");
        let mut bytes = Vec::new();
        match self {
            Self::Folder(folder) => {
                let file = File::open(folder.join(name)).with_context(cannot)?;
                file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(cannot)?;
            }
            Self::Zip(archive, folder) => {
                let file = archive.by_name(&format!("{folder}{name}")).with_context(cannot)?;
                file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(cannot)?;
            }
        }
        if bytes.len() as u64 > FILE_BYTES_MAX {
            bail!("{name} of the export has more than {FILE_BYTES_MAX} bytes");
        }
        Ok(bytes)
    }
}
