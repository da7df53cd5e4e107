//! Wrong folds, put in on purpose: the second fold names each, with the position that it goes by.

use natter::audit::{Difference, Kind, Options, Sampling, Store, run};
use natter_nats::{Policies, Stored};
use natter_projections::redis::RedisProjector;
use natter_projections::runner::{Projector as _, Steps};
use natter_schemas::codec::{OutcomeBatch, OutcomeBatchWriter, OutcomeHeader};
use natter_schemas::command::{Address, Body, Command, Origin, Visibility};
use natter_schemas::event::touched;
use natter_schemas::names::{DisplayName, ExternalId, Tenant, UserId};
use natter_schemas::outcome::{Accepted, Decision, Outcome, Received};
use natter_schemas::policy::{Action, Policy, WordList};
use natter_schemas::subjects::outcome_stream;

use super::world::World;
use crate::processing::wishes::{by, send};

const ALL: Sampling = Sampling { seed: 1, one_of: 1 };

struct Planted {
    world: World,
    batches: Vec<Stored>,
}

/// Reads an outcome wrongly; `false`: it is not one of those that it reads wrongly.
type Misread = fn(&mut Command, &mut Accepted) -> bool;

/// What is read wrongly, and what must be named: kind, and a part of the place.
const MISREADINGS: [(&str, Misread, Kind, &str); 12] = [
    ("wrong seq", wrong_seq, Kind::Missing, " seq "),
    ("lost member", lost_member, Kind::Missing, " member "),
    ("cursor not moved", cursor_not_moved, Kind::Altered, "cursor"),
    ("unread off by one", unread_off_by_one, Kind::Altered, "cursor"),
    ("wrong name of a user", wrong_name, Kind::Altered, "user demo "),
    ("original shown", original_shown, Kind::Altered, " text"),
    ("lost message", lost_message, Kind::Missing, " seq "),
    ("wrong tenant", wrong_tenant, Kind::Altered, " tenant"),
    ("wrong role", wrong_role, Kind::Altered, " role"),
    ("lost name of a room", lost_rename, Kind::Altered, " name"),
    ("member who left", member_who_left, Kind::Unexpected, " member "),
    ("wrong sender", wrong_sender, Kind::Altered, " sender"),
];

fn wrong_seq(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Sent { seq, .. } = accepted else { return false };
    *seq += 1;
    true
}

fn lost_member(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Joined { conversation, .. } = accepted else { return false };
    *accepted = Accepted::Unchanged { conversation: Some(*conversation), seq: None };
    true
}

fn cursor_not_moved(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Read { conversation, .. } = accepted else { return false };
    *accepted = Accepted::Unchanged { conversation: Some(*conversation), seq: None };
    true
}

fn unread_off_by_one(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Read { seq, .. } = accepted else { return false };
    *seq -= 1;
    true
}

fn wrong_name(command: &mut Command, _: &mut Accepted) -> bool {
    let Body::UpdateUser { name } = &mut command.body else { return false };
    *name = DisplayName::trusted("Nobody");
    true
}

fn original_shown(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Sent { replacement, .. } = accepted else { return false };
    replacement.take().is_some()
}

fn lost_message(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Sent { conversation, seq, .. } = accepted else { return false };
    *accepted = Accepted::Read { conversation: *conversation, seq: *seq, peer: None };
    true
}

fn wrong_tenant(command: &mut Command, accepted: &mut Accepted) -> bool {
    command.tenant = Tenant::trusted("other");
    matches!(accepted, Accepted::Created { .. })
}

fn wrong_role(command: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Created { members, .. } = accepted else { return false };
    let Some(first) = members.first_mut() else { return false };
    std::mem::swap(first, &mut command.sender);
    true
}

fn lost_rename(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Renamed { conversation } = accepted else { return false };
    *accepted = Accepted::Unchanged { conversation: Some(*conversation), seq: None };
    true
}

fn member_who_left(_: &mut Command, accepted: &mut Accepted) -> bool {
    let Accepted::Left { conversation, .. } = accepted else { return false };
    *accepted = Accepted::Unchanged { conversation: Some(*conversation), seq: None };
    true
}

