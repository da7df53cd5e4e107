//! What an audit found.

use std::fmt;

use serde::Serialize;

use super::model::{Modelled, Sampling};

/// Where a difference was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// The streams, by themselves.
    Log,
    /// The Redis views, against the log.
    Redis,
    /// The history, against the log.
    ClickHouse,
}

impl Store {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Redis => "redis",
            Self::ClickHouse => "clickhouse",
        }
    }
}

/// In which way something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is not there.
    Missing,
    /// It is there more than once.
    Doubled,
    /// It is something else than it must be.
    Altered,
    /// It is not in its place.
    Reordered,
    /// It is there, and nothing in the log says so.
    Unexpected,
    /// It claims to be further than it is, or than the log.
    Ahead,
    /// It claims, or was found, to be less far than it must be.
    Behind,
    /// It is of another log.
    Foreign,
    /// Replicas of a stream do not hold the same.
    Replicas,
    /// Deciding it again gives something else.
    Decision,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where it was found.
    pub store: Store,
    /// The partition; `None`: it is about the whole log.
    pub partition: Option<u16>,
    /// In which way.
    pub kind: Kind,
    /// What differs: a position, a stream, a key, a conversation.
    pub place: String,
    /// How, for people.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, kind, place, detail, .. } = self;
        let kind = format!("{kind:?}").to_lowercase();
        write!(formatter, "{} {kind} {place}: {detail}", store.name())
    }
}

/// How a view stands to the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct View {
    /// The last sequence of `EVT_p` that it claims to show.
    pub watermark: u64,
    /// Batches of the log that it does not show yet.
    pub behind: u64,
    /// Keys (of Redis) or rows (of ClickHouse) compared.
    pub compared: u64,
}

/// One partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number.
    pub partition: u16,
    /// The last sequence of `EVT_p`.
    pub batches: u64,
    /// Outcomes in it.
    pub outcomes: u64,
    /// The last sequence of `CMD_p` that is answered.
    pub answered: u64,
    /// Command batches compared with their outcomes; those before were trimmed.
    pub commands_compared: u64,
    /// Command batches that have no outcome yet.
    pub unanswered: u64,
    /// Conversations made.
    pub conversations: u64,
    /// Messages sent.
    pub messages: u64,
    /// The Redis views; `None`: not looked at, or of no use.
    pub redis: Option<View>,
    /// The history; likewise.
    pub clickhouse: Option<View>,
    /// Outcomes that were decided again; `None`: not asked for.
    pub decided: Option<u64>,
    /// What a second fold was compared with; `None`: not asked for, or the log cannot be read.
    pub model: Option<Modelled>,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Whether nothing differs.
    pub clean: bool,
    /// The log's id.
    pub log: String,
    /// Each partition.
    pub partitions: Vec<Partition>,
    /// Differences in all.
    pub differences_total: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Servers whose replicas were compared.
    pub replicas: usize,
    /// How long it took.
    pub seconds: f64,
    /// How long deciding again took of that.
    pub decided_seconds: Option<f64>,
    /// The sample of the second fold.
    pub sampling: Option<Sampling>,
}

impl Report {
    /// Whether nothing differs.
    pub const fn is_clean(&self) -> bool {
        self.differences_total == 0
    }

    /// What was done beyond a usual audit.
    fn looked_deeper(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seconds) = self.decided_seconds {
            let decided = self.sum(|one| one.decided.unwrap_or(0));
            writeln!(formatter, "decided again: {decided} outcomes in {seconds:.1} s")?;
        }
        if let Some(Sampling { seed, one_of }) = self.sampling {
            let models = self.partitions.iter().filter_map(|one| one.model);
            let all = models.fold(Modelled::default(), Modelled::and);
            writeln!(formatter, "folded a second way: {all} (one of {one_of}, seed {seed})")?;
        }
        Ok(())
    }

    pub(super) fn sum(&self, of: impl Fn(&Partition) -> u64) -> u64 {
        self.partitions.iter().map(of).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = |view: &Option<View>| match view {
            Some(View { watermark, behind: 0, compared }) => format!("{watermark} ({compared})"),
            Some(View { watermark, behind, compared }) => format!("{watermark}, {behind} behind ({compared})"),
            None => "-".to_owned(),
        };
        writeln!(formatter, "log {}, {} replica(s), {:.1} s", self.log, self.replicas, self.seconds)?;
        writeln!(
            formatter,
            "{:>9} {:>9} {:>9} {:>10} {:>10} {:>9}  {:<24} {:<24}",
            "partition",
            "batches",
            "answered",
            "unanswered",
            "outcomes",
            "messages",
            "redis (keys)",
            "clickhouse (rows)"
        )?;
        for one in &self.partitions {
            let Partition { partition, batches, answered, unanswered, outcomes, messages, redis, clickhouse, .. } = one;
            let (redis, clickhouse) = (view(redis), view(clickhouse));
            writeln!(
                formatter,
                "{partition:>9} {batches:>9} {answered:>9} {unanswered:>10} {outcomes:>10} {messages:>9}  {redis:<24} {clickhouse:<24}"
            )?;
        }
        self.looked_deeper(formatter)?;
        for difference in &self.differences {
            writeln!(formatter, "{difference}")?;
        }
        let more = self.differences_total - self.differences.len() as u64;
        if more > 0 {
            writeln!(formatter, "and {more} more")?;
        }
        match self.differences_total {
            0 => write!(formatter, "clean: {} outcomes, no difference", self.sum(|one| one.outcomes)),
            total => write!(formatter, "{total} difference(s)"),
        }
    }
}

/// Differences as they are found: the first are kept, all are counted.
#[derive(Debug)]
pub(crate) struct Differences {
    partition: Option<u16>,
    kept_max: usize,
    pub(crate) kept: Vec<Difference>,
    pub(crate) total: u64,
}

impl Differences {
    pub(crate) const fn of(partition: Option<u16>, kept_max: usize) -> Self {
        Self { partition, kept_max, kept: Vec::new(), total: 0 }
    }

    pub(super) fn add(&mut self, store: Store, kind: Kind, place: impl Into<String>, detail: impl Into<String>) {
        self.total += 1;
        if self.kept.len() < self.kept_max {
            let (place, detail) = (place.into(), detail.into());
            self.kept.push(Difference { store, partition: self.partition, kind, place, detail });
        }
    }

    pub(super) const fn kept_max(&self) -> usize {
        self.kept_max
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.total += others.total;
        let room = self.kept_max.saturating_sub(self.kept.len());
        self.kept.extend(others.kept.into_iter().take(room));
    }
}
