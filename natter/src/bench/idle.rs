//! `natter bench idle`: what sessions cost that do nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::args::Idle;
use super::report::Report;
use super::system::{System, users};

/// Sessions that come and go before anything is measured: what a process makes once is no session's.
const FIRST: u32 = 100;
/// From the last session's opening, or end, to the measurement.
const SETTLE: Duration = Duration::from_secs(3);

/// What they cost.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Sessions that were open.
    pub sessions: u32,
    /// Of these, still open at the end.
    pub open_at_end: u32,
    /// Resident memory of the gateway's process before, in bytes.
    pub resident_bytes_before: u64,
    /// The same with all sessions open.
    pub resident_bytes_after: u64,
    /// The difference for each session.
    pub resident_bytes_per_session: f64,
    /// How long they did nothing, in seconds.
    pub seconds: f64,
    /// CPU of the gateway's process in that time, in microseconds for each session and second.
    pub cpu_micros_per_session_second: f64,
    /// How long it took to open them, in seconds.
    pub opening_seconds: f64,
}

/// Opens the sessions, waits, and measures.
///
/// # Errors
/// Nothing runs there, or it refuses sessions.
pub async fn idle(args: &Idle) -> anyhow::Result<Report<Run>> {
    let system = Arc::new(System::of(&args.against).await?);
    let gateway = system.processes.gateway();
    drop(system.connect(&users("idle", FIRST.min(args.sessions))).await?);
    sleep(SETTLE).await;
    let before = system.processes.usage();
    let began = Instant::now();
    let mut open = JoinSet::new();
    for mut client in system.connect(&users("idle", args.sessions)).await? {
        // They answer pings, and end only when the server ends them.
        open.spawn(async move { while client.read(|_| {}).await.is_ok() {} });
    }
    let opening_seconds = began.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    let (opened, at) = (system.processes.usage(), Instant::now());
    sleep(Duration::from_secs(args.seconds)).await;
    let (after, seconds) = (system.processes.usage(), at.elapsed().as_secs_f64());
    let mut ended = 0;
    while open.try_join_next().is_some() {
        ended += 1;
    }
    let (resident_bytes_before, resident_bytes_after) = (before.resident_bytes(gateway), after.resident_bytes(gateway));
    let sessions = f64::from(args.sessions.max(1));
    let spent = after.since(&opened, seconds);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let run = Run {
        sessions: args.sessions,
        open_at_end: args.sessions.saturating_sub(ended),
        resident_bytes_before,
        resident_bytes_after,
        resident_bytes_per_session: (resident_bytes_after as f64 - resident_bytes_before as f64) / sessions,
        seconds,
        cpu_micros_per_session_second: spent.micros_each_of(gateway, u64::from(args.sessions)) / seconds,
        opening_seconds,
    };
    Ok(Report { mode: "idle", machine: system.machine().await?, runs: vec![run] })
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        writeln!(
            f,
            "{} sessions opened in {:.1} s, {} of them open after {:.0} s",
            self.sessions, self.opening_seconds, self.open_at_end, self.seconds
        )?;
        writeln!(
            f,
            "resident memory of the gateway's process: {} MiB before, {} MiB with them: {:.0} bytes a session",
            mib(self.resident_bytes_before),
            mib(self.resident_bytes_after),
            self.resident_bytes_per_session
        )?;
        write!(f, "CPU of it: {:.2} µs a session and second", self.cpu_micros_per_session_second)
    }
}
