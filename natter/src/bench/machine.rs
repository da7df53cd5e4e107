//! On what a bench ran: a figure without its machine and settings is none.

use std::fmt;
use std::fs;

use serde::Serialize;

/// The machine, and the settings of the system that were in force.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// As the processor calls itself.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// This binary: version, and whether it was optimised.
    pub natter: String,
    /// The backends' versions, by name.
    pub backends: Vec<(String, String)>,
    /// Partitions of the log; 0: each run names its own.
    pub partitions: u16,
    /// When the broker syncs what it acknowledges to disk; `unknown` where it runs elsewhere.
    pub fsync: String,
}

impl Machine {
    /// This machine, and a system of which this much is known.
    pub fn with(backends: Vec<(String, String)>, partitions: u16, fsync: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
            line.unwrap_or("unknown").trim().to_owned()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let build = if cfg!(debug_assertions) { "debug build: figures are worth nothing" } else { "release build" };
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024,
            natter: format!("{} ({build})", env!("CARGO_PKG_VERSION")),
            backends,
            partitions,
            fsync: fsync.to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, kernel, memory_mib, natter, .. } = self;
        writeln!(f, "{cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}, natter {natter}")?;
        let backends: Vec<_> = self.backends.iter().map(|(name, version)| format!("{name} {version}")).collect();
        write!(f, "{}; fsync {}", backends.join(", "), self.fsync)?;
        if self.partitions > 0 {
            write!(f, "; {} partitions", self.partitions)?;
        }
        Ok(())
    }
}
