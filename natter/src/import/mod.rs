//! `natter import`: an existing history through the gateway's own path.

mod args;
mod bytes;
mod draft;
mod formats;
mod frame;
mod identity;
mod line;
mod lines;
mod people;
mod plan;
mod reading;
mod socket;
mod times;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::plan::{Plan, Tally};
use self::reading::{Lines, Source};
use self::socket::Socket;

pub use self::args::Import;
pub use self::formats::Input;
pub use self::identity::Fields;

/// Frames that are sent before answers are looked at.
const BURST: usize = 256;
/// Between attempts to reach a gateway that is away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How long a gateway may be away before the import gives up; started again, it goes on where it was.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// What is said where every line is refused.
pub const NOTHING_TAKEN: &str = r#"no line could be taken: each should be such as {"room":"ops","user":"ada","at":"2025-03-01T00:02:36Z","text":"hi"}"#;

/// Where an import goes and how hard it pushes.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is imported.
    pub input: Input,
    /// What identifies a line in whatever source; `None`: its `id`, where it has one.
    pub identify: Option<Fields>,
    /// The gateway, `http://host:port`.
    pub gateway: String,
    /// A service token.
    pub token: String,
    /// Lines on their way at once: what an import may take from live users.
    pub window: usize,
    /// Whether a progress bar is wanted.
    pub progress: bool,
}

/// How an import ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What became of the lines.
    #[serde(flatten)]
    pub tally: Tally,
    /// What the source was written in.
    pub format: String,
    /// What the source has and the import has not: how many of what.
    pub lost: BTreeMap<&'static str, u64>,
    /// How long it took.
    pub seconds: f64,
}

/// Imports a file. `refused` hears of each refused line: its number, the code and why.
///
/// # Errors
/// The file cannot be read, the token is refused, or the gateway stays away; what was taken until then stays taken.
pub async fn import(options: &Options, mut refused: impl FnMut(u64, &str, &str)) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let input = options.input.clone();
    // Reading may take minutes, and nothing else is to be done meanwhile.
    let source = tokio::task::block_in_place(|| Source::of(&input))?;
    let bar = progress_bar(options.progress, source.lines);
    let lines = Lines::start(input, &source, options.identify.clone())?;
    let mut run = Run { plan: Plan::new(source.hash), lines, read_all: false };
    let mut last_connected = Instant::now();
    let mut taken = 0;
    loop {
        match run.over_one_connection(options, &bar, &mut refused).await {
            Ok(()) => break,
            Err(End::Failed(error)) => return Err(error),
            Err(End::Lost(error)) => {
                run.plan.disconnected();
                let now_taken = run.plan.tally().accepted + run.plan.tally().duplicates;
                if std::mem::replace(&mut taken, now_taken) != now_taken {
                    last_connected = Instant::now();
                }
                if last_connected.elapsed() > AWAY_MAX {
                    return Err(error.context("the gateway stays away: start the import again when it is back"));
                }
                tracing::warn!(error = format!("{error:#}"), "connection lost; connecting again");
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }
    bar.finish_and_clear();
    report(&mut run.plan, &mut refused);
    let tally = run.plan.tally().clone();
    let lost = run.lines.finish()?.0;
    Ok(Summary { tally, format: options.input.format.to_string(), lost, seconds: started.elapsed().as_secs_f64() })
}

/// Why a connection's work ended before all was done.
enum End {
    /// Try again over another connection.
    Lost(anyhow::Error),
    /// Trying again would not help.
    Failed(anyhow::Error),
}

struct Run {
    plan: Plan,
    lines: Lines,
    read_all: bool,
}

impl Run {
    async fn over_one_connection(
        &mut self,
        options: &Options,
        bar: &ProgressBar,
        refused: &mut impl FnMut(u64, &str, &str),
    ) -> Result<(), End> {
        let mut socket = Socket::connect(&options.gateway, &options.token).await?;
        let mut frames = Vec::new();
        loop {
            if self.plan.must_retry() {
                if self.plan.unanswered() == 0 {
                    let attempts = self.plan.attempts();
                    tokio::time::sleep(Duration::from_millis(50 * u64::from(attempts.saturating_sub(1).min(20)))).await;
                    self.plan.send_again(&mut frames);
                }
            } else if !self.read_all && self.plan.unanswered() < options.window {
                self.read(&mut frames).await;
            }
            socket.send(frames.drain(..)).await?;
            let finished = self.plan.unanswered() == 0 && !self.plan.must_retry();
            if finished && self.read_all {
                socket.close().await;
                return Ok(());
            }
            // Room left to read on: take only the answers that are here already.
            let wait = self.plan.unanswered() >= options.window || self.read_all || self.plan.must_retry();
            for reply in socket.replies(wait && self.plan.unanswered() > 0).await? {
                self.plan.answered(reply);
            }
            bar.set_position(self.plan.tally().read - self.plan.unanswered() as u64);
            report(&mut self.plan, refused);
        }
    }

    async fn read(&mut self, frames: &mut Vec<String>) {
        while frames.len() < BURST {
            let Some((number, line)) = self.lines.next().await else {
                self.read_all = true;
                return;
            };
            self.plan.read(line, number, frames);
        }
    }
}

fn report(plan: &mut Plan, refused: &mut impl FnMut(u64, &str, &str)) {
    for (number, refusal) in plan.take_refused() {
        refused(number, refusal.code.name(), &refusal.message);
    }
}

fn progress_bar(wanted: bool, lines: u64) -> ProgressBar {
    if !wanted {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} lines  {per_sec}  {eta} left");
    ProgressBar::new(lines).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The WebSocket address of a gateway's HTTP address.
fn socket_url(gateway: &str) -> anyhow::Result<String> {
    let rest = gateway.strip_prefix("http").with_context(|| format!("`{gateway}` is no http address"))?;
    Ok(format!("ws{}/v1/ws", rest.trim_end_matches('/')))
}
