//! `natter bench history`: pages of a long room, newest and deep in turn, while others write.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::args::History;
use super::latency::Percentiles;
use super::pace::Schedule;
use super::pages::{Answers, Pages};
use super::report::{Report, head, table};
use super::sockets::pairs;
use super::system::System;
use super::traffic::{Flow, Plan};

const LOOK: Duration = Duration::from_millis(200);
/// Pages may come this long after the last was asked for.
const SETTLE: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Messages of the room.
    pub messages: u64,
    /// Messages of a page.
    pub limit: u64,
    /// Pages a second that were asked for.
    pub reads: u64,
    /// From due to a page of the newest messages, by the hot view.
    pub newest: Percentiles,
    /// From due to a page anywhere below those, by the history.
    pub deep: Percentiles,
    /// Pages that were not what they should be: another status, or other messages.
    pub wrong: BTreeMap<String, u64>,
    /// Pages that never came.
    pub missing: u64,
    /// Pages that were asked for late.
    pub late_at_source: u64,
    /// What was written meanwhile.
    pub writes: Option<Flow>,
}

/// Fills a room, and reads it.
///
/// # Errors
/// Nothing runs there, or it refuses what is to be prepared.
pub async fn history(args: &History) -> anyhow::Result<Report<Run>> {
    let system = Arc::new(System::of(&args.against).await?);
    let pages = Pages::write(&system, args.messages, args.limit).await?;
    let plan = Plan {
        rate: args.rate,
        measured: args.span.measured(),
        warm_up: args.span.before(),
        text_bytes: 43,
        members: 2,
        look_every: 1,
    };
    let writing =
        async { if args.rate == 0 { Ok(None) } else { pairs(&system, args.sessions, &plan).await.map(Some) } };
    let (read, writes) = tokio::join!(read(pages, args), writing);
    let run = Run { writes: writes?, ..read? };
    Ok(Report { mode: "history", machine: system.machine().await?, runs: vec![run] })
}

async fn read(pages: Pages, args: &History) -> anyhow::Result<Run> {
    let schedule = Schedule::new(Instant::now(), args.reads, args.span.before(), args.span.measured());
    let answers = Arc::new(Answers::default());
    let pacing = {
        let (pages, schedule, answers, handle) =
            (pages.clone(), schedule.clone(), Arc::clone(&answers), Handle::current());
        tokio::task::spawn_blocking(move || {
            schedule.pace(|number| {
                let (pages, answers, due) = (pages.clone(), Arc::clone(&answers), schedule.at(number));
                let is_measured = schedule.is_measured(number);
                handle.spawn(async move { answers.take(&pages, pages.of(number), is_measured.then_some(due)).await });
            })
        })
    };
    let late_at_source = pacing.await?;
    let deadline = Instant::now() + SETTLE;
    while answers.answered() < schedule.total() && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    Ok(Run {
        messages: pages.messages,
        limit: pages.limit,
        reads: args.reads,
        newest: answers.newest.percentiles(),
        deep: answers.deep.percentiles(),
        wrong: answers.wrong(),
        missing: schedule.total() - answers.answered(),
        late_at_source,
        writes: None,
    })
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} pages/s of {} messages asked for, from a room of {}; wrong: {:?}, missing: {}, late at the source: {}",
            self.reads, self.limit, self.messages, self.wrong, self.missing, self.late_at_source
        )?;
        let rows = [head(Percentiles::HEAD), self.newest.row("newest page"), self.deep.row("deep page")];
        write!(f, "{}", table(&rows))?;
        match &self.writes {
            Some(writes) => write!(f, "\n\nwritten meanwhile, in 1:1 chats:\n{writes}"),
            None => Ok(()),
        }
    }
}
