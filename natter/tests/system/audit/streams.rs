//! The log, damaged in every way: its streams are written again, damaged, under the same names.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self};
use bytes::Bytes;
use natter::audit::{Kind, Options, Store, run};
use natter::backends::Backend;
use natter_nats::Stored;
use natter_schemas::codec::{OutcomeBatch, OutcomeBatchWriter, OutcomeHeader, encode};
use natter_schemas::error::ErrorCode;
use natter_schemas::event::touched;
use natter_schemas::id::MessageId;
use natter_schemas::names::UserId;
use natter_schemas::outcome::{Accepted, Decision, Outcome, Received, Rejection};
use natter_schemas::subjects::{
    LEASE_HEADER, RECORDS_HEADER, command_stream, command_subject, outcome_stream, outcome_subject,
};

use super::world::{World, only};
use crate::servers::Servers;

struct Damages {
    world: World,
    jetstream: jetstream::Context,
    /// `EVT_0` as it was.
    batches: Vec<Stored>,
}

/// A batch taken apart.
struct Parts {
    header: OutcomeHeader,
    outcomes: Vec<Outcome>,
}

impl Parts {
    fn of(stored: &Stored) -> Self {
        let batch = OutcomeBatch::decode(&stored.payload).unwrap();
        let outcomes = batch.records().unwrap().iter().map(|raw| raw.decode().unwrap()).collect();
        Self { header: batch.header, outcomes }
    }

    /// Put together again, with a touch list that is right.
    fn written(self, like: &Stored) -> Stored {
        let mut writer = OutcomeBatchWriter::default();
        for outcome in &self.outcomes {
            writer.push(outcome, &touched(outcome));
        }
        let records = self.header.records();
        let OutcomeHeader { lease, sources, ids, policies, .. } = self.header;
        let payload = Bytes::from(writer.finish(lease, sources, ids, policies));
        Stored { payload, records: Some(records), lease: Some(lease), ..like.clone() }
    }
}

/// With another header, and nothing else changed.
fn with_header(stored: &Stored, change: impl FnOnce(&mut OutcomeHeader)) -> Stored {
    let mut header = OutcomeBatch::decode(&stored.payload).unwrap().header;
    change(&mut header);
    let length = u32::from_le_bytes(stored.payload[1..5].try_into().unwrap()) as usize;
    let encoded = encode(&header);
    let mut payload = vec![stored.payload[0]];
    payload.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_le_bytes());
    payload.extend_from_slice(&encoded);
    payload.extend_from_slice(&stored.payload[5 + length..]);
    Stored { payload: payload.into(), ..stored.clone() }
}

/// Writes messages into a stream that is empty.
async fn publish(jetstream: &jetstream::Context, subject: &str, messages: &[Stored]) {
    for message in messages {
        let mut headers = HeaderMap::new();
        for (name, value) in [(LEASE_HEADER, message.lease), (RECORDS_HEADER, message.records.map(u64::from))] {
            if let Some(value) = value {
                headers.insert(name, value.to_string());
            }
        }
        let published = jetstream.publish_with_headers(subject.to_owned(), headers, message.payload.clone()).await;
        published.unwrap().await.unwrap();
    }
}

impl Damages {
    /// Makes a stream again, with these messages.
    async fn rewrite(&self, stream: &str, subject: &str, change: impl FnOnce(&mut Config), messages: &[Stored]) {
        let mut config = self.jetstream.get_stream(stream).await.unwrap().cached_info().config.clone();
        change(&mut config);
        self.jetstream.delete_stream(stream).await.unwrap();
        self.jetstream.create_stream(config).await.unwrap();
        publish(&self.jetstream, subject, messages).await;
    }

    /// Another server with the streams of this one.
    async fn copy(&self, outcomes: &[Stored], commands: &[Stored]) -> Servers {
        let other = Servers::with(vec![Backend::Nats]).await;
        let there = jetstream::new(other.nats().await);
        for stream in [outcome_stream(0), command_stream(0), "KV_leases".into(), "KV_policies".into()] {
            let config = self.jetstream.get_stream(&stream).await.unwrap().cached_info().config.clone();
            there.create_stream(config).await.unwrap();
        }
        publish(&there, &outcome_subject(0), outcomes).await;
        publish(&there, &command_subject(0), commands).await;
        other
    }

