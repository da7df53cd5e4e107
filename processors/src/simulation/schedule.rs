//! Schedules of faults, as `natter soak` prints them for the core: `12 kill; 40 flush`, each a step and what happens
//! then.

use super::Simulation;

/// How long something stays away: so many looks at it.
const AWAY: u32 = 12;
/// Batches that a Redis which was killed wakes up in the past.
const FALL_BACK: usize = 7;

/// What happens to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Every worker dies.
    Kill,
    /// A second worker begins while the first knows nothing of it.
    Double,
    /// The next batch is stored, and its acknowledgement is lost.
    LostAck,
    /// The Redis view loses everything.
    Flush,
    /// The Redis view wakes up in the past.
    FallBack,
    /// The Redis view stands still for a while.
    Stand,
    /// Redis does not answer for a while.
    RedisAway,
    /// The history does not answer for a while.
    HistoryAway,
    /// The broker's clock is set, by so many milliseconds.
    Clock(i64),
}

/// The events of a schedule, by step.
pub(super) fn parse(schedule: &str) -> Vec<(u64, Event)> {
    let parsed = schedule.split(';').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
        let (at, event) = part.split_once(' ').unwrap_or_else(|| panic!("`{part}` is no step and event"));
        let event = match event.split_once(' ') {
            None => match event {
                "kill" => Event::Kill,
                "double" => Event::Double,
                "lost-ack" => Event::LostAck,
                "flush" => Event::Flush,
                "fall-back" => Event::FallBack,
                "stand" => Event::Stand,
                "redis-away" => Event::RedisAway,
                "history-away" => Event::HistoryAway,
                other => panic!("no event `{other}`"),
            },
            Some(("clock", ms)) => Event::Clock(ms.parse().expect("milliseconds")),
            Some(other) => panic!("no event `{other:?}`"),
        };
        (at.parse().expect("a step"), event)
    });
    parsed.collect()
}

impl Simulation {
    /// Lets it happen.
    pub(super) async fn happens(&mut self, event: Event) {
        match event {
            Event::Kill => self.workers.iter_mut().for_each(|worker| *worker = None),
            Event::Double => {
                let free = (0..self.workers.len()).find(|which| self.workers[*which].is_none());
                self.begin(free.unwrap_or(0)).await;
            }
            Event::LostAck => self.lose_ack = true,
            Event::Flush => self.memory.state().fall_back(usize::MAX),
            Event::FallBack => self.memory.state().fall_back(FALL_BACK),
            Event::Stand => self.memory.state().away.view_moves = AWAY,
            Event::RedisAway => self.memory.state().away.redis = AWAY,
            Event::HistoryAway => self.memory.state().away.history = AWAY,
            Event::Clock(ms) => self.clients.stored_ms = self.clients.stored_ms.saturating_add_signed(ms),
        }
    }
}
