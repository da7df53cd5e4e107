//! A gateway that is there before its broker.

use std::time::Duration;

use natter::backends::Backend;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::world::World;

const SERVES_WITHIN: Duration = Duration::from_secs(20);

/// Until then a client is told so at once.
async fn until_served(world: &World) {
    let http = world.anonymous();
    let served = async {
        loop {
            let answer = http.get("/healthz").await;
            if answer.status == 200 {
                return;
            }
            assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SERVES_WITHIN, served).await.expect("it serves once the broker is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_while_the_feeds_are_opened_is_waited_for() {
    let world = World::without_broker().await;
    let early = world.anonymous().get("/healthz").await;
    assert_eq!((early.status, early.code().as_str()), (503, "unavailable"));
    world.servers.bring_back(Backend::Nats).await;
    until_served(&world).await;
    let mut ada = world.session("ada").await;
    let room = world.group(&mut ada, &["bob"]).await;
    let said = json!({ "cmd": "message.send", "conversation": room, "ref": "1", "text": "hi" });
    assert_eq!(ada.ok(said).await["seq"], 1);
    assert_eq!(ada.events_to("message.sent").await.last().unwrap()["text"], "hi");
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_waits_for_its_broker_ends_when_it_is_told_to() {
    let world = World::without_broker().await;
    assert_eq!(world.anonymous().get("/healthz").await.status, 503);
    timeout(SERVES_WITHIN, world.drain()).await.expect("it ends").unwrap();
}
