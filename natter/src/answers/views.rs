//! `natter rebuild`.

use std::process::ExitCode;

use super::{answer, say};
use crate::config::Config;
use crate::rebuild::{self, Options, Progress, Rebuild, Report, Shown, Steps, View, Wanted};

/// Rebuilds views, or drops a generation of them, and prints what came of it; exit code 1 where a new one was refused.
///
/// # Errors
/// A server is away, or the view's generations do not allow it.
pub async fn rebuild(args: &Rebuild) -> anyhow::Result<ExitCode> {
    let config = args.running.config()?;
    let mut all_well = true;
    for view in View::of(args.view) {
        if args.drop_old || args.discard {
            dropped(args, &config, view).await?;
        } else if args.view == Wanted::All && view == View::Redis && rebuild::is_redis_done(&config).await? {
            #[expect(clippy::print_stderr, reason = "it is not built, so no result")]
            {
                eprintln!(
                    "redis: switched by a rebuild that did not come to its end; this one goes on with the history"
                );
            }
        } else {
            let report = built(args, &config, view).await?;
            answer(&report, args.json)?;
            all_well &= report.switched;
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn dropped(args: &Rebuild, config: &Config, view: View) -> anyhow::Result<()> {
    let name = view.name();
    let dropped =
        if args.drop_old { rebuild::drop_old(config, view).await? } else { rebuild::discard(config, view).await? };
    say(&match dropped {
        _ if args.json => serde_json::json!({ "view": name, "dropped": dropped }).to_string(),
        Some(generation) => format!("{name}: generation {generation} is dropped"),
        None => format!("{name}: there is none to drop"),
    });
    Ok(())
}

async fn built(args: &Rebuild, config: &Config, view: View) -> anyhow::Result<Report> {
    let Rebuild { throttle, accept, differences: differences_max, .. } = *args;
    let (shown, mut steps) = (Shown::new(view.name(), !args.json), Steps::new(view.name(), args.steps));
    let tell = |at: &Progress| {
        shown.tell(at);
        steps.tell(at.step).iter().for_each(|line| say(line));
    };
    let report = rebuild::rebuild(config, view, &Options { throttle, accept, differences_max }, tell).await;
    shown.end();
    report
}
