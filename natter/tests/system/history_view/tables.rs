//! Tables and views against the model.
#![expect(clippy::struct_field_names, reason = "the fields are named as the columns")]

use std::collections::BTreeMap;

use clickhouse::{Row, RowOwned, RowRead};
use natter_nats::Stored;
use natter_projections::clickhouse::{ClickHouse, watermark};
use natter_projections::watermark::Watermark;
use natter_schemas::event::{content_hash, placed};
use natter_schemas::id::{ConversationId, MessageId};
use natter_schemas::names::UserId;
use natter_schemas::outcome::{Accepted, Decision, Received};
use natter_schemas::wire::server::EventFrame;
use serde::Deserialize;

use super::{Projecting, history, insert, log_id};
use crate::generator::Generator;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
struct Outcome {
    position: String,
    tenant: String,
    conversation: u64,
    sender: String,
    reference: String,
    command: String,
    event: String,
    code: String,
    message: u64,
    seq: u64,
    at: i64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
struct Message {
    tenant: String,
    conversation: u64,
    seq: u64,
    message: u64,
    sender: String,
    at: i64,
    text: String,
    masked: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
struct Conversation {
    tenant: String,
    conversation: u64,
    kind: String,
    visibility: String,
    external: String,
    name: String,
    creator: String,
    members: u64,
    last_seq: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
struct Member {
    tenant: String,
    conversation: u64,
    user: String,
    role: String,
    joined_at: i64,
    read_seq: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
struct User {
    tenant: String,
    user: String,
    name: String,
}

/// What analysts must see of these logs.
#[derive(Default)]
struct Expected {
    outcomes: Vec<Outcome>,
    messages: Vec<Message>,
    conversations: Vec<Conversation>,
    members: Vec<Member>,
    users: Vec<User>,
}

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

fn ms(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap()
}

impl Expected {
    fn add(&mut self, generator: &Generator, batches: &[Stored]) {
        for batch in batches {
            self.outcomes(generator.partition, batch);
        }
        for (id, room) in &generator.model.conversations {
            let (tenant, conversation) = (room.fact.tenant.to_string(), id.get());
            self.messages.extend(room.messages.iter().map(|message| Message {
                tenant: tenant.clone(),
                conversation,
                seq: message.seq,
                message: message.message.get(),
                sender: message.sender.to_string(),
                at: ms(message.at),
                text: message.text.clone(),
                masked: message.masked,
            }));
            self.members.extend(room.members.iter().map(|(user, (role, joined_at))| Member {
                tenant: tenant.clone(),
                conversation,
                user: user.to_string(),
                role: role.name().to_owned(),
                joined_at: ms(*joined_at),
                read_seq: room.cursors[user],
            }));
            self.conversations.push(Conversation {
                tenant,
                conversation,
                kind: word(room.fact.kind),
                visibility: word(room.fact.visibility),
                external: room.fact.external.as_ref().map(ToString::to_string).unwrap_or_default(),
                name: room.name.as_ref().map(ToString::to_string).unwrap_or_default(),
                creator: room.fact.creator.to_string(),
                members: room.members.len() as u64,
                last_seq: room.messages.len() as u64,
            });
        }
        let users = generator.model.names.iter();
        self.users.extend(users.map(|((tenant, user), (_, name))| User {
            tenant: tenant.to_string(),
            user: user.to_string(),
            name: name.to_string(),
        }));
    }

    fn outcomes(&mut self, partition: u16, batch: &Stored) {
        for placed in placed(partition, batch.sequence, &batch.payload).unwrap() {
            let Received::Command(command) = &placed.outcome.received else { panic!("{placed:?}") };
            let frame = placed.event().map(|event| EventFrame::of(&event));
            let (code, accepted) = match &placed.outcome.decision {
                Decision::Rejected(rejection) => (rejection.error_code().name(), None),
                Decision::Accepted(accepted) => ("", Some(accepted)),
            };
            self.outcomes.push(Outcome {
                position: placed.position.to_string(),
                tenant: command.tenant.to_string(),
                conversation: accepted.and_then(Accepted::conversation).map_or(0, ConversationId::get),
                sender: command.sender.to_string(),
                reference: command.reference.to_string(),
                command: command.body.name().to_owned(),
                event: frame.as_ref().map(|frame| frame.event.clone()).unwrap_or_default(),
                code: code.to_owned(),
                message: frame.as_ref().and_then(|frame| frame.message).map_or(0, MessageId::get),
                seq: frame.as_ref().and_then(|frame| frame.seq).unwrap_or(0),
                at: ms(command.at_ms(batch.stored_ms)),
            });
        }
    }

