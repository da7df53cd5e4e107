//! What a device wants, until it is answered: commands on their way, when each is sent again, and what is learnt from
//! the answers. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use natter_schemas::error::ErrorCode;
use natter_schemas::wire::server::{Answer, ErrorBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::witness::WishId;

/// A refused command is tried again at the earliest, and at the latest, after so long.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Of a hundred messages, so many are sent once more although they were answered: as many as come twice when everybody's connection
/// breaks.
const RESENT_PERCENT: u32 = 5;

/// A command that is not settled yet.
#[derive(Debug)]
struct Wish {
    /// All but `id` and `resend`.
    command: Value,
    /// When it was wished.
    since: Instant,
    place: Place,
    /// It was sent before and may have come through.
    doubtful: bool,
    /// It was answered, and is asked for once more to see whether the answer is the same.
    first: Option<Answer>,
    /// How often it was sent.
    sends: u32,
}

/// Where a wish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is sent (again) then.
    Due(Instant),
    /// On its way since then.
    Sent(Instant),
}

/// What an answer comes to.
#[derive(Debug)]
pub enum Settled {
    /// The first answer, after so long and so many sends.
    Answered(Value, Answer, Duration, u32),
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
    /// Those that wait to be sent, by when they are due.
    due: BTreeSet<(Instant, u32)>,
    /// Those that are on their way, by when they were sent.
    sent: BTreeSet<(Instant, u32)>,
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
        let wish = Wish { command, since: now, place: Place::Due(now), doubtful: false, first: None, sends: 0 };
        self.put(self.last, wish);
        id
    }

    /// The frame of a command that is due.
    pub fn next_due(&mut self, now: Instant) -> Option<String> {
        let number = self.due.first().filter(|(due, _)| *due <= now)?.1;
        let wish = self.move_to(number, Place::Sent(now))?;
        wish.sends += 1;
        let mut frame = wish.command.clone();
        frame["id"] = json!(number.to_string());
        if wish.doubtful {
            frame["resend"] = json!(true);
        }
        Some(frame.to_string())
    }

    /// When the next one is due.
    pub fn due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Commands that are on their way on this connection.
    pub fn on_their_way(&self) -> usize {
        self.sent.len()
    }

    fn move_to(&mut self, number: u32, place: Place) -> Option<&mut Wish> {
        let mut wish = self.take(number)?;
        wish.place = place;
        self.put(number, wish);
        self.open.get_mut(&number)
    }

    fn put(&mut self, number: u32, wish: Wish) {
        match wish.place {
            Place::Due(at) => self.due.insert((at, number)),
            Place::Sent(at) => self.sent.insert((at, number)),
        };
        self.open.insert(number, wish);
    }

    fn take(&mut self, number: u32) -> Option<Wish> {
        let wish = self.open.remove(&number)?;
        match wish.place {
            Place::Due(at) => self.due.remove(&(at, number)),
            Place::Sent(at) => self.sent.remove(&(at, number)),
        };
        Some(wish)
    }

    /// The connection is gone: everything is sent again on the next one.
    pub fn lost(&mut self, now: Instant) {
        let numbers: Vec<u32> = self.open.keys().copied().collect();
        for number in numbers {
            let Some(mut wish) = self.take(number) else { continue };
            wish.doubtful |= matches!(wish.place, Place::Sent(_));
            wish.place = Place::Due(now);
            self.put(number, wish);
        }
    }

    /// Since when the oldest command that is on its way is.
    pub fn waits_since(&self) -> Option<Instant> {
        self.sent.first().map(|(since, _)| *since)
    }

    /// Whether such a command is not settled.
    pub fn has(&self, cmd: &str) -> bool {
        self.open.values().any(|wish| wish.command["cmd"] == cmd)
    }

    /// Every command that is not settled.
    pub fn unsettled(&self) -> impl Iterator<Item = (u32, &Value)> {
        self.open.iter().map(|(number, wish)| (*number, &wish.command))
    }

    /// An answer came. One that may have been stored twice is asked for once more, to compare, and so are some others.
    pub fn answered(&mut self, id: &str, answer: Answer, now: Instant) -> Settled {
        let Some((number, mut wish)) = id.parse().ok().and_then(|number| Some((number, self.take(number)?))) else {
            return Settled::Unknown;
        };
        if let Some(first) = wish.first {
            let same = first.message == answer.message && first.seq == answer.seq;
            return Settled::Again(wish.command, if same { Ok(()) } else { Err((first, answer)) });
        }
        let (command, after, sends) = (wish.command.clone(), now - wish.since, wish.sends);
        let is_resent = wish.doubtful || number % 100 < RESENT_PERCENT;
        if is_resent && answer.message.is_some() {
            (wish.first, wish.place, wish.doubtful) = (Some(answer.clone()), Place::Due(now), true);
            self.put(number, wish);
        }
        Settled::Answered(command, answer, after, sends)
    }

    /// A refusal came.
    pub fn refused(&mut self, id: &str, error: &ErrorBody, now: Instant) -> Settled {
        let Some(number) = id.parse::<u32>().ok() else { return Settled::Unknown };
        if error.code.retryable() {
            let after = Duration::from_millis(error.retry_after_ms.unwrap_or(0)).clamp(RETRY_MIN, RETRY_MAX);
            let Some(wish) = self.move_to(number, Place::Due(now + after)) else { return Settled::Unknown };
            wish.doubtful |= matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::Internal);
            return Settled::Later(error.code);
        }
        match self.take(number) {
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
