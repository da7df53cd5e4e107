//! What a device makes of the frames that it hears.

use std::time::Duration;

use natter_schemas::error::ErrorCode;
use natter_schemas::id::ConversationId;
use natter_schemas::wire::server::{EventFrame, Reply};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::device::Device;
use super::tally::Tally;
use super::waits::Slow;
use super::wishes::Settled;
use super::witness::{Entry, Fate, Message, WishId};
use super::world::HALL;

impl Device {
    pub(super) fn heard(&mut self, frame: &str) {
        if frame.starts_with(r#"{"id""#) {
            match serde_json::from_str(frame) {
                Ok(reply) => self.reply(reply),
                Err(error) => self.not_understood(frame, &error),
            }
        } else if frame.starts_with(r#"{"event""#) {
            match serde_json::from_str(frame) {
                Ok(event) => self.event(&event),
                Err(error) => self.not_understood(frame, &error),
            }
        }
    }

    fn not_understood(&mut self, frame: &str, error: &serde_json::Error) {
        let seen = format!("{error}: {frame}");
        self.account.broken.push(self.account.broke("frames are understood", 0, 0, seen));
    }

    fn reply(&mut self, reply: Reply) {
        let now = Instant::now();
        let settled = match reply {
            Reply::Ok { id, ok } => self.wishes.answered(&id, ok, now),
            Reply::Error { id: Some(id), error } => self.wishes.refused(&id, &error, now),
            Reply::Error { id: None, error } => {
                let seen = format!("{}: {}", error.code, error.message);
                return self.account.broken.push(self.account.broke("frames are understood", 0, 0, seen));
            }
        };
        match settled {
            Settled::Answered(command, answer, after, sends) => {
                self.tally.answered += 1;
                let (number, conversation) = (number_of(&command), answer.conversation);
                if let (Some(message), Some(seq), Some(number)) = (answer.message, answer.seq, number) {
                    let room = conversation.map_or(0, ConversationId::get);
                    self.tally.messages += 1;
                    self.account.sent.insert(number, (room, Fate::Answered(seq, message.get())));
                    let since = now.duration_since(self.started).saturating_sub(after);
                    self.waits.add(Slow {
                        wait_ms: millis(after),
                        since_ms: millis(since),
                        wish: WishId { device: self.who.number, number }.to_string(),
                        conversation: room,
                        sends,
                        faults: Vec::new(),
                    });
                } else if command["cmd"] == "conversation.read"
                    && let (Some(room), Some(seq)) = (conversation, answer.seq)
                {
                    let cursor = self.cursors.entry(room).or_default();
                    *cursor = seq.max(*cursor);
                }
            }
            Settled::Again(_, Ok(())) => self.tally.same_again += 1,
            Settled::Again(command, Err((first, second))) => {
                let (room, seq) = (first.conversation.map_or(0, ConversationId::get), first.seq.unwrap_or(0));
                let seen = format!("{command} got {first:?} and then {second:?}");
                self.account.broken.push(self.account.broke("a resend gets the first answer", room, seq, seen));
            }
            Settled::Later(code) => Tally::count(&mut self.tally.refused_for_now, code.name()),
            Settled::Refused(command, code) => self.refused(&command, code),
            Settled::Unknown => {}
        }
    }

    fn refused(&mut self, command: &Value, code: ErrorCode) {
        Tally::count(&mut self.tally.refused, code.name());
        if let Some(number) = number_of(command)
            && let Some((_, fate)) = self.account.sent.get_mut(&number)
        {
            *fate = Fate::Refused;
        }
        // Who comes and goes may have gone.
        let about_hall = command["conversation"] == format!("ext:{HALL}")
            || self.hall.is_some_and(|hall| command["conversation"] == json!(hall));
        if !(self.who.visits && about_hall && matches!(code, ErrorCode::NotMember | ErrorCode::NotFound)) {
            let seen = format!("{command} was refused: {code}");
            self.account.broken.push(self.account.broke("a member's wish is taken", 0, 0, seen));
        }
    }

    fn event(&mut self, event: &EventFrame) {
        let Some(room) = event.conversation else { return };
        let is_own = event.sender.as_str() == self.who.user;
        match event.event.as_str() {
            "message.sent" => {
                let Some(message) = message(event) else { return };
                self.tally.live += 1;
                self.note(room, Entry::Live(self.session, message));
                match self.rooms.get_mut(&room) {
                    Some(known) if message.seq == known.last + 1 => known.last = message.seq,
                    Some(known) if message.seq <= known.last => {}
                    // The witness names it; the client helps itself.
                    Some(_) | None => drop(self.behind.insert(room)),
                }
            }
            "conversation.created" => {
                if event.external.as_ref().is_some_and(|external| external.as_str() == HALL) {
                    self.hall = Some(room);
                }
                self.open(room, 0);
            }
            "conversation.joined" if is_own => {
                self.hall = Some(room);
                self.open(room, event.seq.unwrap_or(0));
            }
            "conversation.left" if is_own => {
                self.rooms.remove(&room);
                self.note(room, Entry::Left(true));
            }
            _ => {}
        }
    }
}

/// A message as the witness knows it.
fn message(event: &EventFrame) -> Option<Message> {
    let wish = WishId::parse(event.text.as_deref().unwrap_or(""));
    Some(Message { seq: event.seq?, id: event.message?.get(), wish })
}

fn number_of(command: &Value) -> Option<u32> {
    WishId::parse(command["ref"].as_str()?).map(|wish| wish.number)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
