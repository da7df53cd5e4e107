//! Chat as a load: sessions that write to their conversations at fixed times, and hear what the others write.
//!
//! Open loop: when a message is due was fixed before, whatever the answers do, and latency counts from that time. A stall
//! of the system shows in every message that should have been sent meanwhile (no coordinated omission).

mod counts;
mod ear;
mod views;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::counts::Flow;
pub use self::views::{View, Watch};

use self::counts::{Counts, Moment};
use self::ear::{Ear, Heard};
use super::client::{Client, Line};
use super::pace::Schedule;
use super::system::System;
use super::wire;

/// From the last session's opening to the first message.
const LEAD: Duration = Duration::from_millis(200);
/// Answers and deliveries may come this long after the last message.
const SETTLE: Duration = Duration::from_secs(10);
/// Nothing has come for so long: nothing more will.
const SILENCE: Duration = Duration::from_secs(2);
/// Between two looks whether everything has come.
const LOOK: Duration = Duration::from_millis(20);
/// The thread that sends, for those who ask what it costs.
const THREAD: &str = "load";

/// A session with the conversation that it writes to.
pub struct Seat {
    /// The session.
    pub client: Client,
    /// The conversation.
    pub conversation: String,
}

/// What is written, how fast and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Messages a second over all sessions, which take turns.
    pub rate: u64,
    /// How long is measured.
    pub measured: Duration,
    /// How long before that the same load runs unmeasured.
    pub warm_up: Duration,
    /// Characters of a message.
    pub text_bytes: usize,
    /// Sessions in each conversation, which all hear each of its messages.
    pub members: u64,
    /// Every how many sessions there is one that looks into what it gets: order, completeness, latency. The others count.
    pub look_every: usize,
}

/// Puts the load on and says what came of it.
///
/// # Errors
/// The system's metrics cannot be read, or a session broke.
pub async fn run(system: &System, seats: Vec<Seat>, plan: &Plan) -> anyhow::Result<Flow> {
    let schedule = Schedule::new(Instant::now() + LEAD, plan.rate, plan.warm_up, plan.measured);
    let counts = Arc::new(Counts::new(schedule.clone()));
    let stop = CancellationToken::new();
    let mut ears = JoinSet::new();
    let mut lines = Vec::with_capacity(seats.len());
    for (index, Seat { client, conversation }) in seats.into_iter().enumerate() {
        lines.push((Arc::clone(client.line()), conversation));
        let ear = Ear::new(index.is_multiple_of(plan.look_every), Arc::clone(&counts));
        ears.spawn(ear.listen(client, stop.clone()));
    }
    let sending = start_sending(lines, schedule.clone(), plan.text_bytes)?;
    let watch = Watch::start(system.metrics.clone()).await?;
    sleep_until(schedule.measured_from()).await;
    let before = Moment::now(system, &counts).await?;
    sleep_until(schedule.end()).await;
    let after = Moment::now(system, &counts).await?;
    let views = watch.end().await?;
    let sent = tokio::task::spawn_blocking(move || sending.join());
    let sent = sent.await?.map_err(|_| anyhow::anyhow!("the sending broke"))?;
    settle(&counts, &sent, plan.members).await;
    stop.cancel();
    let mut heard = Heard::default();
    while let Some(one) = ears.join_next().await {
        heard.add(one.context("a session broke")?);
    }
    Ok(Flow::new(plan, &counts, (&before, &after), sent, heard, views))
}

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Messages that went out.
    pub messages: u64,
    /// Measured ones that went out late.
    pub late: u64,
}

/// On a thread of its own: timers of the runtime are as fine as a millisecond.
fn start_sending(
    lines: Vec<(Arc<Line>, String)>,
    schedule: Schedule,
    text_bytes: usize,
) -> anyhow::Result<std::thread::JoinHandle<Sent>> {
    let salt = salt()?;
    let text = "x".repeat(text_bytes);
    let send_all = move || {
        let (mut frame, mut messages) = (Vec::new(), 0);
        let late = schedule.pace(|number| {
            let (line, conversation) = &lines[usize::try_from(number).unwrap_or(0) % lines.len()];
            let command = format!(
                r#"{{"id":"{number}","cmd":"message.send","ref":"{salt}-{number}","conversation":"{conversation}","text":"{number} {text}"}}"#
            );
            frame.clear();
            wire::text(&mut frame, command.as_bytes());
            // Whose connection is gone says so where it is read.
            messages += u64::from(line.send(&frame).is_ok());
        });
        Sent { messages, late }
    };
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(send_all).context("cannot start the sending thread")
}

/// Waits until all that was sent is answered, and all that was accepted delivered; or nothing comes any more.
async fn settle(counts: &Counts, sent: &Sent, members: u64) {
    let deadline = Instant::now() + SETTLE;
    let (mut last, mut since) = (counts.progress(), Instant::now());
    while Instant::now() < deadline && !counts.is_complete(sent.messages, members) {
        sleep(LOOK).await;
        let now = counts.progress();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > SILENCE {
            return;
        }
    }
}

/// Distinguishes the refs of one run from those of another.
///
/// # Errors
/// The machine gives no random bytes.
pub fn salt() -> anyhow::Result<String> {
    let random = getrandom::u64().map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(format!("{random:x}"))
}
