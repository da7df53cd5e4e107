//! ClickHouse away, or there and silent: what is hot is read, the rest says so soon.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use natter::backends::Backend;
use natter_projections::clickhouse::migrate;
use natter_projections::reads::{Asking, MessageRange, Reads};
use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;

use super::{World, connect};
use crate::servers::Servers;

/// Sooner than a client gives up.
const SOON: Duration = Duration::from_secs(4);

async fn read(reads: &Reads, asking: Asking<'_>, address: &Address, range: MessageRange) -> Result<usize, ErrorCode> {
    reads.messages(asking, address, range, 50, None).await.map(|page| page.messages.len()).map_err(|error| error.code)
}

#[tokio::test]
async fn what_is_hot_is_read_while_clickhouse_is_away() {
    let servers = Servers::with(vec![Backend::Nats, Backend::Redis, Backend::ClickHouse]).await;
    let history = connect(servers.clickhouse());
    migrate(&history).await.unwrap();
    let mut world = World::on(servers, history, 111, 1).await;
    world.partitions[0].generator.users.truncate(3);
    world.write(50, 300).await;
    world.insert_all_but(0).await;
    let reads = world.reads();
    let model = &world.partitions[0].generator.model;
    let (id, room) = model.conversations.iter().max_by_key(|(_, room)| room.messages.len()).unwrap();
    assert!(room.messages.len() > 260, "{}", room.messages.len());
    let asking = Asking { tenant: &room.fact.tenant, user: room.members.keys().next().unwrap(), min: &[] };
    let address = Address::Id(*id);
    let (hot, cold) = (MessageRange::Newest, MessageRange::After(0));
    assert_eq!(read(&reads, asking, &address, cold).await, Ok(50));

    world.servers.freeze(Backend::ClickHouse);
    let started = Instant::now();
    assert_eq!(read(&reads, asking, &address, hot).await, Ok(50));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    // Many who wait do not wait for each other; also a gateway that starts now and knows nothing of the history.
    for reads in [&reads, &world.reads()] {
        let started = Instant::now();
        let answers = join_all((0..40).map(|_| read(reads, asking, &address, cold))).await;
        assert!(answers.iter().all(|answer| *answer == Err(ErrorCode::Unavailable)), "{answers:?}");
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        let events = reads.events(asking, &address, None, 50).await;
        assert_eq!(events.unwrap_err().code, ErrorCode::Unavailable);
    }
    world.servers.thaw(Backend::ClickHouse);
    let mut answer = read(&reads, asking, &address, cold).await;
    // One failure may serve those who come right after it.
    while answer == Err(ErrorCode::Unavailable) && started.elapsed() < 10 * SOON {
        answer = read(&reads, asking, &address, cold).await;
    }
    assert_eq!(answer, Ok(50));

    world.servers.take_away(Backend::ClickHouse).await;
    let started = Instant::now();
    assert_eq!(read(&reads, asking, &address, cold).await, Err(ErrorCode::Unavailable));
    assert_eq!(read(&reads, asking, &address, hot).await, Ok(50));
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    world.servers.bring_back(Backend::ClickHouse).await;
    let started = Instant::now();
    while read(&reads, asking, &address, cold).await != Ok(50) {
        assert!(started.elapsed() < SOON, "it is back");
    }
}
