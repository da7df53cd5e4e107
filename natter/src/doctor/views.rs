//! Redis and the views in it.

use std::collections::HashMap;

use natter_nats::Log;
use natter_nats::clock::{Clock as _, SystemClock};
use natter_projections::redis::generations::{Generations, generations};
use natter_projections::redis::{FOLD_VERSION, Redis, RedisProjector};
use natter_projections::runner::Projector as _;
use natter_projections::watermark::Watermark;
use natter_schemas::subjects::outcome_stream;
use redis::aio::MultiplexedConnection;

use super::finding::{Finding, Report};
use crate::config::{Config, Secret};

/// Share of `maxmemory` beyond which somebody should look.
const MEMORY_SHARE_GOOD: f64 = 0.8;
/// A view that lacks nothing older is not late.
const LATE_MS: u64 = 10_000;

/// Looks at Redis; at the views, where the log is known.
pub async fn examine(config: &Config, log: Option<&Log>, report: &mut Report) {
    let Some(url) = config.redis.url.as_ref().map(Secret::expose) else {
        let mend = "set redis.url to redis://user:password@host:port";
        return report.add(Finding::wrong("redis", "redis.url is not configured", mend));
    };
    let (redis, info) = match connect(url).await {
        Ok(connected) => connected,
        Err(error) => {
            let mend = "start redis-server, or set redis.url to where it is and to a user whom it knows";
            return report.add(Finding::wrong("redis", error, mend));
        }
    };
    report.add(Finding::ok("redis", format_args!("{}, never evicts", info["redis_version"])));
    for finding in [memory(&info), appendonly(&info), last_write(&info)] {
        report.add(finding);
    }
    strangers(url, report).await;
    if let Some(log) = log {
        for partition in 0..log.partitions() {
            match generations(&redis, partition).await {
                Ok(found) => {
                    let mend = RedisProjector::new(redis.clone()).mend(partition);
                    belongs("redis views", log, partition, &found.watermark, &mend, report).await;
                    if let Some(finding) = generation(partition, &found) {
                        report.add(finding);
                    }
                }
                Err(error) => report.add(Finding::wrong("redis views", error, "let its user read {*}:watermark")),
            }
        }
    }
}

/// What lies beside the live views of a partition, and whether these are what this binary would have made of the log.
fn generation(partition: u16, found: &Generations) -> Option<Finding> {
    const CHECK: &str = "redis generation";
    let Generations { watermark, live, next, old, .. } = found;
    if live.fold != FOLD_VERSION && watermark.log.is_some() {
        let fold = live.fold;
        let seen =
            format!("partition {partition} was filled by version {fold} of the views' code, this is {FOLD_VERSION}");
        return Some(Finding::warning(CHECK, seen, "`natter rebuild redis`"));
    }
    if next.is_some() {
        let seen = format!("partition {partition} has one that was begun beside the live one");
        let mend = "`natter rebuild redis` goes on, `natter rebuild --discard redis` drops it";
        return Some(Finding::warning(CHECK, seen, mend));
    }
    old.is_some().then(|| {
        let seen = format!("partition {partition} keeps the one before the live one");
        Finding::warning(CHECK, seen, "`natter rebuild --drop-old redis`, when nobody needs it any more")
    })
}

