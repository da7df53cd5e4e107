//! What processes cost, from /proc: CPU and resident memory of each, by name.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::Serialize;

/// Processes that are watched.
#[derive(Debug, Clone, Default)]
pub struct Processes(Vec<(String, u32)>);

/// What they had cost at one moment.
#[derive(Debug, Clone, Default)]
pub struct Usage(BTreeMap<String, Cost>);

/// What a process has cost so far.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    cpu: Duration,
    resident_bytes: u64,
}

/// What processes cost between two moments.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spent {
    /// CPU of each server, in seconds.
    pub cpu_seconds: BTreeMap<String, f64>,
    /// How long that was, in seconds.
    pub seconds: f64,
    /// Resident memory of each server at the beginning, in MiB.
    pub resident_mib_before: BTreeMap<String, u64>,
    /// The same at the end.
    pub resident_mib_after: BTreeMap<String, u64>,
}

impl Processes {
    /// These, by name and process id.
    pub const fn new(named: Vec<(String, u32)>) -> Self {
        Self(named)
    }

    /// A process and its children, which are the backends of a system that `natter up` runs.
    pub fn with_children(name: &str, pid: u32) -> Self {
        let mut named = vec![(name.to_owned(), pid)];
        named.extend(children(pid).into_iter().filter_map(|child| Some((name_of(child)?, child))));
        Self(named)
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(of, _)| of == name)
    }

    /// The process with the gateway in it: `gateway` where the roles are apart, else the first.
    pub fn gateway(&self) -> &str {
        let own = self.0.iter().find(|(name, _)| name == "gateway").or_else(|| self.0.first());
        own.map_or("gateway", |(name, _)| name)
    }

    /// What they have cost by now. One that is gone costs nothing.
    pub fn usage(&self) -> Usage {
        let mut all = BTreeMap::<_, Cost>::new();
        for (name, pid) in &self.0 {
            let cost = all.entry(name.clone()).or_default();
            cost.cpu += cpu(&format!("/proc/{pid}/stat")).unwrap_or_default();
            cost.resident_bytes += resident_bytes(*pid).unwrap_or_default();
        }
        Usage(all)
    }
}

impl Usage {
    /// What was spent since `before`.
    pub fn since(&self, before: &Self, seconds: f64) -> Spent {
        let spent = |(name, cost): (&String, &Cost)| {
            let before = before.0.get(name).map_or(Duration::ZERO, |cost| cost.cpu);
            (name.clone(), cost.cpu.saturating_sub(before).as_secs_f64())
        };
        Spent {
            cpu_seconds: self.0.iter().map(spent).collect(),
            seconds,
            resident_mib_before: before.resident_mib(),
            resident_mib_after: self.resident_mib(),
        }
    }

    /// Resident memory of each, in MiB.
    pub fn resident_mib(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(name, cost)| (name.clone(), cost.resident_bytes >> 20)).collect()
    }

    /// Resident memory of a process.
    pub fn resident_bytes(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |cost| cost.resident_bytes)
    }
}

impl Spent {
    /// Takes from `name` what is not its own.
    pub fn less(mut self, name: &str, cpu: Duration) -> Self {
        if let Some(seconds) = self.cpu_seconds.get_mut(name) {
            *seconds = (*seconds - cpu.as_secs_f64()).max(0.0);
        }
        self
    }

    /// CPU of all of them, in microseconds, for each of `count`.
    pub fn micros_each(&self, count: u64) -> f64 {
        each(self.cpu_seconds.values().sum(), count)
    }

    /// CPU of one of them, in microseconds, for each of `count`.
    pub fn micros_each_of(&self, name: &str, count: u64) -> f64 {
        each(self.cpu_seconds.get(name).copied().unwrap_or_default(), count)
    }

    /// What stands over a table's columns of CPU and memory.
    pub fn head(each: &str) -> Vec<String> {
        vec![
            "server".to_owned(),
            "of a core".to_owned(),
            format!("µs per {each}"),
            "MiB".to_owned(),
            "MiB at the end".to_owned(),
        ]
    }

    /// Rows of such a table: name, share of a core, microseconds for each of `count`, resident memory before and after.
    pub fn rows(&self, count: u64) -> Vec<Vec<String>> {
        let row = |(name, cpu): (&String, &f64)| {
            let share = 100.0 * cpu / self.seconds.max(f64::EPSILON);
            let mib =
                [&self.resident_mib_before, &self.resident_mib_after].map(|of| of.get(name).copied().unwrap_or(0));
            vec![
                name.clone(),
                format!("{share:.0} %"),
                format!("{:.2}", each(*cpu, count)),
                mib[0].to_string(),
                mib[1].to_string(),
            ]
        };
        self.cpu_seconds.iter().map(row).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn each(seconds: f64, count: u64) -> f64 {
    seconds * 1e6 / count.max(1) as f64
}

/// CPU of this process, the generator.
pub fn own_cpu() -> Duration {
    cpu("/proc/self/stat").unwrap_or_default()
}

/// CPU of this thread: run time, in nanoseconds, is the first that the scheduler says of it.
pub fn thread_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// User and system time (fields 14 and 15, in ticks). The name before them may have brackets and spaces in it.
fn cpu(path: &str) -> Option<Duration> {
    let stat = fs::read_to_string(path).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_micros(ticks * 1_000_000 / hertz))
}

/// Resident memory of a process; `None`: it has gone.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// As the backends are called in logs and folders.
fn name_of(pid: u32) -> Option<String> {
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let known = [("nats-server", "nats"), ("redis-server", "redis"), ("clickhouse", "clickhouse"), ("weed", "s3")];
    let found = known.iter().find(|(word, _)| command.contains(word)).map(|(_, name)| (*name).to_owned());
    found.or_else(|| Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cpu_and_memory_and_its_children_have_names() {
        let child = std::process::Command::new("sleep").arg("60").spawn();
        let mut child = child.unwrap();
        let processes = Processes::with_children("own", std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(processes.0.iter().any(|(name, pid)| name != "own" && *pid == child.id()), "{processes:?}");
        let before = processes.usage();
        assert!(before.resident_bytes("own") > 1 << 20);
        let mut sum = 0_u64;
        while own_cpu() < before.0["own"].cpu + Duration::from_millis(30) {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        let spent = processes.usage().since(&before, 1.0);
        assert!(spent.cpu_seconds["own"] >= 0.03, "{spent:?} {sum}");
        assert!((spent.micros_each_of("own", 1000) - spent.cpu_seconds["own"] * 1000.0).abs() < 1e-6);
    }
}
