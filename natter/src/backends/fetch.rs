//! Brings a pinned package into the cache folder, once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::fs::{FlockOperation, flock};

use super::extract::verify_and_extract;
use super::pins::{Pin, pin};
use super::program::Candidate;
use super::registry;
use super::{Backend, Notice, Notify};

/// How often the growth of a download is looked at.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A file that serves a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    OnPath(PathBuf),
    /// In the cache folder; for ClickHouse the engine's library.
    Fetched(PathBuf),
}

impl Program {
    pub fn path(&self) -> &Path {
        let (Program::OnPath(path) | Program::Fetched(path)) = self;
        path
    }
}

/// The backend's program: the one on PATH when it is new enough, else the pinned one, fetched where it is not in the cache yet.
pub async fn program(backend: Backend, on_path: Candidate, notify: &Notify) -> anyhow::Result<Program> {
    if let Some(program) = on_path.on_path().await {
        return Ok(Program::OnPath(program));
    }
    let pin = pin(backend);
    match fetch(backend, pin, &cache_folder()?, notify).await {
        Ok(program) => Ok(Program::Fetched(program)),
        Err(error) => {
            let (package, version, name, (major, minor, _)) =
                (&pin.package, &pin.version, on_path.name, on_path.minimum);
            bail!(
                "cannot get the package {package} {version}: {error:#}\nWithout it: put {name} {major}.{minor} or newer on PATH, name a \
                 running {backend} in the config, or use compose.yaml"
            )
        }
    }
}

/// From where [`program`] would take it.
pub async fn source(backend: Backend, on_path: Candidate) -> anyhow::Result<String> {
    if let Some(program) = on_path.on_path().await {
        return Ok(format!("{}, which is on PATH", program.display()));
    }
    let pin = pin(backend);
    let folder = cache_folder()?.join(pin.folder_name());
    if folder.join(&pin.program).is_file() {
        return Ok(format!("{} {}, which was fetched into {}", pin.package, pin.version, folder.display()));
    }
    has_packages()?;
    let client = registry::client(pin.registry).await?;
    Ok(format!(
        "{} {}, {} MB, which the first start fetches by {client}",
        pin.package,
        pin.version,
        pin.bytes / 1_000_000
    ))
}

fn has_packages() -> anyhow::Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        bail!("there is no package for {}-{}", std::env::consts::OS, std::env::consts::ARCH);
    }
    Ok(())
}

/// `$XDG_CACHE_HOME/natter`, by default `~/.cache/natter`.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME names a folder, so there is none for the cache")?.join("natter"))
}

/// The pinned file in `cache`, fetched when it is missing.
///
/// Processes that fetch the same package at once wait for the first of them. A finished folder appears by a rename, so what is there
/// is whole, and it is never written again.
async fn fetch(backend: Backend, pin: &'static Pin, cache: &Path, notify: &Notify) -> anyhow::Result<PathBuf> {
    let folder = cache.join(pin.folder_name());
    let program = folder.join(&pin.program);
    if program.is_file() {
        return Ok(program);
    }
    has_packages()?;
    make_folder(cache)?;
    let lock = lock(cache.join(format!("{}.lock", pin.folder_name()))).await?;
    if program.is_file() {
        return Ok(program);
    }
    let unfinished = cache.join(format!("{}.unfinished", pin.folder_name()));
    // What a killed predecessor left behind; nobody else is at it, for the lock is ours.
    remove_folder(&unfinished)?;
    make_folder(&unfinished)?;
    let package = format!("{} {}", pin.package, pin.version);
    let started = Instant::now();
    let bar = bar(&package, pin.bytes);
    // Without a terminal there are lines instead of a bar.
    if bar.is_hidden() {
        notify(Notice::Fetching { backend, package: package.clone(), bytes: pin.bytes });
    }
    let finished = download_and_finish(pin, unfinished, folder, &bar).await;
    bar.finish_and_clear();
    finished?;
    if bar.is_hidden() {
        notify(Notice::Fetched { backend, package, seconds: started.elapsed().as_secs_f64() });
    }
    drop(lock);
    Ok(program)
}

async fn download_and_finish(
    pin: &'static Pin,
    unfinished: PathBuf,
    folder: PathBuf,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut download = std::pin::pin!(registry::download(pin, &unfinished));
    loop {
        tokio::select! {
            result = &mut download => break result?,
            // The registry's clients do not say how far they are.
            () = tokio::time::sleep(PROGRESS_EVERY) => bar.set_position(bytes_below(&unfinished).min(pin.bytes)),
        }
    }
    bar.set_message(format!("unpacking {}", pin.package));
    let unpacked = tokio::task::spawn_blocking({
        let unfinished = unfinished.clone();
        move || finish(pin, &unfinished, &folder)
    });
    unpacked.await.context("unpacking was cut short")?
}

/// Extracts into a folder that then gets its final name.
fn finish(pin: &Pin, unfinished: &Path, folder: &Path) -> anyhow::Result<()> {
    let kept = unfinished.join("kept");
    make_folder(&kept)?;
    verify_and_extract(&unfinished.join(&pin.file), pin, &kept.join(&pin.program))?;
    std::fs::rename(&kept, folder).with_context(|| format!("cannot move the package to {}", folder.display()))?;
    remove_folder(unfinished)
}

/// One line below those of the other fetches; nothing when standard error is not a terminal.
fn bar(package: &str, bytes: u64) -> ProgressBar {
    static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}").expect("the template is tested");
    BARS.add(ProgressBar::new(bytes).with_style(style).with_message(format!("fetching {package}")))
}

async fn lock(path: PathBuf) -> anyhow::Result<File> {
    let wait = move || -> io::Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    tokio::task::spawn_blocking(wait)
        .await
        .context("waiting for the cache's lock was cut short")?
        .context("cannot lock the cache folder")
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}

fn remove_folder(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Size of all files below; what vanishes meanwhile counts as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_in_the_cache_is_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        let pin = pin(Backend::Nats);
        let folder = cache.path().join(pin.folder_name());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(&pin.program), "kept").unwrap();
        let notify: Notify = std::sync::Arc::new(|notice| panic!("{notice}"));
        let program = fetch(Backend::Nats, pin, cache.path(), &notify).await.unwrap();
        assert_eq!(std::fs::read_to_string(program).unwrap(), "kept");
    }

    #[test]
    fn sizes_are_summed_over_folders() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("a"), [0; 10]).unwrap();
        std::fs::write(folder.path().join("inner/b"), [0; 20]).unwrap();
        assert_eq!(bytes_below(folder.path()), 30);
        assert_eq!(bytes_below(Path::new("/nonexistent")), 0);
        assert!(bar("p 1", 1).is_hidden() || bar("p 1", 1).length() == Some(1));
    }
}