    async fn read(&self, stream: &str) -> Vec<Stored> {
        let last = self.world.log.bounds(stream).await.unwrap().last;
        let mut messages = Vec::new();
        for sequence in 1..=last {
            messages.push(self.world.log.get_from_leader(stream, sequence).await.unwrap().unwrap());
        }
        messages
    }

    async fn write(&self, batches: &[Stored]) {
        self.rewrite(&outcome_stream(0), &outcome_subject(0), |_| {}, batches).await;
    }

    async fn check(&self, damaged: &[Stored], expected: Option<(Kind, &str)>) {
        self.write(damaged).await;
        let report = self.world.audit_log().await;
        assert_eq!(only(&report), expected.map(|(kind, place)| (Store::Log, kind, place)), "{report}");
    }

    /// With the batch at `index` changed.
    async fn check_one(&self, index: usize, change: impl FnOnce(&Stored) -> Stored, expected: (Kind, &str)) {
        let mut batches = self.batches.clone();
        batches[index] = change(&batches[index]);
        self.check(&batches, Some(expected)).await;
    }

    /// Where there is a message of a conversation that had some and gets more: (batch, outcome).
    fn message(&self) -> (usize, usize) {
        let mut all = Vec::new();
        for (index, batch) in self.batches.iter().enumerate() {
            for (at, outcome) in Parts::of(batch).outcomes.iter().enumerate() {
                if matches!(&outcome.decision, Decision::Accepted(Accepted::Sent { seq, .. }) if *seq > 2) {
                    all.push((index, at));
                }
            }
        }
        all[all.len() / 2]
    }

    /// A batch with several outcomes that differ.
    fn several(&self) -> usize {
        let differ = |batch: &Stored| {
            let outcomes = Parts::of(batch).outcomes;
            OutcomeBatch::decode(&batch.payload).unwrap().header.sources.len() == 1
                && outcomes.len() > 2
                && outcomes[0].received != outcomes[1].received
        };
        let found: Vec<_> = (0..self.batches.len()).filter(|index| differ(&self.batches[*index])).collect();
        found[found.len() / 2]
    }
}