    async fn assert_shown(mut self, history: &ClickHouse) {
        assert_eq!(all::<Outcome>(history, "events").await, sorted(&mut self.outcomes));
        assert_eq!(all::<Message>(history, "messages").await, sorted(&mut self.messages));
        assert_eq!(all::<Conversation>(history, "conversations").await, sorted(&mut self.conversations));
        assert_eq!(all::<Member>(history, "members").await, sorted(&mut self.members));
        assert_eq!(all::<User>(history, "users").await, sorted(&mut self.users));
    }
}

fn sorted<T: Ord>(rows: &mut Vec<T>) -> Vec<T> {
    rows.sort();
    std::mem::take(rows)
}

/// All rows of an analysts' view.
async fn all<T: Ord + RowOwned + RowRead>(history: &ClickHouse, view: &str) -> Vec<T> {
    let sql = format!("SELECT ?fields FROM {}.{view}", history.views());
    sorted(&mut history.client().query(&sql).fetch_all().await.unwrap())
}

/// Every view shows what the logs come to, and nothing twice.
pub async fn assert_shown(history: &ClickHouse, logs: &[(&Generator, &[Stored])]) {
    let mut expected = Expected::default();
    for (generator, batches) in logs {
        expected.add(generator, batches);
    }
    expected.assert_shown(history).await;
}

async fn watermarks(history: &ClickHouse) -> BTreeMap<u16, (u64, u64)> {
    let sql = format!("SELECT partition, applied, log_last FROM {}.watermarks", history.views());
    let rows: Vec<(u16, u64, u64)> = history.client().query(&sql).fetch_all().await.unwrap();
    rows.into_iter().map(|(partition, applied, log_last)| (partition, (applied, log_last))).collect()
}

/// Invariant 4: rows are idempotent by key. Inserted once, again, in other cuts and late, each stands there once, and the
/// newest state is shown.
#[tokio::test]
async fn views_show_each_thing_once_however_often_and_however_cut_it_was_inserted() {
    let (history, log) = (history().await, log_id('a'));
    let mut generators = [Generator::new(61, 0), Generator::new(62, 1)];
    // A user's name lies in one partition.
    generators[1].users = (0..9).map(|n| UserId::try_from(format!("other {n}").as_str()).unwrap()).collect();
    let batches = generators.each_mut().map(|generator| (0..24).map(|_| generator.batch(70)).collect::<Vec<_>>());
    let logs = [(&generators[0], &*batches[0]), (&generators[1], &*batches[1])];
    let process = Projecting::new(&history, &log);
    // Both partitions in one process: their rows go into ClickHouse together.
    let (one, other) =
        tokio::join!(process.apply(&log, 0, &batches[0][..20]), process.apply(&log, 1, &batches[1][..20]));
    assert_eq!((one, other), (Ok(Watermark::new(log.clone(), 20)), Ok(Watermark::new(log.clone(), 20))));
    for partition in [0, 1_u16] {
        insert(&history, &log, partition, &batches[usize::from(partition)][20..]).await;
    }
    assert_shown(&history, &logs).await;
    assert_eq!(watermarks(&history).await, [(0, (24, 24)), (1, (24, 24))].into());

    for cut in [3, 24] {
        for partition in [1, 0_u16] {
            // Two projectors at once: a group and the one before it arrive in any order.
            let cuts = batches[usize::from(partition)].chunks(cut).rev();
            let inserts = cuts.map(|batches| insert(&history, &log, partition, batches));
            futures_util::future::join_all(inserts).await;
        }
        assert_shown(&history, &logs).await;
        for partition in [0, 1] {
            for checked in [0, 7, 24] {
                let found = watermark(&history, partition, checked).await;
                assert_eq!(found, Ok(Watermark::new(log.clone(), 24)), "from {checked}");
            }
        }
    }
    // Merged away or not, what is shown is the same.
    for table in ["events", "messages", "conversations", "members", "users"] {
        let sql = format!("OPTIMIZE TABLE {} FINAL", history.table(table));
        history.client().query(&sql).execute().await.unwrap();
    }
    assert_shown(&history, &logs).await;
}

/// Two groups of a partition that meet in one insert, the later one first.
#[tokio::test]
async fn the_newest_state_of_a_group_wins_whatever_the_order() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(63, 0);
    let batches: Vec<_> = (0..12).map(|_| generator.batch(60)).collect();
    let process = Projecting::new(&history, &log);
    // The first group makes the inserter wait for its interval, so that the next two go together.
    process.apply(&log, 0, &batches[..1]).await.unwrap();
    let (late, early) = tokio::join!(process.apply(&log, 0, &batches[6..]), process.apply(&log, 0, &batches[1..6]));
    assert!(late.is_ok() && early.is_ok());
    assert_shown(&history, &[(&generator, &batches)]).await;
}

/// A log that went on for more than 100 months is read again by several partitions at once.
#[tokio::test]
async fn one_insert_may_span_more_than_a_hundred_months() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(64, 0);
    let mut batches = Vec::new();
    for _ in 0..120 {
        batches.push(generator.batch(2));
        generator.pause(31 * 24 * 3_600_000);
    }
    insert(&history, &log, 0, &batches).await;
    assert_eq!(watermark(&history, 0, 0).await, Ok(Watermark::new(log.clone(), 120)));
    assert_shown(&history, &[(&generator, &batches)]).await;
}

/// The hash of the content as received is kept for refs; the original of a masked text is nowhere.
#[tokio::test]
async fn originals_of_masked_texts_are_not_in_the_history() {
    let (history, log) = (history().await, log_id('a'));
    let mut generator = Generator::new(65, 0);
    let batches: Vec<_> = (0..6).map(|_| generator.batch(100)).collect();
    insert(&history, &log, 0, &batches).await;
    let masked = batches.iter().flat_map(|batch| placed(0, batch.sequence, &batch.payload).unwrap());
    let mut seen = 0;
    for placed in masked {
        let Some(event) = placed.event() else { continue };
        let natter_schemas::command::Body::Send { text, .. } = &event.command.body else { continue };
        if event.visible_text() == Some(text.as_str()) {
            continue;
        }
        seen += 1;
        let sql = format!(
            "SELECT content, count() FROM {} WHERE sequence = ? AND idx = ? AND position(detail, ?) = 0 GROUP BY content",
            history.table("events")
        );
        let position = placed.position;
        let query =
            history.client().query(&sql).bind(position.sequence).bind(position.index.unwrap()).bind(text.as_str());
        assert_eq!(query.fetch_one::<(u64, u64)>().await.unwrap(), (content_hash(&event.command.body), 1));
        let sql = format!("SELECT count() FROM {} WHERE text = ?", history.table("messages"));
        assert_eq!(history.client().query(&sql).bind(text.as_str()).fetch_one::<u64>().await.unwrap(), 0);
    }
    assert!(seen > 5, "{seen} masked messages");
}
