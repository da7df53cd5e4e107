//! What histories are written in. Each format tells drafts in an order of its own that is always the same, so that a second run of
//! a source is the same history.

mod detect;
mod discord;
mod irc;
mod mattermost;
mod native;
mod slack;
mod whatsapp;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use encoding_rs::Encoding;

use super::draft::Draft;
use super::line::Refusal;
use super::times::{Dates, Zone};

pub use self::detect::detect;

/// What a history is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line: room, user, at, text
    Natter,
    /// An export of a Slack workspace, a folder or .zip
    Slack,
    /// JSON of DiscordChatExporter, one channel
    Discord,
    /// Text that WhatsApp exports, one chat
    Whatsapp,
    /// A log of irssi or WeeChat, one channel
    Irc,
    /// JSON lines of Mattermost's bulk export
    Mattermost,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Natter => "natter",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Whatsapp => "whatsapp",
            Self::Irc => "irc",
            Self::Mattermost => "mattermost",
        })
    }
}

/// Where a history is and how it is to be understood.
#[derive(Debug, Clone)]
pub struct Input {
    /// The file, or the folder.
    pub path: PathBuf,
    /// What it is written in.
    pub format: Format,
    /// What its text is encoded in; `None`: UTF-8, or what its byte order mark says.
    pub encoding: Option<&'static Encoding>,
    /// Whether control characters are dropped that would have a line refused.
    pub clean: bool,
    /// In which order dates stand; `None`: to be found out.
    pub dates: Option<Dates>,
    /// Where local times were local.
    pub zone: Zone,
    /// The room, where a file is of one and does not say which.
    pub room: Option<String>,
}

/// Takes what a format tells: the number of a line, and the draft or why there is none. An error ends the reading.
pub type Sink<'a> = &'a mut dyn FnMut(u64, Result<Draft, Refusal>) -> anyhow::Result<()>;

/// Under what dropped control characters are counted.
pub const DROPPED: &str = "control characters, dropped by --clean";

/// What a source has and an import has not: how many of what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(pub BTreeMap<&'static str, u64>);

impl Losses {
    /// So many of these are lost.
    pub fn add(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

impl Input {
    /// A file of Natter's own format.
    pub fn lines(path: PathBuf) -> Self {
        Self {
            path,
            format: Format::Natter,
            encoding: None,
            clean: false,
            dates: None,
            zone: Zone::default(),
            room: None,
        }
    }

    /// Tells everything there is, in order.
    ///
    /// # Errors
    /// The source cannot be read or is not of its format; or what the sink says.
    pub fn tell(&self, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
        match self.format {
            Format::Natter => native::tell(self, losses, sink),
            Format::Slack => slack::tell(self, losses, sink),
            Format::Discord => discord::tell(self, losses, sink),
            Format::Whatsapp => whatsapp::tell(self, losses, sink),
            Format::Irc => irc::tell(self, losses, sink),
            Format::Mattermost => mattermost::tell(self, losses, sink),
        }
    }

    /// The room of a file that is of one: as it was named, else what the file's name says.
    fn room(&self) -> String {
        let named = || {
            let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // The export of a folder of packed logs has two endings.
            let stem =
                [".txt", ".log", ".weechatlog"].iter().fold(stem, |stem, ending| match stem.strip_suffix(ending) {
                    Some(stem) => stem.to_owned(),
                    None => stem,
                });
            let stem = stem
                .strip_prefix("WhatsApp Chat with ")
                .or_else(|| stem.strip_prefix("WhatsApp Chat - "))
                .unwrap_or(&stem);
            // WeeChat's files are called `irc.network.#room`.
            match stem.rsplit_once(".#") {
                Some((_, room)) => format!("#{room}"),
                None => stem.to_owned(),
            }
        };
        super::people::room(&self.room.clone().unwrap_or_else(named))
    }
}

#[cfg(test)]
pub mod told {
    //! What a format tells of a text.

    use super::*;
    use crate::import::draft::{At, DraftWhat};

    pub struct Told {
        pub drafts: Vec<(u64, Result<Draft, Refusal>)>,
        pub losses: Losses,
    }

    pub fn input(format: Format, path: PathBuf) -> Input {
        Input { format, ..Input::lines(path) }
    }

    pub fn tell(input: &Input) -> anyhow::Result<Told> {
        let mut told = Told { drafts: Vec::new(), losses: Losses::default() };
        let drafts = &mut told.drafts;
        let mut sink = |number, draft| {
            drafts.push((number, draft));
            Ok(())
        };
        input.tell(&mut told.losses, &mut sink)?;
        Ok(told)
    }

    pub fn of_text(format: Format, name: &str, text: &str, change: impl FnOnce(&mut Input)) -> anyhow::Result<Told> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        let mut input = input(format, path);
        change(&mut input);
        tell(&input)
    }

    impl Told {
        /// `number room user at: text`, or `number refused: why`.
        pub fn lines(&self) -> Vec<String> {
            let line = |(number, draft): &(u64, Result<Draft, Refusal>)| match draft {
                Ok(draft) => {
                    let (DraftWhat::Message(text) | DraftWhat::Rename(text)) = &draft.what;
                    let at = match &draft.at {
                        At::Written(at) => at.clone(),
                        At::Ms(ms) => natter_schemas::wire::times::rfc3339((*ms).try_into().unwrap()),
                    };
                    let (room, text) = (draft.room.as_deref().unwrap_or_default(), text.as_deref().unwrap_or_default());
                    format!("{number} {room} {} {at}: {text}", draft.user)
                }
                Err(refusal) => format!("{number} refused: {}", refusal.message),
            };
            self.drafts.iter().map(line).collect()
        }

        pub fn lost(&self) -> Vec<(&'static str, u64)> {
            self.losses.0.iter().map(|(what, count)| (*what, *count)).collect()
        }
    }
}
