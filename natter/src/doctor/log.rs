//! NATS and the log on it.

use std::path::Path;

use natter_nats::clock::{Clock, SystemClock};
use natter_nats::{FREE_SHARE_MIN, Log, LogConfig, LogError, Room, UNDECIDED_SHARE_MAX, held, role};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::subjects::{command_stream, outcome_stream};

use super::finding::{Finding, Report};
use super::machine;
use crate::backends::MIN_NATS;
use crate::config::Config;
use crate::connect;

/// The largest message that natter stores.
const MAX_PAYLOAD_MIN: usize = 8 * 1024 * 1024;
/// Beyond this, times in answers look wrong to people; beyond a minute, commands are refused as expired.
const SKEW_MS_GOOD: u64 = 1000;
const SKEW_MS_MAX: u64 = 60_000;
const FREE_SHARE_GOOD: f64 = 0.25;

/// Looks at the broker; the log, where it can be opened.
pub async fn examine(config: &Config, data: Option<&Path>, report: &mut Report) -> Option<Log> {
    let log_config = match connect::log_config(config, "doctor") {
        Ok(log_config) => log_config,
        Err(error) => {
            report.add(Finding::wrong(
                "nats",
                format_args!("{error:#}"),
                "set log.url to nats://user:password@host:port",
            ));
            return None;
        }
    };
    let log = match Log::connect(&log_config).await {
        Ok(log) => log,
        Err(error) => {
            let mend = if error.to_string().contains("the log is not made yet") {
                "make it with `natter setup --config FILE`"
            } else if error.is_transient() {
                "start nats-server, or set log.url to where it is and to a user whom it knows"
            } else {
                "set log.partitions and log.replicas to what the log has, or log.url to the right broker"
            };
            report.add(Finding::wrong("nats", error, mend));
            return None;
        }
    };
    let server = log.client().server_info();
    report.add(Finding::ok(
        "nats",
        format_args!("{}, log {}, {} partitions", server.server_name, log.id(), log.partitions()),
    ));
    report.add(version(&server.version));
    report.add(Finding::expect(
        "nats max_payload",
        server.max_payload >= MAX_PAYLOAD_MIN,
        server.max_payload,
        "set `max_payload: 8MB` in the configuration of nats-server: larger batches would be refused",
    ));
    report.add(synced(data));
    clock(&log, report).await;
    streams(&log, &log_config, data, report).await;
    leases(&log, report).await;
    Some(log)
}

fn version(found: &str) -> Finding {
    let mut numbers = found.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found_version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor, _) = MIN_NATS;
    let mend = format!("install nats-server {major}.{minor} or newer");
    Finding::expect("nats version", found_version >= (major, minor), found, mend)
}

/// Whether an acknowledged message is on disk. The broker does not tell that to its users.
fn synced(data: Option<&Path>) -> Finding {
    const CHECK: &str = "nats sync";
    let mend = "set `sync_interval: always` in its jetstream block: without it a power cut takes what was acknowledged in the last two minutes";
    let Some(file) = data.map(|data| data.join("nats/nats.conf")).filter(|file| file.exists()) else {
        return Finding::warning(CHECK, "cannot be seen from here", mend);
    };
    let always = std::fs::read_to_string(&file).is_ok_and(|text| text.contains("sync_interval: always"));
    let seen = if always { "before each acknowledgement" } else { "not before each acknowledgement" };
    Finding::expect(CHECK, always, format_args!("{seen}, by {}", file.display()), mend)
}

async fn clock(log: &Log, report: &mut Report) {
    const CHECK: &str = "clock";
    let before = SystemClock.now_ms();
    match log.broker_ms().await {
        Ok(broker) => {
            // The broker stamped its answer somewhere between.
            let after = SystemClock.now_ms();
            let skew = broker.saturating_sub(after).max(before.saturating_sub(broker));
            report.add(skewed(skew));
        }
        Err(error) => report.add(Finding::warning(CHECK, error, "let its user ask for $JS.API.STREAM.INFO.*")),
    }
}

