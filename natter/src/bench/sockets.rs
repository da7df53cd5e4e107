//! `natter bench sockets`: 1:1 chats.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;

use super::args::Sockets;
use super::bare::{self, Bare};
use super::find;
use super::report::{Report, grouped};
use super::system::{System, users};
use super::traffic::{self, Flow, Plan, Seat};

/// Bytes of a pushed message beside its text, roughly: for the bare comparison.
pub const FRAME_BYTES: usize = 220;

/// One rate.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Sessions.
    pub sessions: u32,
    /// What came of the load.
    #[serde(flatten)]
    pub flow: Flow,
    /// Whether everything was answered and delivered in time and both views kept up.
    pub is_sustained: bool,
    /// A bare `send()` loop to as many sockets, one frame a `send()`, right after.
    pub bare: Bare,
    /// Answers and deliveries a second (a session gets each by a write of its own), for one of the bare loop's.
    pub ratio_to_bare: f64,
}

/// Runs each rate, or looks for the highest.
///
/// # Errors
/// Nothing runs there, or it refuses sessions or conversations.
pub async fn sockets(args: &Sockets) -> anyhow::Result<Report<Run>> {
    ensure!(args.sessions >= 2 && args.sessions.is_multiple_of(2), "{} sessions make no pairs", args.sessions);
    let system = Arc::new(System::of(&args.against).await?);
    let (runs, _) =
        find::over(&args.rate, args.find, |run: &Run| run.is_sustained, async |rate| run(&system, args, rate).await)
            .await?;
    Ok(Report { mode: "sockets", machine: system.machine().await?, runs })
}

async fn run(system: &Arc<System>, args: &Sockets, rate: u64) -> anyhow::Result<Run> {
    let flow = pairs(system, args.sessions, &plan(args, rate)).await?;
    let bare = bare::send_loop(usize::try_from(args.sessions)?, FRAME_BYTES + args.text_bytes, 1).await?;
    let frames = flow.accepted_per_second + flow.deliveries_per_second;
    let ratio_to_bare = frames / bare.frames_per_second.max(1.0);
    Ok(Run { sessions: args.sessions, is_sustained: flow.is_sustained(), flow, bare, ratio_to_bare })
}

const fn plan(args: &Sockets, rate: u64) -> Plan {
    let Sockets { span, text_bytes, .. } = args;
    Plan { rate, measured: span.measured(), warm_up: span.before(), text_bytes: *text_bytes, members: 2, look_every: 1 }
}

/// The load of sessions in pairs.
///
/// # Errors
/// The system refuses.
pub async fn pairs(system: &Arc<System>, sessions: u32, plan: &Plan) -> anyhow::Result<Flow> {
    let users = users("pair", sessions);
    let mut clients = system.connect(&users).await?.into_iter();
    let mut seats = Vec::with_capacity(users.len());
    for pair in users.chunks(2) {
        let [one, other] = pair else { continue };
        let (Some(mut client), Some(peer)) = (clients.next(), clients.next()) else { continue };
        let create = json!({
            "cmd": "conversation.create", "ref": one, "kind": "direct", "members": [other],
        });
        let made = client.ask(create).await.context("the pair's chat")?;
        let conversation = made["conversation"].as_str().context("a conversation")?.to_owned();
        seats.push(Seat { client, conversation: conversation.clone() });
        seats.push(Seat { client: peer, conversation });
    }
    traffic::run(system, seats, plan).await
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} sessions in pairs: {}",
            self.sessions,
            if self.is_sustained { "sustained" } else { "NOT sustained" }
        )?;
        writeln!(f, "{}", self.flow)?;
        let bare = &self.bare;
        write!(
            f,
            "bare send() loop, {} sockets, {} bytes: {} frames/s, {:.2} µs each; ratio {:.2}",
            bare.sockets,
            bare.frame_bytes,
            grouped(bare.frames_per_second),
            bare.cpu_micros_per_frame,
            self.ratio_to_bare
        )
    }
}
