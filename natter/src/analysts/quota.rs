//! What one statement of a tenant's analyst may take.

use clap::Args;
use serde::{Deserialize, Serialize};

/// The most that a statement may take; one that takes more is refused with ClickHouse's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Seconds that a statement may run.
    #[arg(long = "seconds-max", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Memory that a statement may take, in MiB.
    #[arg(long = "memory-mib-max", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub memory_mib: u64,
    /// Rows that a statement may read, of all tenants where they lie together.
    #[arg(long = "rows-read-max", default_value_t = 200_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows_read: u64,
    /// Rows of a result.
    #[arg(long = "result-rows-max", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub result_rows: u64,
    /// Size of a result, in MiB.
    #[arg(long = "result-mib-max", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub result_mib: u64,
}

impl Quota {
    /// ClickHouse's settings that say so.
    pub fn settings(&self) -> [(&'static str, u64); 5] {
        [
            ("max_execution_time", self.seconds),
            ("max_memory_usage", self.memory_mib << 20),
            ("max_rows_to_read", self.rows_read),
            ("max_result_rows", self.result_rows),
            ("max_result_bytes", self.result_mib << 20),
        ]
    }

    /// Whether `value` of `setting` is one that asks for no more; 0 means without end to ClickHouse.
    pub fn allows(&self, setting: &str, value: &str) -> bool {
        match self.settings().into_iter().find(|(name, _)| *name == setting) {
            None => true,
            Some((_, most)) => value.parse().is_ok_and(|value: u64| (1..=most).contains(&value)),
        }
    }
}

#[cfg(test)]
pub(crate) const EXAMPLE: Quota =
    Quota { seconds: 30, memory_mib: 1024, rows_read: 200_000_000, result_rows: 1_000_000, result_mib: 256 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_may_be_asked_for_and_more_may_not() {
        for (setting, value, allowed) in [
            ("max_execution_time", "30", true),
            ("max_execution_time", "31", false),
            ("max_execution_time", "0", false),
            ("max_execution_time", "0x1f", false),
            ("max_result_rows", "10", true),
            ("max_block_size", "0", true),
        ] {
            assert_eq!(EXAMPLE.allows(setting, value), allowed, "{setting} = {value}");
        }
    }
}
