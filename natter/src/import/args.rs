//! `natter import` on the command line.

use std::path::PathBuf;

use clap::Args;
use encoding_rs::Encoding;
use natter_schemas::names::{ExternalId, Tenant};

use super::bytes::encoding;
use super::formats::{Format, Input, detect};
use super::identity::Fields;
use super::times::{Dates, Zone};
use crate::cli::Running;

/// `natter import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The history: a file, also packed by zstd; of Slack the folder or .zip.
    pub file: PathBuf,
    /// What it is written in; without it, what its beginning says.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// What its text is encoded in, such as windows-1252, iso-8859-1 or utf-16le; without it UTF-8, or what its byte order mark says.
    #[arg(long, value_parser = encoding)]
    pub encoding: Option<&'static Encoding>,
    /// Drop NUL and other control characters that have a line refused, and count them.
    #[arg(long)]
    pub clean: bool,
    /// What makes a line the same line in any file: `id`, or several of room,user,at,text. Without it, a line's `id` where it has one.
    #[arg(long, value_name = "FIELDS")]
    pub identify: Option<Fields>,
    /// Of WhatsApp: in which order dates have day, month and year; without it, the only order that the file allows.
    #[arg(long, value_enum)]
    pub dates: Option<Dates>,
    /// Of WhatsApp and IRC: where the clock hung, such as Europe/Berlin or +05:30.
    #[arg(long, default_value = "UTC")]
    pub zone: Zone,
    /// Of WhatsApp, IRC and Discord: the room; without it, as the file is called or says.
    #[arg(long)]
    pub room: Option<ExternalId>,
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// The application.
    #[arg(long, default_value = "demo")]
    pub tenant: Tenant,
    /// The gateway of a system that runs elsewhere, http://host:port.
    #[arg(long, requires = "config")]
    pub gateway: Option<String>,
    /// Lines on their way at once: fewer take less from live users.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=6000))]
    pub window: u64,
    /// Print the summary as one JSON line.
    #[arg(long)]
    pub json: bool,
}

impl Import {
    /// The history and how it is to be understood.
    ///
    /// # Errors
    /// Its format cannot be found out.
    pub fn input(&self) -> anyhow::Result<Input> {
        Ok(Input {
            path: self.file.clone(),
            format: self.format.map_or_else(|| detect(&self.file, self.encoding), Ok)?,
            encoding: self.encoding,
            clean: self.clean,
            dates: self.dates,
            zone: self.zone.clone(),
            room: self.room.as_ref().map(|room| room.as_str().to_owned()),
        })
    }
}
