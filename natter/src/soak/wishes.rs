//! What a device wants, until it is answered: commands on their way, when each is sent again, and what is learnt from
//! the answers. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::{Answer, ErrorBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::witness::WishId;

/// A refused command is tried again at the earliest, and at the latest, after so long.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A command that is not settled yet.
#[derive(Debug)]
struct Wish {
    /// All but `id` and `resend`.
    command: Value,
    /// When it was wished.
    since: Instant,
    /// When it is sent (again); `None`: it is on its way.
    due: Option<Instant>,
    /// It was sent before and may have come through.
    doubtful: bool,
    /// It was answered, and is asked for once more to see whether the answer is the same.
    first: Option<Answer>,
}

/// What an answer comes to.
#[derive(Debug)]
pub enum Settled {
    /// The first answer, after so long.
    Answered(Value, Answer, Duration),
    /// The same again, or not: then both.
    Again(Value, Result<(), (Answer, Answer)>),
    /// Refused for good.
    Refused(Value, ErrorCode),
    /// It will be tried again.
    Later(ErrorCode),
    /// Nobody waits for that.
    Unknown,
}

/// All commands of a device that are not settled.
#[derive(Debug, Default)]
pub struct Wishes {
    open: BTreeMap<u32, Wish>,
    last: u32,
}

impl Wishes {
    /// How many are not settled.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether all are settled.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// One more, due at once; `command` gets the wish's name as its `ref`.
    pub fn add(&mut self, device: u32, mut command: Value, now: Instant) -> WishId {
        self.last += 1;
        let id = WishId { device, number: self.last };
        command["ref"] = json!(id.to_string());
        if let Some(text) = command["text"].as_str() {
            command["text"] = json!(format!("{id} {text}"));
        }
        self.open.insert(self.last, Wish { command, since: now, due: Some(now), doubtful: false, first: None });
        id
    }

    /// The frame of a command that is due.
    pub fn next_due(&mut self, now: Instant) -> Option<String> {
        let (number, wish) = self.open.iter_mut().find(|(_, wish)| wish.due.is_some_and(|due| due <= now))?;
        wish.due = None;
        let mut frame = wish.command.clone();
        frame["id"] = json!(number.to_string());
        if wish.doubtful {
            frame["resend"] = json!(true);
        }
        Some(frame.to_string())
    }

    /// When the next one is due.
    pub fn due(&self) -> Option<Instant> {
        self.open.values().filter_map(|wish| wish.due).min()
    }

    /// Commands that are on their way on this connection.
    pub fn on_their_way(&self) -> usize {
        self.open.values().filter(|wish| wish.due.is_none()).count()
    }

    /// The connection is gone: everything is sent again on the next one.
    pub fn lost(&mut self, now: Instant) {
        for wish in self.open.values_mut() {
            wish.doubtful |= wish.due.is_none();
            wish.due = Some(now);
        }
    }

    /// Since when the oldest command that is on its way has waited.
    pub fn waits_since(&self) -> Option<Instant> {
        self.open.values().filter(|wish| wish.due.is_none()).map(|wish| wish.since).min()
    }

    /// Whether such a command is not settled.
    pub fn has(&self, cmd: &str) -> bool {
        self.open.values().any(|wish| wish.command["cmd"] == cmd)
    }

    /// Every command that is not settled.
    pub fn unsettled(&self) -> impl Iterator<Item = (u32, &Value)> {
        self.open.iter().map(|(number, wish)| (*number, &wish.command))
    }

    /// An answer came. One that may have been stored twice is asked for once more, to compare.
    pub fn answered(&mut self, id: &str, answer: Answer, now: Instant) -> Settled {
        let Some(number) = id.parse().ok().filter(|number| self.open.contains_key(number)) else {
            return Settled::Unknown;
        };
        let Some(mut wish) = self.open.remove(&number) else { return Settled::Unknown };
        if let Some(first) = wish.first {
            let same = first.message == answer.message && first.seq == answer.seq;
            return Settled::Again(wish.command, if same { Ok(()) } else { Err((first, answer)) });
        }
        let (command, after) = (wish.command.clone(), now - wish.since);
        if wish.doubtful && answer.message.is_some() {
            (wish.first, wish.due, wish.doubtful) = (Some(answer.clone()), Some(now), true);
            self.open.insert(number, wish);
        }
        Settled::Answered(command, answer, after)
    }

    /// A refusal came.
    pub fn refused(&mut self, id: &str, error: &ErrorBody, now: Instant) -> Settled {
        let Some(number) = id.parse::<u32>().ok() else { return Settled::Unknown };
        let Some(wish) = self.open.get_mut(&number) else { return Settled::Unknown };
        if error.code.retryable() {
            let after = Duration::from_millis(error.retry_after_ms.unwrap_or(0));
            wish.due = Some(now + after.clamp(RETRY_MIN, RETRY_MAX));
            wish.doubtful |= matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::Internal);
            return Settled::Later(error.code);
        }
        match self.open.remove(&number) {
            Some(wish) => Settled::Refused(wish.command, error.code),
            None => Settled::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send() -> Value {
        json!({ "cmd": "message.send", "conversation": "5", "text": "hi" })
    }

    #[test]
    fn a_command_is_sent_once_and_after_a_loss_again_as_a_resend() {
        let (mut wishes, now) = (Wishes::default(), Instant::now());
        let id = wishes.add(3, send(), now);
        let frame: Value = serde_json::from_str(&wishes.next_due(now).unwrap()).unwrap();
        assert_eq!((frame["ref"].as_str(), frame["text"].as_str()), (Some("w3-1"), Some("w3-1 hi")));
        assert!(frame.get("resend").is_none() && id.number == 1);
        assert_eq!(wishes.next_due(now), None);
        wishes.lost(now);
        let frame: Value = serde_json::from_str(&wishes.next_due(now).unwrap()).unwrap();
        assert_eq!(frame["resend"], true);
    }

    #[test]
    fn a_second_answer_must_be_the_first() {
        let (mut wishes, now) = (Wishes::default(), Instant::now());
        for (second, same) in [(4, true), (5, false)] {
            let id = wishes.add(3, send(), now).number.to_string();
            let message = Some(natter_schemas::id::MessageId::from_raw(9));
            let answer = |seq| Answer { seq: Some(seq), message, ..Answer::default() };
            wishes.next_due(now);
            wishes.lost(now);
            wishes.next_due(now);
            assert!(matches!(wishes.answered(&id, answer(4), now), Settled::Answered(..)));
            assert!(!wishes.is_empty());
            wishes.next_due(now);
            let Settled::Again(_, compared) = wishes.answered(&id, answer(second), now) else { panic!() };
            assert_eq!(compared.is_ok(), same);
            assert!(wishes.is_empty());
        }
    }

    #[test]
    fn a_refusal_is_final_or_not() {
        let (mut wishes, now) = (Wishes::default(), Instant::now());
        let id = wishes.add(3, send(), now).number.to_string();
        wishes.next_due(now);
        let busy = ErrorBody::of(ErrorCode::Overloaded).retry_after(10);
        assert!(matches!(wishes.refused(&id, &busy, now), Settled::Later(_)));
        assert_eq!(wishes.due(), Some(now + RETRY_MIN));
        let never = ErrorBody::of(ErrorCode::NotMember);
        assert!(matches!(wishes.refused(&id, &never, now), Settled::Refused(_, ErrorCode::NotMember)));
        assert!(wishes.is_empty());
        assert!(matches!(wishes.refused(&id, &never, now), Settled::Unknown));
    }
}
