//! `natter bench room`: one room, all members connected; what each writes reaches all of them.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use natter_schemas::limits::COMMAND_MEMBERS_MAX;
use serde::Serialize;
use serde_json::json;

use super::args::Room;
use super::bare::{self, Bare};
use super::find;
use super::report::{Report, grouped, head, table};
use super::sockets::FRAME_BYTES;
use super::system::{System, users};
use super::traffic::{self, Flow, Plan, Seat, salt};

/// One rate.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Members.
    pub members: u32,
    /// What came of the load.
    #[serde(flatten)]
    pub flow: Flow,
    /// Whether everything was answered and delivered in time.
    pub is_sustained: bool,
    /// CPU of the process with the gateway in it for each delivery, in microseconds.
    pub gateway_micros_per_delivery: f64,
    /// Bare `send()` loops to as many sockets, right after: one frame a `send()`, and as many as the gateway's writes had.
    pub bare: Vec<Bare>,
    /// Deliveries a second for one of the best bare loop's.
    pub ratio_to_bare: f64,
}

/// Runs each rate, or looks for the highest and goes beyond it.
///
/// # Errors
/// Nothing runs there, or it refuses sessions or the room.
pub async fn room(args: &Room) -> anyhow::Result<Report<Run>> {
    let system = Arc::new(System::of(&args.against).await?);
    let users = users("room", args.members);
    let conversation = make(&system, &users).await?;
    let bench = Bench { system: &system, args, users: &users, conversation: &conversation };
    let run = async |rate| bench.run(rate).await;
    let (mut runs, found) = find::over(&args.rate, args.find, |run: &Run| run.is_sustained, run).await?;
    if found > 0 {
        // Past saturation nothing may collapse.
        runs.push(bench.run(2 * found).await?);
    }
    Ok(Report { mode: "room", machine: system.machine().await?, runs })
}

/// Makes the room; its id.
async fn make(system: &System, users: &[String]) -> anyhow::Result<String> {
    let (first, others) = users.split_first().context("a member")?;
    let mut client = system.connect(std::slice::from_ref(first)).await?.pop().context("a session")?;
    let salt = salt()?;
    let create = json!({ "cmd": "conversation.create", "ref": salt, "kind": "group", "name": "bench" });
    let made = client.ask(create).await.context("the room")?;
    let conversation = made["conversation"].as_str().context("a conversation")?.to_owned();
    for (index, members) in others.chunks(COMMAND_MEMBERS_MAX).enumerate() {
        let add = json!({
            "cmd": "conversation.add", "ref": format!("{salt}-{index}"), "conversation": conversation, "members": members,
        });
        client.ask(add).await.context("the room's members")?;
    }
    Ok(conversation)
}

struct Bench<'a> {
    system: &'a Arc<System>,
    args: &'a Room,
    users: &'a [String],
    conversation: &'a str,
}

impl Bench<'_> {
    async fn run(&self, rate: u64) -> anyhow::Result<Run> {
        let Room { members, span, text_bytes, look, .. } = self.args;
        let clients = self.system.connect(self.users).await?;
        let seats = clients.into_iter().map(|client| Seat { client, conversation: self.conversation.to_owned() });
        let plan = Plan {
            rate,
            measured: span.measured(),
            warm_up: span.before(),
            text_bytes: *text_bytes,
            members: u64::from(*members),
            look_every: usize::try_from(members.div_ceil((*look).clamp(1, *members)))?,
        };
        let flow = traffic::run(self.system, seats.collect(), &plan).await?;
        let bare = self.bare(&flow).await?;
        let best = bare.iter().map(|bare| bare.frames_per_second).fold(1.0, f64::max);
        let gateway = self.system.processes.gateway();
        Ok(Run {
            members: *members,
            is_sustained: flow.is_sustained(),
            gateway_micros_per_delivery: flow.servers.micros_each_of(gateway, flow.measured_deliveries()),
            ratio_to_bare: flow.deliveries_per_second / best,
            bare,
            flow,
        })
    }

    async fn bare(&self, flow: &Flow) -> anyhow::Result<Vec<Bare>> {
        let (sockets, bytes) = (self.users.len(), FRAME_BYTES + self.args.text_bytes);
        let mut loops = vec![bare::send_loop(sockets, bytes, 1).await?];
        let together = flow.frames_per_write();
        if together > 1 {
            loops.push(bare::send_loop(sockets, bytes, together).await?);
        }
        Ok(loops)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sustained = if self.is_sustained { "sustained" } else { "NOT sustained" };
        writeln!(f, "a room of {}: {sustained}", self.members)?;
        writeln!(f, "{}", self.flow)?;
        writeln!(f, "CPU of the gateway's process per delivery: {:.3} µs", self.gateway_micros_per_delivery)?;
        let mut rows = vec![head(["bare send() loop", "frames per send", "frames/s", "µs per frame"])];
        rows.extend(self.bare.iter().map(|bare| {
            vec![
                format!("{} sockets, {} bytes", bare.sockets, bare.frame_bytes),
                bare.frames_per_send.to_string(),
                grouped(bare.frames_per_second),
                format!("{:.3}", bare.cpu_micros_per_frame),
            ]
        }));
        write!(f, "{}\nratio of deliveries to the best bare loop: {:.2}", table(&rows), self.ratio_to_bare)
    }
}