fn skewed(ms: u64) -> Finding {
    const CHECK: &str = "clock";
    let seen = format!("{ms} ms between this machine and the broker's");
    let mend = "run chrony or another NTP client on both machines";
    if ms > SKEW_MS_MAX {
        Finding::wrong(CHECK, format_args!("{seen}: commands will be refused as expired"), mend)
    } else if ms > SKEW_MS_GOOD {
        Finding::warning(CHECK, seen, mend)
    } else {
        Finding::ok(CHECK, seen)
    }
}

async fn streams(log: &Log, config: &LogConfig, data: Option<&Path>, report: &mut Report) {
    let all = match log.streams(config).await {
        Ok(all) => all,
        Err(error) => {
            return report.add(Finding::wrong("streams", error, "let its user ask for $JS.API.STREAM.INFO.*"));
        }
    };
    let mut rooms = Vec::new();
    let differences: Vec<_> =
        all.iter().flat_map(|one| one.differences.iter().map(|what| format!("{}: {what}", one.name))).collect();
    if differences.is_empty() {
        report.add(Finding::ok("streams", format_args!("{} streams and buckets are set as they should be", all.len())));
    }
    for difference in differences {
        report.add(Finding::wrong("streams", difference, "set it back with `nats stream edit`"));
    }
    for one in all.iter().filter(|one| one.bytes_max == 0) {
        let mend = "set log.command_bytes_max and log.outcome_bytes_max and run `natter setup`";
        report.add(Finding::wrong("streams", format_args!("{} may fill the disk", one.name), mend));
    }
    for partition in 0..log.partitions() {
        match look(log, partition).await {
            Ok(found) => rooms.push(found),
            Err(error) => return report.add(Finding::warning("log space", error, "let its user read EVT_p")),
        }
    }
    for finding in space(&rooms) {
        report.add(finding);
    }
    if let Some(data) = data {
        machine::disk(data, all.iter().map(|one| one.bytes_max.saturating_sub(one.bytes)).sum(), report);
    }
}

async fn look(log: &Log, partition: u16) -> Result<Room, LogError> {
    let last = log.last_from_leader(&outcome_stream(partition)).await?;
    let header = last.map(|last| OutcomeBatch::decode(&last.payload).map(|batch| batch.header));
    log.room(partition, header.transpose()?.map_or(0, |header| header.command_sequence())).await
}

