//! `natter bench`: an open-loop load over real sockets against a running system.
//!
//! Sessions come in pairs, each with its direct chat. Messages are sent at times that were fixed before, whatever the
//! answers do, and latency counts from that time: a stall of the system shows in every message that should have been
//! sent meanwhile (no coordinated omission).

mod pace;
mod report;
mod session;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use tokio::sync::Barrier;
use tokio::time::Instant;

use self::pace::Schedule;
use self::report::Latencies;
pub use self::report::Report;
use self::session::{Load, Session};

/// Sessions that connect at the same time.
const CONNECT_AT_ONCE: usize = 32;
/// Answers may come this long after the last message.
const SETTLE: Duration = Duration::from_secs(10);

/// What load is put on which system.
#[derive(Debug, Clone)]
pub struct Options {
    /// The gateway, `http://host:port`.
    pub gateway: String,
    /// One token a session; an even number.
    pub tokens: Vec<(String, String)>,
    /// Messages a second over all sessions.
    pub rate: u64,
    /// How long is measured.
    pub measured: Duration,
    /// How long before that the same load runs unmeasured.
    pub warm_up: Duration,
    /// Characters of a message.
    pub text_bytes: usize,
}

/// Puts the load on and says what came of it.
///
/// # Errors
/// The gateway refuses sessions or conversations.
pub async fn bench(options: &Options) -> anyhow::Result<Report> {
    if options.tokens.len() < 2 || !options.tokens.len().is_multiple_of(2) {
        bail!("{} sessions: an even number is needed", options.tokens.len());
    }
    let mut sessions = Vec::with_capacity(options.tokens.len());
    for some in options.tokens.chunks(CONNECT_AT_ONCE) {
        let connecting = some.iter().map(|(user, token)| Session::connect(&options.gateway, user, token));
        sessions.extend(try_join_all(connecting).await?);
    }
    for pair in sessions.chunks_mut(2) {
        let [one, other] = pair else { bail!("an even number of sessions is needed") };
        let peer = other.user().to_owned();
        let conversation = one.create_direct(&peer).await.context("the pair's chat")?;
        other.know(&conversation);
        one.know(&conversation);
    }
    let count = sessions.len();
    let start = Instant::now() + Duration::from_millis(500);
    let schedule = Arc::new(Schedule::new(start, options.rate, count as u64, options.warm_up, options.measured));
    let until = schedule.end() + SETTLE;
    let load = Arc::new(Load {
        schedule: Arc::clone(&schedule),
        latencies: Latencies::default(),
        settled: Barrier::new(count),
        text_bytes: options.text_bytes,
        until,
    });
    let mut senders = Vec::with_capacity(count);
    let mut work = Vec::with_capacity(count);
    for (index, session) in (0..).zip(sessions) {
        let (paced, due) = tokio::sync::mpsc::channel(1024);
        senders.push(paced);
        work.push(tokio::spawn(session.run(index, Arc::clone(&load), due)));
    }
    let paced = Arc::clone(&schedule);
    let pacing = std::thread::spawn(move || paced.pace(&senders));
    for ended in work {
        ended.await.context("a session broke")??;
    }
    let overrun = pacing.join().map_err(|_| anyhow::anyhow!("the pacing broke"))?;
    Ok(load.latencies.report(options, count, overrun))
}
