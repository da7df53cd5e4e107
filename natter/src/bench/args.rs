//! The command line of `natter bench`.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use natter_schemas::names::Tenant;

use crate::cli;
use crate::rebuild::View;

/// `natter bench`.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// 1:1 chats: sessions in pairs that write to each other, at fixed times whatever the answers do.
    Sockets(Sockets),
    /// One room: what each member writes reaches all of them.
    Room(Room),
    /// Sessions that do nothing: memory and CPU of the gateway for each.
    Idle(Idle),
    /// Handshakes with a token, until the session is opened.
    Connect(Connect),
    /// Pages of a long history, newest and deep, while others write.
    History(History),
    /// Starts: with an empty log and a long one, after a kill, and after the Redis views are lost; on a system of its own.
    Start(Start),
    /// A view built anew: records a second, memory, reads meanwhile; and rebuilds that are killed and go on.
    Rebuild(Rebuild),
    /// Publisher, decision, outcome: without sockets, in this process, on servers of its own.
    Pipeline(Pipeline),
}

/// The running system that is meant.
#[derive(Debug, Clone, Args)]
pub struct Against {
    /// Which system.
    #[command(flatten)]
    pub running: cli::Running,
    /// The application.
    #[arg(long, default_value = "demo")]
    pub tenant: Tenant,
    /// The gateway of a system that runs elsewhere, http://host:port.
    #[arg(long, requires = "config")]
    pub gateway: Option<String>,
    /// Where a process of a system that runs elsewhere serves metrics; may be given several times.
    #[arg(long, requires = "config")]
    pub metrics: Vec<String>,
    /// A process of it on this machine whose CPU and memory count, as NAME=PID (the gateway's NAME is gateway); may be given
    /// several times.
    #[arg(long, requires = "config", value_parser = parse_process)]
    pub process: Vec<(String, u32)>,
    /// Print the report as one JSON line.
    #[arg(long)]
    pub json: bool,
}

/// How long a load runs.
#[derive(Debug, Clone, Copy, Args)]
pub struct Span {
    /// Seconds that are measured.
    #[arg(long, default_value_t = 15)]
    pub seconds: u64,
    /// Seconds of the same load before that.
    #[arg(long, default_value_t = 5)]
    pub warm_up: u64,
}

/// `natter bench sockets`.
#[derive(Debug, Args)]
pub struct Sockets {
    /// Which system.
    #[command(flatten)]
    pub against: Against,
    /// How long each rate runs.
    #[command(flatten)]
    pub span: Span,
    /// Sessions; an even number, because they chat in pairs.
    #[arg(long, default_value_t = 1000)]
    pub sessions: u32,
    /// Messages a second over all sessions; several, separated by commas, run one after another.
    #[arg(long, value_delimiter = ',', default_value = "5000")]
    pub rate: Vec<u64>,
    /// Look for the highest rate at which everything is answered and delivered and both views keep up, from the first rate on.
    #[arg(long)]
    pub find: bool,
    /// Characters of a message.
    #[arg(long, default_value_t = 43)]
    pub text_bytes: usize,
}

/// `natter bench room`.
#[derive(Debug, Args)]
pub struct Room {
    /// Which system.
    #[command(flatten)]
    pub against: Against,
    /// How long each rate runs.
    #[command(flatten)]
    pub span: Span,
    /// Members, all of them connected; they write in turn.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    pub members: u32,
    /// Messages a second in the room; several, separated by commas, run one after another.
    #[arg(long, value_delimiter = ',', default_value = "300")]
    pub rate: Vec<u64>,
    /// Look for the highest rate at which everything is delivered, from the first rate on, and put twice as much on then.
    #[arg(long)]
    pub find: bool,
    /// Members that look into each message (order, completeness, latency); the others count.
    #[arg(long, default_value_t = 16)]
    pub look: u32,
    /// Characters of a message.
    #[arg(long, default_value_t = 43)]
    pub text_bytes: usize,
}

/// `natter bench idle`.
#[derive(Debug, Args)]
pub struct Idle {
    /// Which system.
    #[command(flatten)]
    pub against: Against,
    /// Sessions.
    #[arg(long, default_value_t = 10_000)]
    pub sessions: u32,
    /// Seconds that they do nothing.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
}

/// `natter bench connect`.
#[derive(Debug, Args)]
pub struct Connect {
    /// Which system.
    #[command(flatten)]
    pub against: Against,
    /// How long each rate runs.
    #[command(flatten)]
    pub span: Span,
    /// Handshakes a second, at fixed times; several, separated by commas, run one after another; 0: as many as are taken.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub rate: Vec<u64>,
    /// Handshakes on their way at once, where as many as are taken are made.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: u32,
    /// Users who connect in turn.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub users: u32,
}