fn wrong_sender(command: &mut Command, accepted: &mut Accepted) -> bool {
    command.sender = UserId::trusted("somebody");
    matches!(accepted, Accepted::Sent { .. })
}

/// The batch with the last of its outcomes read wrongly that can be; `None`: there is none.
fn misread(stored: &Stored, misread: Misread) -> Option<Stored> {
    let batch = OutcomeBatch::decode(&stored.payload).unwrap();
    let mut outcomes: Vec<Outcome> = batch.records().unwrap().iter().map(|raw| raw.decode().unwrap()).collect();
    let is_changed = outcomes.iter_mut().rev().any(|outcome| {
        let mut changed = outcome.clone();
        let (Received::Command(command), Decision::Accepted(accepted)) = (&mut changed.received, &mut changed.decision)
        else {
            return false;
        };
        let is_changed = misread(command, accepted);
        if is_changed {
            *outcome = changed;
        }
        is_changed
    });
    let OutcomeHeader { lease, sources, ids, policies, .. } = batch.header;
    let mut writer = OutcomeBatchWriter::default();
    for outcome in &outcomes {
        writer.push(outcome, &touched(outcome));
    }
    let payload = writer.finish(lease, sources, ids, policies).into();
    is_changed.then(|| Stored { payload, ..stored.clone() })
}

impl Planted {
    async fn start() -> Self {
        let mut world = World::start(53, 1).await;
        let lists = vec![WordList { name: "rude".into(), action: Action::Mask, words: vec!["fine".into()] }];
        let (bytes, hash) = Policy { lists, ..Policy::default() }.to_stored();
        Policies::new(&world.log).store(&bytes).await.unwrap();
        let set = Body::SetPolicy { hash: Some(hash) };
        world.command(&[Command { origin: Origin::Operator, ..by("ops", set) }]).await;
        world.wish(60).await;
        // Of each kind one that nothing behind it takes back.
        let room = || Address::External(ExternalId::trusted("last"));
        let group = Body::CreateGroup {
            visibility: Visibility::Public,
            name: None,
            members: vec![UserId::trusted("zed"), UserId::trusted("yan")],
            external: Some(ExternalId::trusted("last")),
        };
        let read = Body::Read { conversation: room(), seq: 2 };
        let renamed = Body::Rename { conversation: room(), name: DisplayName::trusted("Last") };
        let last = [
            by("zoe", group),
            by("zoe", send("last", "one")),
            by("zoe", send("last", "two")),
            by("zed", read),
            by("yan", Body::Leave { conversation: room() }),
            by("wil", Body::Join { conversation: room() }),
            by("zoe", renamed),
            by("zoe", Body::UpdateUser { name: DisplayName::trusted("Zoe") }),
            by("zoe", send("last", "fine")),
        ];
        world.command(&last).await;
        world.settle().await;
        let stream = outcome_stream(0);
        let mut batches = Vec::new();
        for sequence in 1..=world.log.bounds(&stream).await.unwrap().last {
            batches.push(world.log.get_from_leader(&stream, sequence).await.unwrap().unwrap());
        }
        Self { world, batches }
    }

    /// What the second fold names; the other looks name places of the stores.
    async fn named(&self, redis: bool) -> Vec<Difference> {
        let options =
            Options { redis, clickhouse: !redis, model: Some(ALL), differences_max: 10_000, ..Options::default() };
        let report = run(&self.world.config, &options).await.unwrap();
        assert!(report.partitions[0].model.is_some_and(|model| model.messages > 50 && model.users > 3), "{report}");
        let of_model = |one: &Difference| one.place.starts_with("conversation ") || one.place.starts_with("user ");
        report.differences.into_iter().filter(of_model).collect()
    }

