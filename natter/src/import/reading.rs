//! Reads a source twice: once for what it is, once for its lines, which are read ahead by a thread of their own.

use std::io::BufRead;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{self, Receiver};

use super::bytes;
use super::draft::{Draft, Drafting};
use super::formats::{DROPPED, Format, Input, Losses};
use super::identity::{Fields, Identifier};
use super::line::{Line, Refusal};

/// Lines that are read ahead.
const AHEAD: usize = 1024;

/// A source as its first reading found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// First 16 bytes of the SHA-256 of what it says: packed or not, in whatever encoding, it is the same source.
    pub hash: [u8; 16],
    /// About how many lines it has.
    pub lines: u64,
}

/// A line that was read: its number, and what it says.
pub type Read = (u64, Result<Line, Refusal>);

impl Source {
    /// Reads a source once.
    ///
    /// # Errors
    /// It cannot be read, or is not of its format.
    pub fn of(input: &Input) -> anyhow::Result<Self> {
        match input.format {
            Format::Natter => Self::of_text(input),
            Format::Slack | Format::Discord | Format::Whatsapp | Format::Irc | Format::Mattermost => {
                Self::of_drafts(input)
            }
        }
    }

    fn of_text(input: &Input) -> anyhow::Result<Self> {
        let mut hash = Sha256::new();
        let mut lines = 0;
        let mut reader = bytes::open(&input.path, input.encoding)?;
        loop {
            let chunk = reader.fill_buf().with_context(|| format!("cannot read {}", input.path.display()))?;
            if chunk.is_empty() {
                return Ok(Self { hash: first_16(hash), lines });
            }
            hash.update(chunk);
            lines += chunk.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            let read = chunk.len();
            reader.consume(read);
        }
    }

    /// Another format is known by what it tells: an archive or a folder, it is the same.
    fn of_drafts(input: &Input) -> anyhow::Result<Self> {
        let mut hash = Sha256::new_with_prefix(format!("natter import {}\0", input.format));
        let mut lines = 0;
        let mut sink = |number: u64, draft: Result<Draft, Refusal>| {
            lines += 1;
            let told = serde_json::to_vec(&(number, draft.map_err(|refusal| refusal.message)))?;
            hash.update(&told);
            Ok(())
        };
        input.tell(&mut Losses::default(), &mut sink)?;
        Ok(Self { hash: first_16(hash), lines })
    }
}

/// The lines of a source, read ahead.
pub struct Lines {
    lines: Receiver<Read>,
    thread: JoinHandle<anyhow::Result<Losses>>,
}

impl Lines {
    /// Begins to read.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(input: Input, source: &Source, identify: Option<Fields>) -> anyhow::Result<Self> {
        let (sender, lines) = mpsc::channel(AHEAD);
        let mut drafting = Drafting::new(input.clean, Identifier::new(identify, source.hash));
        let read = move || {
            let mut losses = Losses::default();
            let mut sink = |number: u64, draft: Result<Draft, Refusal>| {
                let line = draft.and_then(|draft| drafting.line(number, draft));
                sender.blocking_send((number, line)).map_err(|_| anyhow!("nobody wants more lines"))
            };
            input.tell(&mut losses, &mut sink)?;
            losses.add(DROPPED, drafting.dropped());
            Ok(losses)
        };
        let thread =
            std::thread::Builder::new().name("import".to_owned()).spawn(read).context("no thread to read by")?;
        Ok(Self { lines, thread })
    }

    /// The next line; `None` after the last.
    pub async fn next(&mut self) -> Option<Read> {
        self.lines.recv().await
    }

    /// What was lost, after the last line.
    ///
    /// # Errors
    /// Not everything could be read.
    pub fn finish(self) -> anyhow::Result<Losses> {
        drop(self.lines);
        self.thread.join().map_err(|_| anyhow!("reading the source failed: this is a bug"))?
    }
}

fn first_16(hash: Sha256) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::import::formats::told;

    fn source(path: &Path, label: Option<&str>) -> Source {
        let encoding = label.map(|label| bytes::encoding(label).unwrap());
        Source::of(&Input { encoding, ..told::input(Format::Natter, path.to_owned()) }).unwrap()
    }

    #[test]
    fn packed_marked_or_encoded_it_is_the_same_source() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let text = "{\"a\":\"é\"}\n\n{\"b\":2}";
        let plain = source(&write("plain", text.as_bytes()), None);
        assert_eq!(plain.lines, 2);
        let packed = write("packed", &zstd::encode_all(text.as_bytes(), 1).unwrap());
        let marked = write("marked", format!("\u{feff}{text}").as_bytes());
        let latin = write("latin", &text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<_>>());
        let wide =
            write("wide", &format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        for (path, label) in [(packed, None), (marked, None), (latin, Some("latin1")), (wide, None)] {
            assert_eq!(source(&path, label), plain, "{path:?}");
        }
    }
}