/// `natter bench history`.
#[derive(Debug, Args)]
pub struct History {
    /// Which system.
    #[command(flatten)]
    pub against: Against,
    /// How long it is read.
    #[command(flatten)]
    pub span: Span,
    /// Messages of the room that is read, written before.
    #[arg(long, default_value_t = 20_000)]
    pub messages: u64,
    /// Pages read a second, at fixed times: newest and deep ones in turn.
    #[arg(long, default_value_t = 50)]
    pub reads: u64,
    /// Messages written a second meanwhile, in 1:1 chats; 0: none.
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    /// Sessions that write.
    #[arg(long, default_value_t = 100)]
    pub sessions: u32,
    /// Messages of a page.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub limit: u64,
}

/// `natter bench start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Messages of the long log.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: u64,
    /// Print the report as one JSON line.
    #[arg(long)]
    pub json: bool,
}

/// `natter bench rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Which system; with --config, its users must be those who may do everything (admin, default).
    #[command(flatten)]
    pub against: Against,
    /// Not a system that runs: one of the bench's own, with so many messages in its log.
    #[arg(long, conflicts_with_all = ["data", "config"], value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// The views, one after another.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["redis", "clickhouse"])]
    pub views: Vec<View>,
    /// Kill the rebuild of each view so many times, starting it again each time, and audit in the end.
    #[arg(long, default_value_t = 0)]
    pub kills: u32,
    /// Of the moments of the kills.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Records a second at most, as `natter rebuild --throttle`.
    #[arg(long, value_name = "RECORDS")]
    pub throttle: Option<NonZeroU64>,
    /// Seconds of reads before each rebuild.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Pages read a second, at fixed times: newest and deep ones in turn.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub reads: u64,
    /// Messages of the room that is read, written before.
    #[arg(long, default_value_t = 20_000)]
    pub room: u64,
    /// Messages of a page.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub limit: u64,
}

/// `natter bench pipeline`.
#[derive(Debug, Args)]
pub struct Pipeline {
    /// How long each load runs.
    #[command(flatten)]
    pub span: Span,
    /// Gateways (publishers, each with a live feed of every partition); several, separated by commas, make a table.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub gateways: Vec<u32>,
    /// Partitions; several, separated by commas, make a table.
    #[arg(long, value_delimiter = ',', default_value = "4")]
    pub partitions: Vec<u16>,
    /// Whether both projectors run.
    #[arg(long, value_delimiter = ',', default_value = "off")]
    pub projections: Vec<Switch>,
    /// Records a second, at fixed times, for latencies; several, separated by commas, run one after another.
    #[arg(long, value_delimiter = ',', default_value = "20000")]
    pub rate: Vec<u64>,
    /// Leave the load out that takes as many records as are answered.
    #[arg(long)]
    pub no_saturation: bool,
    /// Unanswered records at once, where as many as are taken are made.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(1..))]
    pub window: u64,
    /// When the broker syncs what it acknowledges to disk.
    #[arg(long, value_enum, default_value_t = SyncWhen::Always)]
    pub sync: SyncWhen,
    /// Beside each cell, the same without decisions: an echo in the processor's place.
    #[arg(long)]
    pub bare: bool,
    /// Direct chats that the records go to in turn.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub conversations: u32,
    /// Characters of a message: 150 make a record of 200 bytes.
    #[arg(long, default_value_t = 150)]
    pub text_bytes: usize,
    /// Print the report as one JSON line.
    #[arg(long)]
    pub json: bool,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Off.
    Off,
    /// On.
    On,
}

/// When the broker syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SyncWhen {
    /// Before each acknowledgement, as Natter ships it.
    Always,
    /// Every two minutes, the broker's own default: a power cut loses what was acknowledged.
    Default,
}

impl Span {
    /// How long is measured.
    pub const fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long before that.
    pub const fn before(&self) -> Duration {
        Duration::from_secs(self.warm_up)
    }
}

fn parse_process(text: &str) -> Result<(String, u32), String> {
    let refused = || format!("`{text}` is not NAME=PID");
    let (name, pid) = text.split_once('=').ok_or_else(refused)?;
    Ok((name.to_owned(), pid.parse().map_err(|_| refused())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_named() {
        assert_eq!(parse_process("gateway=12"), Ok(("gateway".to_owned(), 12)));
        assert!(parse_process("12").is_err() && parse_process("a=b").is_err());
    }
}