    /// Redis, filled by a projector that reads these batches.
    async fn fill(&self, batches: &[Stored]) {
        redis::cmd("FLUSHALL").query_async::<()>(&mut self.world.servers.redis().await).await.unwrap();
        let projector = RedisProjector::new(self.world.redis.clone());
        for batch in batches {
            let (after, log) = (batch.sequence - 1, self.world.log.id());
            let steps = Steps { log, partition: 0, after, batches: std::slice::from_ref(batch) };
            projector.apply(steps).await.unwrap();
        }
    }

    async fn sql(&self, sql: &str) {
        let sql = sql.replace("{store}", &self.world.store);
        self.world.history.query(&sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

fn assert_named(what: &str, named: &[Difference], store: Store, kind: Kind, place: &str) {
    let is_it = |one: &&Difference| one.store == store && one.kind == kind && one.place.contains(place);
    let found = named.iter().find(is_it).unwrap_or_else(|| panic!("{what} was not named: {named:#?}"));
    assert!(found.detail.contains("second fold at 0:"), "{what} has no position: {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_folds_are_named_by_the_second() {
    let planted = Planted::start().await;
    assert_eq!(planted.named(true).await, []);
    assert_eq!(planted.named(false).await, []);

    for (what, wrong, kind, place) in MISREADINGS {
        let mut batches = planted.batches.clone();
        // The last one that can be: nothing behind it takes it back.
        let changed = batches.iter_mut().rev().find_map(|batch| Some((misread(batch, wrong)?, batch)));
        let (changed, batch) = changed.unwrap_or_else(|| panic!("{what} cannot be planted"));
        *batch = changed;
        planted.fill(&batches).await;
        assert_named(what, &planted.named(true).await, Store::Redis, kind, place);
    }
    history(&planted).await;
}

/// Rows as wrong folds would leave them.
async fn history(planted: &Planted) {
    const NOW: &str = "SETTINGS mutations_sync = 2";
    let room = "conversation = (SELECT argMax(conversation, seq) FROM {store}.messages)";
    let cases = [
        (format!("ALTER TABLE {{store}}.messages DELETE WHERE {room} AND seq = 1 {NOW}"), Kind::Missing, " seq 1"),
        (
            format!("ALTER TABLE {{store}}.messages UPDATE text = 'x' WHERE {room} AND seq = 2 {NOW}"),
            Kind::Altered,
            " seq 2 text",
        ),
        (
            format!("ALTER TABLE {{store}}.messages UPDATE sender = 'x' WHERE {room} AND seq = 3 {NOW}"),
            Kind::Altered,
            " seq 3 sender",
        ),
        (
            format!(
                "INSERT INTO {{store}}.messages SELECT * REPLACE('other' AS tenant) FROM {{store}}.messages FINAL WHERE {room} AND seq = 4"
            ),
            Kind::Doubled,
            " seq 4",
        ),
        (
            format!("ALTER TABLE {{store}}.conversations UPDATE value = 99 WHERE {room} AND aspect = 'head' {NOW}"),
            Kind::Altered,
            "last seq",
        ),
        (
            format!(
                "ALTER TABLE {{store}}.conversations UPDATE creator = 'x' WHERE {room} AND aspect = 'created' {NOW}"
            ),
            Kind::Altered,
            "creator",
        ),
        (
            format!("ALTER TABLE {{store}}.members UPDATE role = 'x' WHERE {room} AND aspect = 'membership' {NOW}"),
            Kind::Altered,
            " role",
        ),
        (
            format!("ALTER TABLE {{store}}.members UPDATE read_seq = 999 WHERE {room} AND aspect = 'cursor' {NOW}"),
            Kind::Altered,
            " cursor",
        ),
        (
            format!("ALTER TABLE {{store}}.events DELETE WHERE {room} AND event = 'conversation.created' {NOW}"),
            Kind::Missing,
            " event",
        ),
        (format!("ALTER TABLE {{store}}.users UPDATE name = 'x' WHERE 1 {NOW}"), Kind::Altered, "user demo "),
    ];
    for (damage, _, _) in &cases {
        planted.sql(damage).await;
    }
    let named = planted.named(false).await;
    for (damage, kind, place) in &cases {
        assert_named(damage, &named, Store::ClickHouse, *kind, place);
    }
}
