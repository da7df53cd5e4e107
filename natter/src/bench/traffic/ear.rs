//! What one session hears.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counts::Counts;
use crate::bench::client::{Client, End};
use crate::bench::wire;

const REPLY: &[u8] = br#"{"id":""#;
const SENT: &[u8] = br#"{"event":"message.sent""#;

/// The listening side of a session.
pub struct Ear {
    counts: Arc<Counts>,
    /// Whether it looks into messages, or counts them only.
    looks: bool,
    last_seq: Option<u64>,
    out_of_order: u64,
    /// Messages of the read at hand.
    messages: u64,
}

/// What sessions heard beside what is counted at once.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Sessions that looked.
    pub looked: u64,
    /// Messages whose seq was not the last + 1, at those.
    pub out_of_order: u64,
    /// Sessions that ended before they should, by why.
    pub ended: BTreeMap<String, u64>,
}

impl Heard {
    /// Adds what another heard.
    pub fn add(&mut self, other: Self) {
        self.looked += other.looked;
        self.out_of_order += other.out_of_order;
        for (why, count) in other.ended {
            *self.ended.entry(why).or_default() += count;
        }
    }
}

impl Ear {
    /// An ear that has heard nothing.
    pub const fn new(looks: bool, counts: Arc<Counts>) -> Self {
        Self { counts, looks, last_seq: None, out_of_order: 0, messages: 0 }
    }

    /// Listens until `stop` or the connection's end.
    pub async fn listen(mut self, mut client: Client, stop: CancellationToken) -> Heard {
        let mut stopped = pin!(stop.cancelled());
        let ended = loop {
            let read = tokio::select! {
                biased;
                read = client.read(|text| self.hear(text)) => read,
                () = &mut stopped => break None,
            };
            match read {
                Ok(frames) => self.counts.read(frames, std::mem::take(&mut self.messages)),
                Err(end) => break Some(end),
            }
        };
        let ended = ended.map(|end: End| (end.to_string(), 1)).into_iter().collect();
        Heard { looked: u64::from(self.looks), out_of_order: self.out_of_order, ended }
    }

    fn hear(&mut self, text: &[u8]) {
        if text.starts_with(SENT) {
            self.messages += 1;
            if self.looks {
                self.look(text);
            }
        } else if text.starts_with(REPLY) {
            self.reply(text);
        }
    }

    fn look(&mut self, text: &[u8]) {
        let seq = wire::number(text, br#""seq":"#, b',');
        let is_next = self.last_seq.is_none_or(|last| seq == Some(last + 1));
        self.out_of_order += u64::from(!is_next);
        self.last_seq = seq;
        // The sender's own copy shows its ref; what counts is when the others have it.
        if !text.windows(7).any(|window| window == br#""ref":""#)
            && let Some(number) = wire::number(text, br#""text":""#, b' ')
        {
            self.counts.delivered(number, Instant::now());
        }
    }

    fn reply(&self, text: &[u8]) {
        let number = wire::number(text, REPLY, b'"');
        match (number, wire::between(text, br#""code":""#, b'"')) {
            (Some(number), None) => self.counts.accepted(number, Instant::now()),
            (_, code) => self.counts.refused(&String::from_utf8_lossy(code.unwrap_or(b"unknown"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::pace::Schedule;

    #[test]
    fn messages_replies_and_refusals_are_told_apart_and_a_hole_is_noticed() {
        let schedule = Schedule::new(Instant::now(), 10, Duration::ZERO, Duration::from_secs(1));
        let counts = Arc::new(Counts::new(schedule));
        let mut ear = Ear::new(true, Arc::clone(&counts));
        for text in [
            r#"{"event":"message.sent","sender":"a","seq":4,"text":"0 x"}"#,
            r#"{"event":"message.sent","sender":"b","ref":"r","seq":5,"text":"1 x"}"#,
            r#"{"event":"message.sent","sender":"a","seq":7,"text":"3 x"}"#,
            r#"{"event":"conversation.added","seq":8}"#,
            r#"{"id":"1","ok":{"seq":5}}"#,
            r#"{"id":"2","error":{"code":"overloaded","message":"x"}}"#,
        ] {
            ear.hear(text.as_bytes());
        }
        assert_eq!((ear.messages, ear.out_of_order), (3, 1));
        assert_eq!(counts.latencies().map(|latencies| latencies.count), [2, 1]);
        assert_eq!(counts.refusals(), BTreeMap::from([("overloaded".to_owned(), 1)]));
    }
}
