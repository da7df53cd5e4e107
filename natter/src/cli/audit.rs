//! `natter audit`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Running, parse_duration};

/// `natter audit`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
pub struct Audit {
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// What to compare with the log, beside the log itself: redis, clickhouse, both, or nothing (log).
    #[arg(long, value_delimiter = ',', default_values = ["redis", "clickhouse"])]
    pub views: Vec<AuditedView>,
    /// A further server that must hold the same streams, nats://user:password@host:port; those of a cluster are found by
    /// themselves. May be given several times.
    #[arg(long)]
    pub replica: Vec<String>,
    /// Wait at most so long (such as 30s) until everything commanded so far is decided and in the views; what is not then
    /// is a difference. Without it, views may be behind.
    #[arg(long, value_parser = parse_duration)]
    pub caught_up: Option<Duration>,
    /// Differences that are named; all are counted.
    #[arg(long, default_value_t = 100)]
    pub differences: usize,
    /// Also decide the whole log again from its outcomes alone and compare every byte; with --follow, in each look at everything.
    #[arg(long)]
    pub decide: bool,
    /// Also compare what readers see with a second, independent fold of the log; with --follow, in each look at everything.
    #[arg(long)]
    pub model: bool,
    /// With --model: look at one of so many conversations and users; 1: at all of them.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..), requires = "model")]
    pub model_one_of: u64,
    /// With --model: which ones; the report names it. Without it, other ones each time.
    #[arg(long, requires = "model")]
    pub model_seed: Option<u64>,
    /// Print the report as one JSON document; with --follow, one line for each round that found something.
    #[arg(long)]
    pub json: bool,
    /// Go on until SIGINT or SIGTERM, at the cost of what is new since the last round, and serve metrics.
    #[arg(long, conflicts_with = "caught_up")]
    pub follow: bool,
    /// With --follow: from the begin of a round to that of the next.
    #[arg(long, default_value = "10s", value_parser = parse_duration, requires = "follow")]
    pub every: Duration,
    /// With --follow: from a look at everything to the next.
    #[arg(long, default_value = "6h", value_parser = parse_duration, requires = "follow")]
    pub full_every: Duration,
    /// With --follow: where /metrics and /healthz are served.
    #[arg(long, default_value = "127.0.0.1:9465", requires = "follow")]
    pub listen: String,
}

/// A view that an audit compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditedView {
    /// Nothing but the log.
    Log,
    /// The Redis views.
    Redis,
    /// The history.
    Clickhouse,
}
