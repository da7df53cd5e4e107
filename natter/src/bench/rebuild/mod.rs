//! `natter bench rebuild`: what it costs to build a view anew while the system answers reads, and that one that is killed
//! goes on.
//!
//! The rebuild is a process of its own, as an operator would start it, so that its memory and its CPU are apart from what is
//! measured beside it.

mod child;
mod kills;
mod reading;
mod resident;
mod run;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use self::child::{Child, Ended};
use self::reading::Reading;
pub use self::run::Run;
use self::run::{Memory, Reads};
use super::args::{Against, Rebuild};
use super::own::{self, Up};
use super::pages::Pages;
use super::report::Report;
use super::system::System;
use crate::rebuild::{Step, View, drop_old};
use crate::{cli, up};

/// Measures every view that is wanted, on the system that runs or on one of its own.
///
/// # Errors
/// Nothing runs there, or a rebuild cannot be made.
pub async fn rebuild(args: &Rebuild) -> anyhow::Result<Report<Run>> {
    let Some(messages) = args.messages else { return measure(args, &args.against).await };
    let folder = up::temporary_folder()?;
    std::fs::create_dir(&folder).context("cannot make the data folder")?;
    let report = on_its_own(args, &folder.join("data"), messages).await;
    // A failed one is looked into.
    let report = report.with_context(|| format!("the data is in {}", folder.display()))?;
    std::fs::remove_dir_all(&folder).context("cannot delete the data")?;
    Ok(report)
}

async fn on_its_own(args: &Rebuild, data: &Path, messages: u64) -> anyhow::Result<Report<Run>> {
    let system = Up::start(data).await?;
    own::fill(data, messages).await?;
    let running = cli::Running { data: data.to_owned(), config: None };
    let report = measure(args, &Against { running, ..args.against.clone() }).await?;
    system.end(Signal::TERM).await?;
    Ok(report)
}

async fn measure(args: &Rebuild, against: &Against) -> anyhow::Result<Report<Run>> {
    let system = System::of(against).await?;
    let pages = Arc::new(Pages::write(&system, args.room, args.limit).await?);
    let mut runs = Vec::new();
    for view in &args.views {
        let mut run = undisturbed(*view, args, against, &pages).await?;
        if args.kills > 0 && run.is_right() {
            let whole = Duration::from_secs_f64(run.seconds);
            run.kills = Some(kills::kill(*view, args, &against.running, whole).await?);
        }
        runs.push(run);
    }
    Ok(Report { mode: "rebuild", machine: system.machine().await?, runs })
}

/// One rebuild that nobody kills, with reads before it and meanwhile.
async fn undisturbed(view: View, args: &Rebuild, against: &Against, pages: &Arc<Pages>) -> anyhow::Result<Run> {
    let reading = Reading::start(pages, args.reads);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let before = reading.end().await;
    let reading = Reading::start(pages, args.reads);
    let child = Child::start(&against.running, view, args.throttle)?;
    let ended = child.until_end().await;
    // Also where the rebuild failed: who reads is not left behind.
    let during = reading.end().await;
    let Ended { report, steps, resident, said } = ended?;
    let report = report.with_context(|| format!("`natter rebuild {}` failed: {said}", view.name()))?;
    if report.switched {
        drop_old(&against.running.config()?, view).await?.context("there was no old generation to drop")?;
    }
    let begins = |step: Step| steps.iter().find(|(other, _)| *other == step).map(|(_, at)| *at);
    let (build, compare) = (begins(Step::Build), begins(Step::Compare));
    let (build, compare) = build.zip(compare).context("the rebuild did not say when its steps began")?;
    ensure!(compare > build, "the rebuild compared before it had built");
    Ok(Run {
        view: view.name(),
        switched: report.switched,
        records: report.records,
        records_per_second: report.records_per_second,
        build_seconds: report.build_seconds,
        seconds: report.seconds,
        differences: report.differences_total,
        memory: Memory::of(&resident, build, compare),
        reads: Reads { asked_per_second: args.reads, room: pages.messages, limit: pages.limit, before, during },
        kills: None,
    })
}
