//! Much at once, and much that is old: steps that one script call cannot take in, refs that are forgotten.

use natter_projections::redis::inbox;
use natter_schemas::codec::{OutcomeBatchWriter, Source};
use natter_schemas::command::{Body, Command, Origin, Visibility};
use natter_schemas::event::touched;
use natter_schemas::id::IdState;
use natter_schemas::limits::REF_LIFE_MS;
use natter_schemas::names::Ref;
use natter_schemas::outcome::{Accepted, Decision, Learnt, Outcome, Received};
use natter_schemas::position::version;
use natter_schemas::slot::Slot;

use super::*;

const CREATES: usize = 5_000;
const MEMBERS: usize = 100;
/// As many as one batch of outcomes takes.
const CREATES_OF_A_BATCH: usize = 2_000;
const START_MS: u64 = 1_800_000_000_000;

fn member(number: usize) -> UserId {
    UserId::trusted(&format!("member-{number}"))
}

fn created(conversation: ConversationId, number: usize) -> Outcome {
    let members: Vec<UserId> = (1..MEMBERS).map(member).collect();
    let visibility = Visibility::Private;
    let command = Command {
        tenant: Tenant::trusted("demo"),
        sender: member(0),
        session: 1,
        received_ms: START_MS,
        reference: Ref::trusted(&format!("c{number}")),
        origin: Origin::Client,
        body: Body::CreateGroup { visibility, name: None, members: members.clone(), external: None },
        evidence: Vec::new(),
    };
    let decision = Decision::Accepted(Accepted::Created { conversation, members });
    Outcome { received: Received::Command(command), policy: None, learnt: Learnt::Nothing, decision }
}

/// Batches of creates, and the conversations that they make.
fn creates() -> (Vec<Stored>, Vec<ConversationId>) {
    let (mut ids, mut conversations, mut batches) = (IdState::default(), Vec::new(), Vec::new());
    ids.advance(START_MS);
    while conversations.len() < CREATES {
        let mut writer = OutcomeBatchWriter::default();
        let records = CREATES_OF_A_BATCH.min(CREATES - conversations.len());
        for _ in 0..records {
            let conversation = ConversationId::from_raw(ids.next(Slot::from_bits(0)));
            let outcome = created(conversation, conversations.len());
            writer.push(&outcome, &touched(&outcome));
            conversations.push(conversation);
        }
        let (sequence, records) = (batches.len() as u64 + 1, u32::try_from(records).unwrap());
        let (stored_ms, log_ms, before_ms) = (START_MS, START_MS, START_MS);
        let source = Source { sequence, stored_ms, log_ms, before_ms, publisher: 1, number: sequence, records };
        let payload = writer.finish(1, vec![source], ids, Vec::new()).into();
        batches.push(Stored { sequence, stored_ms, lease: Some(1), records: Some(records), behind: 0, payload });
    }
    (batches, conversations)
}

/// More than a million arguments in one step: Redis 6.2 refuses a script call of so many. No script looks at all of a list
/// that long either.
#[tokio::test]
async fn thousands_of_creates_that_arrive_at_once_are_applied() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    let (batches, conversations) = creates();
    let stands = apply(&projector, &log, 0, 0, &batches).await;
    assert_eq!(stands, Watermark::new(log, batches.len() as u64));

    let tenant = Tenant::trusted("demo");
    let some = [0, 1, MEMBERS - 1].map(|number| (tenant.clone(), member(number)));
    let (_, lists) = inbox::memberships(&redis, 0, &some).await.unwrap();
    for list in lists {
        assert_eq!(list, conversations, "each of them is in all, rising");
    }
    let page = inbox::page(&redis, 0, &tenant, &member(1), None, 10).await.unwrap();
    assert_eq!((page.total, page.conversations), (CREATES, None), "no script puts so many in order");
    let (mut found, mut cursor) = (Vec::new(), inbox::START.to_owned());
    loop {
        let part = inbox::part(&redis, 0, &tenant, &member(1), &cursor).await.unwrap();
        assert!(part.conversations.len() <= 3_000, "{} in one script", part.conversations.len());
        found.extend(part.conversations.into_iter().map(|(_, id)| id));
        cursor = part.next;
        if cursor == inbox::START {
            break;
        }
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, conversations);
}

/// A step that ended before it wrote where it stands is applied again, also when it is cut otherwise then: nothing is
/// there twice.
#[tokio::test]
async fn a_view_that_was_half_written_is_completed_by_smaller_steps() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    for cut in 1..5 {
        let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
        let mut generator = Generator::new(41, 0);
        let batches: Vec<_> = (0..8).map(|_| generator.batch(80)).collect();
        redis::cmd("FLUSHALL").query_async::<()>(&mut servers.redis().await).await.unwrap();
        apply(&projector, &log, 0, 0, &batches).await;
        // As if the script of batches 4 to 8 had ended before it wrote the watermark.
        let mut set = redis::cmd("HSET");
        set.arg("{0}:watermark").arg("sequence").arg(3).arg("begun").arg(version(8, 0));
        set.query_async::<()>(&mut servers.redis().await).await.unwrap();
        for (number, some) in batches[3..].chunks(cut).enumerate() {
            apply(&projector, &log, 0, (3 + number * cut) as u64, some).await;
        }
        assert_shows(&redis, &generator, &log).await;
    }
}

/// Lists of refs that Redis holds for the partition.
async fn lists_of_refs(servers: &Servers) -> usize {
    let keys: Vec<String> = redis::cmd("KEYS").arg("{0}:*").query_async(&mut servers.redis().await).await.unwrap();
    let kind = |key: &str| key.split(':').nth(2).map(str::to_owned);
    keys.iter().filter(|key| kind(key).is_some_and(|kind| ["r", "ru", "rd", "rx", "rc"].contains(&&*kind))).count()
}

/// What is too old to matter goes by itself, without a look at everything: of who writes on and of who never came back.
#[tokio::test]
async fn refs_are_forgotten_when_they_are_old() {
    let servers = Servers::start().await;
    let redis = Redis::connect(servers.redis_url()).await.unwrap();
    let (projector, log) = (RedisProjector::new(redis.clone()), log_id('a'));
    let mut generator = Generator::new(43, 0);
    let write = async |generator: &mut Generator, records| {
        let batch = generator.batch(records);
        apply(&projector, &log, 0, batch.sequence - 1, &[batch]).await;
    };
    for _ in 0..5 {
        write(&mut generator, 400).await;
    }
    let many = lists_of_refs(&servers).await;
    assert!(many > 100, "{many} lists");
    generator.pause(REF_LIFE_MS);
    write(&mut generator, 1).await;
    write(&mut generator, 1).await;
    let left = lists_of_refs(&servers).await;
    assert!(left <= 3, "{left} lists of {many} are left");
    let queued: u64 = redis::cmd("ZCARD").arg("{0}:0:q").query_async(&mut servers.redis().await).await.unwrap();
    assert_eq!(queued, left as u64);
    assert_shows(&redis, &generator, &log).await;
}
