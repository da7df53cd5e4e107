//! The machine that the command runs on: what its kernel and shell allow.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::finding::{Finding, Report};

/// A gateway needs one for each socket; the servers inherit it from `natter up`.
const OPEN_FILES_MIN: u64 = 4096;
const OPEN_FILES_GOOD: u64 = 65_536;
/// Connections that may wait to be accepted, when everybody comes back at once.
const SOMAXCONN_GOOD: u64 = 4096;

/// Limits of the kernel and of this shell.
pub fn limits(report: &mut Report) {
    report.add(open_files(getrlimit(Resource::Nofile).current));
    if let Some(found) = kernel_number("net/core/somaxconn") {
        report.add(backlog(found));
    }
    if let Some(found) = kernel_number("vm/overcommit_memory") {
        report.add(overcommit(found));
    }
}

/// Whether the streams may grow as far as they are allowed to.
pub fn disk(data: &Path, streams_may_grow: u64, report: &mut Report) {
    let Ok(disk) = rustix::fs::statvfs(data) else { return };
    let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    report.add(room(free, all, streams_may_grow));
}

fn open_files(limit: Option<u64>) -> Finding {
    const CHECK: &str = "open files";
    // Natter takes what the hard limit allows by itself, so that is what it has.
    let mend = format!("`ulimit -Hn {OPEN_FILES_GOOD}` before the start (LimitNOFILE= in a systemd unit)");
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => {
            Finding::wrong(CHECK, format_args!("{limit}: the servers alone need some thousand"), mend)
        }
        Some(limit) if limit < OPEN_FILES_GOOD => {
            Finding::warning(CHECK, format_args!("{limit}, and each socket of a client takes one"), mend)
        }
        Some(limit) => Finding::ok(CHECK, limit),
        None => Finding::ok(CHECK, "unlimited"),
    }
}

fn backlog(found: u64) -> Finding {
    const CHECK: &str = "somaxconn";
    if found < SOMAXCONN_GOOD {
        Finding::warning(
            CHECK,
            format_args!("{found}"),
            format_args!("`sysctl -w net.core.somaxconn={SOMAXCONN_GOOD}`"),
        )
    } else {
        Finding::ok(CHECK, found)
    }
}

fn overcommit(found: u64) -> Finding {
    const CHECK: &str = "overcommit_memory";
    if found == 1 {
        return Finding::ok(CHECK, found);
    }
    let seen = format!("{found}: where memory is short, Redis may fail to rewrite its file, which then only grows");
    Finding::warning(CHECK, seen, "`sysctl -w vm.overcommit_memory=1` on the machine of Redis")
}

fn room(free: u64, all: u64, streams_may_grow: u64) -> Finding {
    const CHECK: &str = "disk";
    let [free_gib, all_gib, grow_gib] = [free, all, streams_may_grow].map(gib);
    let seen = format!("{free_gib} of {all_gib} GiB are free, the streams may grow by {grow_gib} GiB");
    if free < all / 20 {
        Finding::wrong(CHECK, seen, "make room: a full disk stops NATS, and it may disable JetStream")
    } else if free < streams_may_grow {
        let mend = "make room, or set log.command_bytes_max and log.outcome_bytes_max lower: so the log refuses before the disk is full";
        Finding::warning(CHECK, seen, mend)
    } else {
        Finding::ok(CHECK, seen)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 30))
}

fn kernel_number(name: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn what_is_too_little_is_said() {
        for (finding, verdict, part) in [
            (open_files(Some(1024)), Verdict::Wrong, "ulimit -Hn 65536"),
            (open_files(Some(20_000)), Verdict::Warning, "LimitNOFILE"),
            (open_files(Some(1 << 20)), Verdict::Ok, ""),
            (open_files(None), Verdict::Ok, ""),
            (backlog(128), Verdict::Warning, "somaxconn=4096"),
            (overcommit(0), Verdict::Warning, "overcommit_memory=1"),
            (room(1 << 30, 100 << 30, 0), Verdict::Wrong, "make room"),
            (room(50 << 30, 100 << 30, 60 << 30), Verdict::Warning, "outcome_bytes_max"),
            (room(70 << 30, 100 << 30, 60 << 30), Verdict::Ok, ""),
        ] {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.mend.as_deref().unwrap_or_default().contains(part), "{finding:?}");
        }
    }
}
