//! Reads what a command needs beyond its partition's facts before it is sent (invariant 14): a partition waits for nobody but
//! its log and its Redis view, so whoever else is away costs the command that needs it, and nobody else.

mod breaker;
pub mod lanes;

use std::sync::Arc;
use std::time::Duration;

use natter_projections::reads::Reads;
use natter_schemas::command::{Command, Origin};
use natter_schemas::event::remembers_ref;
use natter_schemas::evidence::Evidence;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use self::breaker::Breaker;
use crate::telemetry;

/// Commands of one partition that wait to be looked up; more go without.
const WAITING_MAX: usize = 4096;
/// Looked up by one question.
const ASKED_AT_ONCE: usize = 1000;
/// Whatever has not answered by then is away.
const DEADLINE: Duration = Duration::from_secs(1);

/// Whether something has to be looked up for a command.
pub fn is_needed(command: &Command) -> bool {
    command.origin == Origin::Resend && remembers_ref(command)
}

/// Looks evidence up, for all commands of a partition that wait at a moment by one question. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Finder {
    partitions: Arc<[mpsc::Sender<Asked>]>,
}

#[derive(Debug)]
struct Asked {
    command: Command,
    found: oneshot::Sender<Option<Evidence>>,
}

impl Finder {
    /// Reads from `reads`.
    pub fn start(reads: &Reads, partitions: u16) -> Self {
        let breaker = Arc::new(Breaker::default());
        let start = |partition| {
            let (sender, asked) = mpsc::channel(WAITING_MAX);
            tokio::spawn(find(reads.clone(), partition, asked, Arc::clone(&breaker)));
            sender
        };
        Self { partitions: (0..partitions).map(start).collect() }
    }

    /// The command with what was found for it. What is away leaves no evidence: whether it can be decided without is the
    /// partition's to say.
    pub async fn attach(&self, partition: u16, mut command: Command) -> Command {
        command.evidence = if is_needed(&command) { self.find(partition, &command).await } else { Vec::new() };
        command
    }

    async fn find(&self, partition: u16, command: &Command) -> Vec<Evidence> {
        let Some(queue) = self.partitions.get(usize::from(partition)) else { return Vec::new() };
        let (found, answer) = oneshot::channel();
        if queue.try_send(Asked { command: command.clone(), found }).is_err() {
            metrics::counter!(telemetry::EVIDENCE_MISSING, "reason" => "queue").increment(1);
            return Vec::new();
        }
        answer.await.ok().flatten().into_iter().collect()
    }
}

/// One partition's look-ups, one after the other, until nobody asks any more.
async fn find(reads: Reads, partition: u16, mut queue: mpsc::Receiver<Asked>, breaker: Arc<Breaker>) {
    let mut asked = Vec::new();
    while queue.recv_many(&mut asked, ASKED_AT_ONCE).await > 0 {
        let found = if breaker.lets_through(Instant::now()) {
            look_up(&reads, partition, &asked, &breaker).await
        } else {
            None
        };
        if found.is_none() {
            metrics::counter!(telemetry::EVIDENCE_MISSING, "reason" => "away").increment(asked.len() as u64);
        }
        let mut found = found.unwrap_or_default().into_iter();
        for Asked { found: to, .. } in asked.drain(..) {
            // Who no longer listens has gone away.
            to.send(found.next().flatten()).ok();
        }
    }
}

async fn look_up(reads: &Reads, partition: u16, asked: &[Asked], breaker: &Breaker) -> Option<Vec<Option<Evidence>>> {
    let commands: Vec<&Command> = asked.iter().map(|asked| &asked.command).collect();
    let began = Instant::now();
    let failure = match timeout(DEADLINE, reads.refs(partition, &commands)).await {
        Ok(Ok(found)) => {
            breaker.succeeded();
            metrics::histogram!(telemetry::EVIDENCE).record(began.elapsed());
            return Some(found);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} ms", DEADLINE.as_millis()),
    };
    breaker.failed(Instant::now());
    tracing::warn!(partition, commands = commands.len(), failure, "resends go without what the history knows of them");
    None
}