/// What a server says of itself, once it is known to be usable at all.
async fn connect(url: &str) -> anyhow::Result<(Redis, HashMap<String, String>)> {
    // Refuses what is too old or evicts.
    let redis = Redis::connect(url).await?;
    let text: String = redis::cmd("INFO").query_async(&mut raw(url).await?).await?;
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok((redis, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

async fn raw(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    redis::Client::open(url)?.get_multiplexed_async_connection().await
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn memory(info: &HashMap<String, String>) -> Finding {
    const CHECK: &str = "redis memory";
    let number = |name: &str| info.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let (used, max) = (number("used_memory"), number("maxmemory"));
    let mib = used >> 20;
    if max == 0 {
        return Finding::ok(CHECK, format_args!("{mib} MiB used, no limit"));
    }
    let share = used as f64 / max as f64;
    let seen = format!("{mib} of {} MiB used", max >> 20);
    if share > MEMORY_SHARE_GOOD {
        Finding::warning(CHECK, seen, "raise maxmemory: a full Redis refuses writes, and its partitions stand still")
    } else {
        Finding::ok(CHECK, seen)
    }
}

fn appendonly(info: &HashMap<String, String>) -> Finding {
    let is_on = info.get("aof_enabled").is_some_and(|value| value == "1");
    let seen = if is_on {
        "appendonly is on"
    } else {
        "appendonly is off: a restart empties the views, and they are built from the log again"
    };
    let mend = "set `appendonly yes` and `appendfsync everysec` in the configuration of Redis";
    if is_on { Finding::ok("redis file", seen) } else { Finding::warning("redis file", seen, mend) }
}

fn last_write(info: &HashMap<String, String>) -> Finding {
    let status = info.get("aof_last_write_status").map_or("ok", String::as_str);
    Finding::expect(
        "redis disk",
        status == "ok",
        format_args!("last write: {status}"),
        "make room on the disk of Redis",
    )
}

/// Whether somebody who reaches its port gets in without a name.
async fn strangers(url: &str, report: &mut Report) {
    const CHECK: &str = "redis strangers";
    let mend = "give it the users of deploy/redis.acl, in which the default user is off";
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let (credentials, host) = rest.rsplit_once('@').unwrap_or(("", rest));
    if credentials.is_empty() || credentials.starts_with(':') {
        let seen = "redis.url names no user: everybody with its password may do everything";
        return report.add(Finding::warning(CHECK, seen, mend));
    }
    let answered = match raw(&format!("{scheme}://{host}")).await {
        Ok(mut connection) => redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok(),
        Err(_) => false,
    };
    let seen = if answered { "whoever reaches its port is let in" } else { "are refused" };
    report.add(Finding::expect(CHECK, !answered, seen, mend));
}

/// Whether a view is of this log, and how far it is.
pub async fn belongs(
    check: &'static str,
    log: &Log,
    partition: u16,
    found: &Watermark,
    mend: &str,
    report: &mut Report,
) {
    let last = match log.bounds(&outcome_stream(partition)).await {
        Ok(bounds) => bounds.last,
        Err(error) => return report.add(Finding::warning(check, error, "ask again when NATS answers")),
    };
    let is_recent = found.sequence < last && is_recent(log, &outcome_stream(partition), found.sequence + 1).await;
    report.add(match &found.log {
        Some(of) if of != log.id() => {
            Finding::wrong(check, format_args!("partition {partition} is of log {of}, not of {}", log.id()), mend)
        }
        _ if found.sequence > last => {
            let seen = format!("partition {partition} is at {}, the log ends at {last}", found.sequence);
            Finding::wrong(check, seen, mend)
        }
        _ if found.sequence == last => Finding::ok(check, format_args!("partition {partition} has all {last} batches")),
        _ if is_recent => {
            let seen = format!("partition {partition} has {} of {last} batches, the others are new", found.sequence);
            Finding::ok(check, seen)
        }
        _ => {
            let seen = format!("partition {partition} has {} of {last} batches", found.sequence);
            let catching_up = "if that does not rise, the projector's /readyz and log say why";
            Finding::warning(check, seen, catching_up)
        }
    });
}

/// Whether a batch was stored so lately that a view need not have it.
async fn is_recent(log: &Log, stream: &str, sequence: u64) -> bool {
    let stored = log.get_wherever(stream, sequence).await;
    stored.is_ok_and(|stored| stored.is_some_and(|one| SystemClock.now_ms().saturating_sub(one.stored_ms) < LATE_MS))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn info(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_the_server_says_of_itself_is_judged() {
        for (finding, verdict) in [
            (memory(&info(&[("used_memory", "9000000"), ("maxmemory", "0")])), Verdict::Ok),
            (memory(&info(&[("used_memory", "90"), ("maxmemory", "100")])), Verdict::Warning),
            (memory(&info(&[("used_memory", "50"), ("maxmemory", "100")])), Verdict::Ok),
            (appendonly(&info(&[("aof_enabled", "1")])), Verdict::Ok),
            (appendonly(&info(&[("aof_enabled", "0")])), Verdict::Warning),
            (last_write(&info(&[("aof_last_write_status", "err")])), Verdict::Wrong),
            (last_write(&info(&[("aof_last_write_status", "ok")])), Verdict::Ok),
        ] {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }
}