/// Of each kind the partition that is worst: outcomes, and commands that are undecided or only old.
fn space(rooms: &[Room]) -> Vec<Finding> {
    let (behind, old): (Vec<_>, Vec<_>) =
        rooms.iter().enumerate().partition(|(_, room)| room.undecided_share() > UNDECIDED_SHARE_MAX / 2.0);
    let least = |rooms: &[(usize, &Room)], free: fn(&Room) -> f64| {
        let worst = rooms.iter().map(|(partition, room)| (*partition, free(room)));
        worst.min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    let outcomes = least(&[&behind[..], &old[..]].concat(), |room| room.outcomes.free_share());
    let partition_of = |place: usize| u16::try_from(place).unwrap_or(u16::MAX);
    let outcomes = outcomes.map(|(place, free)| {
        let stream = outcome_stream(partition_of(place));
        let mend = "let the archive trim it (`natter archive status`, `natter archive now --keep 1h`), or make it larger: log.outcome_bytes_max, and a disk that holds it";
        room(&format!("{stream} has {:.0} % free, the least of all", free * 100.0), free, mend)
    });
    let old = least(&old, |room| room.commands.free_share()).map(|(place, free)| {
        let stream = command_stream(partition_of(place));
        let mend = "nearly all of it is decided and only old: make log.command_bytes_max larger, for three minutes at the full rate have to fit, or let EVT have more room, or start a processor, which trims it";
        room(&format!("{stream} has {:.0} % free", free * 100.0), free, mend)
    });
    let behind = least(&behind, |room| -room.undecided_share()).map(|(place, share)| {
        let seen = format!("{:.0} % of {} are undecided", -share * 100.0, command_stream(partition_of(place)));
        let mend = "its processor is away or behind: start a `natter processor`; if one runs, its /readyz and its log say why it does not go on";
        // More is refused from here on.
        if -share > UNDECIDED_SHARE_MAX {
            Finding::wrong("log space", format_args!("{seen}: commands are refused"), mend)
        } else {
            Finding::warning("log space", seen, mend)
        }
    });
    [outcomes, old, behind].into_iter().flatten().collect()
}

fn room(seen: &str, free: f64, mend: &str) -> Finding {
    const CHECK: &str = "log space";
    if free < FREE_SHARE_MIN {
        Finding::wrong(CHECK, format_args!("{seen}: commands are refused"), mend)
    } else if free < FREE_SHARE_GOOD {
        Finding::warning(CHECK, seen, mend)
    } else {
        Finding::ok(CHECK, seen)
    }
}

async fn leases(log: &Log, report: &mut Report) {
    for (check, role, command) in [
        ("processors", role::PROCESSOR, "processor"),
        ("redis projectors", role::REDIS_PROJECTOR, "projector"),
        ("history projectors", role::CLICKHOUSE_PROJECTOR, "projector"),
    ] {
        match held(log, role).await {
            Ok(held) => {
                let missing: Vec<_> =
                    (0..log.partitions()).filter(|p| !held.contains(p)).map(|p| p.to_string()).collect();
                let mend = format!(
                    "start a `natter {command}`; if one runs, its /readyz and its log say why it does not work there"
                );
                let seen = match &*missing {
                    [] => "every partition has one".to_owned(),
                    missing => format!("nobody works on partition {}", missing.join(", ")),
                };
                report.add(Finding::expect(check, missing.is_empty(), seen, mend));
            }
            Err(error) => report.add(Finding::warning(check, error, "let its user read KV_leases")),
        }
    }
}

#[cfg(test)]
mod tests {
    use natter_nats::Bounds;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("nats")).unwrap();
        std::fs::write(folder.path().join("nats/nats.conf"), "jetstream {}").unwrap();
        for (finding, verdict) in [
            (version("2.9.10"), Verdict::Wrong),
            (version("2.14.0-RC.1"), Verdict::Ok),
            (version("3.0.0"), Verdict::Ok),
            (skewed(20), Verdict::Ok),
            (skewed(2000), Verdict::Warning),
            (skewed(70_000), Verdict::Wrong),
            (room("x", 0.05, "y"), Verdict::Wrong),
            (room("x", 0.2, "y"), Verdict::Warning),
            (room("x", 0.9, "y"), Verdict::Ok),
            (synced(None), Verdict::Warning),
            (synced(Some(folder.path())), Verdict::Wrong),
        ] {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.mend.is_none(), verdict == Verdict::Ok, "{finding:?}");
        }
    }

    /// A partition with so much of its streams taken, in percent.
    fn taken(commands: u64, outcomes: u64, undecided: u64) -> Room {
        let bounds = |bytes| Bounds { first: 1, last: 9, bytes, bytes_max: 100 };
        Room { commands: bounds(commands), outcomes: bounds(outcomes), undecided }
    }

    #[test]
    fn a_full_queue_is_behind_or_only_old() {
        let said = |rooms: &[Room]| {
            let all = space(rooms).into_iter().filter_map(|one| Some(format!("{} {}", one.seen, one.mend?)));
            all.collect::<Vec<_>>().join("; ")
        };
        assert_eq!(said(&[taken(50, 50, 0), taken(50, 50, 1)]), "");
        let old = said(&[taken(50, 50, 0), taken(95, 50, 1)]);
        assert!(old.contains("CMD_1 has 5 % free: commands are refused") && old.contains("only old"), "{old}");
        let behind = said(&[taken(95, 50, 90), taken(50, 50, 0)]);
        assert!(behind.contains("90 % of CMD_0 are undecided") && behind.contains("away or behind"), "{behind}");
        assert!(!behind.contains("only old"), "{behind}");
        let full = said(&[taken(50, 95, 0)]);
        assert!(full.contains("EVT_0 has 5 % free") && full.contains("archive"), "{full}");
    }
}