fn sent(outcome: &mut Outcome) -> (&mut MessageId, &mut u64) {
    match &mut outcome.decision {
        Decision::Accepted(Accepted::Sent { message, seq, .. }) => (message, seq),
        other => panic!("a message, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_in_the_log_is_named() {
    let mut world = World::start(31, 1).await;
    world.wish_slowly(40).await;
    world.settle().await;
    let jetstream = jetstream::new(world.servers.nats().await);
    let mut all = Damages { world, jetstream, batches: Vec::new() };
    all.batches = all.read(&outcome_stream(0)).await;
    assert!(all.batches.len() > 20, "{} batches", all.batches.len());

    // What is written again as it was is as it was.
    all.check(&all.batches, None).await;
    replicas(&all).await;
    whole_batches(&all).await;
    contents(&all).await;
    headers(&all).await;
    decisions(&all).await;
    beyond_the_ends(&all).await;
}

/// Servers that should hold the same: here they are no cluster, so that one can be damaged.
async fn replicas(all: &Damages) {
    let commands = all.read(&command_stream(0)).await;
    let at = all.batches.len() / 2;
    let altered = Stored { lease: Some(77), ..all.batches[at].clone() };
    let mut damaged = all.batches.clone();
    damaged[at] = altered;
    let last = commands.len() - 1;
    let cases = [
        (all.batches.clone(), commands.clone(), None),
        (damaged, commands.clone(), Some(format!("EVT_0:{}", at + 1))),
        (all.batches.clone(), [&commands[..last], &commands[..1]].concat(), Some(format!("CMD_0:{}", last + 1))),
    ];
    for (outcomes, commands, place) in cases {
        let other = all.copy(&outcomes, &commands).await;
        let replicas = vec![other.nats_url().to_owned()];
        let options = Options { redis: false, clickhouse: false, replicas, ..Options::default() };
        let report = run(&all.world.config, &options).await.unwrap();
        assert_eq!(report.replicas, 2);
        let expected = place.as_deref().map(|place| (Store::Log, Kind::Replicas, place));
        assert_eq!(only(&report), expected, "{report}");
    }
}

async fn whole_batches(all: &Damages) {
    let at = all.batches.len() / 2;
    let mut missing = all.batches.clone();
    missing.remove(at);
    all.check(&missing, Some((Kind::Missing, &format!("0:{}", at + 1)))).await;

    let mut doubled = all.batches.clone();
    doubled.insert(at, doubled[at].clone());
    all.check(&doubled, Some((Kind::Doubled, &format!("0:{}", at + 2)))).await;

    let mut reordered = all.batches.clone();
    reordered.swap(at, at + 1);
    all.check(&reordered, Some((Kind::Reordered, &format!("0:{}", at + 2)))).await;

    let garbage = |stored: &Stored| Stored { payload: Bytes::from_static(b"\x01garbage"), ..stored.clone() };
    all.check_one(at, garbage, (Kind::Altered, &format!("0:{}", at + 1))).await;
}

async fn contents(all: &Damages) {
    let (at, index) = all.message();
    let place = format!("0:{}:{index}", at + 1);
    let change = |change: fn(&mut Outcome)| {
        move |stored: &Stored| {
            let mut parts = Parts::of(stored);
            change(&mut parts.outcomes[index]);
            parts.written(stored)
        }
    };
    let by_another = |outcome: &mut Outcome| match &mut outcome.received {
        Received::Command(command) => command.sender = UserId::trusted("mallory"),
        Received::Undecodable(_) => unreachable!("it is a message"),
    };
    all.check_one(at, change(by_another), (Kind::Altered, &place)).await;
    let other_id = |outcome: &mut Outcome| {
        let (message, _) = sent(outcome);
        *message = MessageId::from_raw(message.get() + 1);
    };
    all.check_one(at, change(other_id), (Kind::Altered, &place)).await;
    all.check_one(at, change(|outcome| *sent(outcome).1 += 1), (Kind::Missing, &place)).await;
    all.check_one(at, change(|outcome| *sent(outcome).1 -= 1), (Kind::Doubled, &place)).await;

    let at = all.several();
    let place = format!("0:{}", at + 1);
    let fewer = |stored: &Stored| {
        let mut parts = Parts::of(stored);
        parts.outcomes.remove(1);
        parts.header.sources[0].records -= 1;
        parts.written(stored)
    };
    all.check_one(at, fewer, (Kind::Missing, &place)).await;
    let more = |stored: &Stored| {
        let mut parts = Parts::of(stored);
        parts.outcomes.insert(1, parts.outcomes[1].clone());
        parts.header.sources[0].records += 1;
        parts.written(stored)
    };
    all.check_one(at, more, (Kind::Doubled, &place)).await;
    let swapped = |stored: &Stored| {
        let mut parts = Parts::of(stored);
        parts.outcomes.swap(0, 1);
        parts.written(stored)
    };
    all.check_one(at, swapped, (Kind::Reordered, &format!("{place}:0"))).await;
}

async fn headers(all: &Damages) {
    let at = all.batches.len() / 2;
    let place = format!("0:{}", at + 1);
    let altered = (Kind::Altered, place.as_str());
    all.check_one(at, |stored| Stored { records: Some(999), ..stored.clone() }, altered).await;
    all.check_one(at, |stored| Stored { lease: None, ..stored.clone() }, altered).await;
    all.check_one(at, |stored| with_header(stored, |header| header.lease += 1), altered).await;
    all.check_one(at, |stored| with_header(stored, |header| header.users.push(u64::MAX)), altered).await;
    all.check_one(at, |stored| with_header(stored, |header| header.conversations.push(u64::MAX)), altered).await;
    all.check_one(at, |stored| with_header(stored, |header| header.sources[0].log_ms -= 1), altered).await;
    all.check_one(at, |stored| with_header(stored, |header| header.sources[0].stored_ms += 1), altered).await;
    all.check_one(at, |stored| with_header(stored, |header| header.sources[0].number += 1000), altered).await;
    all.check_one(at, |stored| with_header(stored, |header| header.ids.advance(u64::MAX / 2)), altered).await;
}

/// An outcome that nothing contradicts but the decision itself.
async fn decisions(all: &Damages) {
    let options = Options { redis: false, clickhouse: false, decide: true, ..Options::default() };
    all.write(&all.batches).await;
    let report = run(&all.world.config, &options).await.unwrap();
    assert_eq!(only(&report), None, "{report}");
    let decided = report.partitions[0].decided;
    assert!(decided.is_some_and(|decided| decided > 100 && decided == report.partitions[0].outcomes), "{report}");

    for (what, wrong) in MISJUDGED {
        let found = all.batches.iter().enumerate().filter_map(|(at, batch)| {
            let mut parts = Parts::of(batch);
            let index = parts.outcomes.iter_mut().position(|outcome| wrong(&mut outcome.decision))?;
            Some((at, index, parts.written(batch)))
        });
        let found: Vec<_> = found.collect();
        let (at, index, written) = found.get(found.len() / 2).unwrap_or_else(|| panic!("{what}: there is none"));
        let mut damaged = all.batches.clone();
        damaged[*at] = written.clone();
        all.check(&damaged, None).await;
        let report = run(&all.world.config, &options).await.unwrap();
        let place = format!("0:{}:{index}", at + 1);
        assert_eq!(only(&report), Some((Store::Log, Kind::Decision, place.as_str())), "{what}: {report}");
    }
}

/// Decides otherwise; `false`: it is not one of those that it decides otherwise.
type Misjudge = fn(&mut Decision) -> bool;

const MISJUDGED: [(&str, Misjudge); 5] = [
    ("a stranger's command is taken", |decision| {
        let is_rejected = matches!(decision, Decision::Rejected(_));
        if is_rejected {
            *decision = Decision::Accepted(Accepted::Unchanged { conversation: None, seq: None });
        }
        is_rejected
    }),
    ("a rejection for another reason", |decision| {
        let Decision::Rejected(rejection) = decision else { return false };
        let other =
            if rejection.error_code() == ErrorCode::Forbidden { ErrorCode::Conflict } else { ErrorCode::Forbidden };
        *rejection = Rejection::new(other, other.description());
        true
    }),
    ("a text is masked", |decision| {
        let Decision::Accepted(Accepted::Sent { replacement, .. }) = decision else { return false };
        *replacement = Some("***".to_owned());
        true
    }),
    ("a word list is named that the text does not touch", |decision| {
        let Decision::Accepted(Accepted::Sent { lists, .. }) = decision else { return false };
        lists.push("rude".to_owned());
        true
    }),
    ("a member may not rename", |decision| {
        let is_renamed = matches!(decision, Decision::Accepted(Accepted::Renamed { .. }));
        if is_renamed {
            let code = ErrorCode::Forbidden;
            *decision = Decision::Rejected(Rejection::new(code, code.description()));
        }
        is_renamed
    }),
];

async fn beyond_the_ends(all: &Damages) {
    // The end of EVT is lost: what was answered last is to be decided again, but views know of it.
    let shorter = &all.batches[..all.batches.len() - 2];
    all.check(shorter, None).await;
    let report = all.world.audit().await;
    let found: Vec<_> = report.differences.iter().map(|one| (one.store, one.kind)).collect();
    assert_eq!(found, [(Store::Redis, Kind::Ahead), (Store::ClickHouse, Kind::Ahead)], "{report}");

    // Its begin is lost.
    all.write(&all.batches).await;
    let stream = all.jetstream.get_stream(outcome_stream(0)).await.unwrap();
    stream.purge().sequence(5).await.unwrap();
    assert_eq!(only(&all.world.audit().await), Some((Store::Log, Kind::Missing, "0:1")));

    // A command that was answered is another now.
    all.write(&all.batches).await;
    let (stream, subject) = (command_stream(0), command_subject(0));
    let last = OutcomeBatch::decode(&all.batches.last().unwrap().payload).unwrap().header.command_sequence();
    let mut command = all.world.log.get_from_leader(&stream, last - 1).await.unwrap().unwrap();
    let mut payload = command.payload.to_vec();
    *payload.last_mut().unwrap() ^= 1;
    command.payload = payload.into();
    all.rewrite(&stream, &subject, |config| config.first_sequence = Some(last - 1), &[command]).await;
    let report = all.world.audit_log().await;
    let kinds: Vec<_> = report.differences.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Kind::Altered, Kind::Ahead], "{report}");

    // All commands are lost, also those that EVT answers.
    all.rewrite(&stream, &subject, |config| config.first_sequence = None, &[]).await;
    assert_eq!(only(&all.world.audit_log().await), Some((Store::Log, Kind::Ahead, "0:1")));

    // A stream of another log.
    let other = |config: &mut Config| {
        config.metadata.insert("natter.log".into(), "7".repeat(32));
    };
    all.rewrite(&stream, &subject, other, &[]).await;
    let report = run(&all.world.config, &Options::default()).await.unwrap();
    assert_eq!(only(&report), Some((Store::Log, Kind::Foreign, "the streams")));
}
