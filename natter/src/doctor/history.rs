//! ClickHouse and the history in it.

use natter_nats::Log;
use natter_projections::clickhouse::generations::{Generations, generations};
use natter_projections::clickhouse::{ClickHouse, FOLD_VERSION, missing_migrations, watermark};

use super::finding::{Finding, Report};
use super::views::belongs;
use crate::backends::MIN_CLICKHOUSE;
use crate::config::Config;
use crate::connect;

const MEND: &str = "start ClickHouse, or set clickhouse.url, clickhouse.user and clickhouse.password";

/// Looks at ClickHouse; at the history, where the log is known. It may be away: then the system goes on without.
pub async fn examine(config: &Config, log: Option<&Log>, report: &mut Report) {
    let clickhouse = match connect::clickhouse(config) {
        Ok(clickhouse) => clickhouse,
        Err(error) => return report.add(Finding::wrong("clickhouse", format_args!("{error:#}"), MEND)),
    };
    let version: Result<String, _> = clickhouse.client().query("SELECT version()").fetch_one().await;
    match version {
        Ok(version) => report.add(new_enough(&version)),
        Err(error) => return report.add(Finding::wrong("clickhouse", error, MEND)),
    }
    let clickhouse = match clickhouse.live().await {
        Ok(live) => live,
        Err(error) => return report.add(Finding::wrong("history tables", error, "let this user read them")),
    };
    generation(&clickhouse, report).await;
    match missing_migrations(&clickhouse).await {
        Ok(missing) if missing.is_empty() => report.add(Finding::ok("history tables", "every migration has run")),
        Ok(missing) => {
            let seen = format!("migrations {missing:?} have not run");
            return report.add(Finding::wrong("history tables", seen, "`natter setup --config FILE`"));
        }
        Err(error) => {
            let mend = "`natter setup --config FILE` makes them; this user must be allowed to read them";
            return report.add(Finding::wrong("history tables", error, mend));
        }
    }
    let Some(log) = log else { return };
    for partition in 0..log.partitions() {
        match watermark(&clickhouse, partition, 0).await {
            Ok(found) => {
                let mend = clickhouse.mend();
                belongs("history", log, partition, &found, &mend, report).await;
            }
            Err(error) => report.add(Finding::wrong("history", error, "as it says, or let this user read the tables")),
        }
    }
}

/// Whether the live generation is what this binary would have made of the log, and whether one lies about.
async fn generation(live: &ClickHouse, report: &mut Report) {
    const CHECK: &str = "history generation";
    const REBUILD: &str = "`natter rebuild clickhouse`";
    let found = match generations(live).await {
        Ok(found) => found,
        Err(error) => return report.add(Finding::warning(CHECK, error, "ask again when ClickHouse answers")),
    };
    let Generations { live, shown, next, old, .. } = found;
    report.add(if live.fold != FOLD_VERSION {
        let seen =
            format!("{} was filled by version {} of its code, this is {FOLD_VERSION}", live.generation, live.fold);
        Finding::warning(CHECK, seen, REBUILD)
    } else if shown != live.generation {
        let seen = format!(
            "{} is live, the analysts' views still read {shown}: a rebuild ended in its last step",
            live.generation
        );
        Finding::wrong(CHECK, seen, REBUILD)
    } else if let Some(next) = next {
        let seen = format!("{} is live, {} was begun beside it", live.generation, next.generation);
        Finding::warning(
            CHECK,
            seen,
            "`natter rebuild clickhouse` goes on, `natter rebuild --discard clickhouse` drops it",
        )
    } else if let Some(old) = old {
        let seen = format!("{} is live, {old} is kept beside it", live.generation);
        Finding::warning(CHECK, seen, "`natter rebuild --drop-old clickhouse`, when nobody needs it any more")
    } else {
        Finding::ok(CHECK, live.generation)
    });
}

fn new_enough(found: &str) -> Finding {
    let mut numbers = found.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor, _) = MIN_CLICKHOUSE;
    Finding::expect("clickhouse", version >= (major, minor), found, format_args!("install {major}.{minor} or newer"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn an_old_server_is_said() {
        assert_eq!(new_enough("26.7.2.1").verdict, Verdict::Ok);
        assert_eq!(new_enough("25.8.1.1").verdict, Verdict::Wrong);
    }
}
