//! `natter bench`: what the system does under a load, measured so that the figures can be believed.
//!
//! Loads are open: when each message is due was fixed before, and latency counts from then, so a stall shows in all that it
//! held up. Every report names the machine, the settings and the servers' versions, keeps the servers' CPU apart from the
//! generator's, and says what a bare comparison did in the same minute: machines differ, and so do hours on one machine.
//! docs/benchmarks.md says what each mode is for.

pub mod args;
mod bare;
mod client;
mod connect;
mod find;
mod history;
pub(crate) mod http;
mod idle;
mod latency;
mod machine;
mod own;
mod pace;
mod pages;
mod pipeline;
mod processes;
mod rebuild;
mod report;
mod room;
mod scrape;
mod sockets;
mod start;
mod system;
mod traffic;
mod wire;

use std::fmt::Display;

use serde::Serialize;

pub use self::args::Bench;

/// A report as it is printed.
#[derive(Debug)]
pub struct Shown {
    /// The report.
    pub text: String,
    /// Whether everything was as it must be, as far as the mode judges that; how good a figure is, is for people to judge.
    pub is_right: bool,
}

/// Runs a mode and gives its report: JSON in one line where that was asked for, else tables.
///
/// # Errors
/// The mode cannot run; a figure that is bad is no error.
pub async fn bench(args: &Bench) -> anyhow::Result<Shown> {
    match args {
        Bench::Sockets(args) => shown(&sockets::sockets(args).await?, args.against.json),
        Bench::Room(args) => shown(&room::room(args).await?, args.against.json),
        Bench::Idle(args) => shown(&idle::idle(args).await?, args.against.json),
        Bench::Connect(args) => shown(&connect::connect(args).await?, args.against.json),
        Bench::History(args) => shown(&history::history(args).await?, args.against.json),
        Bench::Start(args) => shown(&start::start(args).await?, args.json),
        Bench::Pipeline(args) => shown(&pipeline::pipeline(args).await?, args.json),
        Bench::Rebuild(args) => {
            let report = rebuild::rebuild(args).await?;
            let is_right = report.runs.iter().all(rebuild::Run::is_right);
            Ok(Shown { is_right, ..shown(&report, args.against.json)? })
        }
    }
}

fn shown<R: Serialize + Display>(report: &report::Report<R>, json: bool) -> anyhow::Result<Shown> {
    let text = if json { serde_json::to_string(report)? } else { report.to_string() };
    Ok(Shown { text, is_right: true })
}
