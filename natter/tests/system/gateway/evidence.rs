//! Resends: their refs are looked up by the gateway, and a history that hangs costs them a second and nobody else anything.

use natter_projections::clickhouse::{ClickHouse, ClickHouseConfig};
use natter_schemas::evidence::Evidence;
use natter_schemas::id::ConversationId;
use natter_schemas::outcome::Received;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::client::DEADLINE;
use super::world::{World, text};

fn send(conversation: &str, reference: &str, text: &str) -> Value {
    json!({ "cmd": "message.send", "conversation": conversation, "ref": reference, "text": text })
}

fn again(command: &Value) -> Value {
    let mut again = command.clone();
    again["resend"] = json!(true);
    again
}

/// A resend carries what the history says of its ref.
#[tokio::test(flavor = "multi_thread")]
async fn a_resend_carries_what_the_history_knows() {
    let world = World::start().await;
    let mut ada = world.session("ada").await;
    let room = world.group(&mut ada, &["bob"]).await;
    let known = send(&room, "r1", "once");
    let first = ada.ok(known.clone()).await;
    let evidence = async {
        loop {
            // Until the history has it; every further resend asks again.
            let answer = ada.ok(again(&known)).await;
            assert_eq!((&answer["message"], &answer["duplicate"]), (&first["message"], &json!(true)));
            let conversation: ConversationId = room.parse().unwrap();
            let last = world.last_outcome(conversation).await;
            let Received::Command(command) = last.received else { panic!("a command") };
            match command.evidence.first() {
                Some(Evidence::Ref { first: Some(first), .. }) => return first.clone(),
                Some(Evidence::Ref { first: None, .. }) | None => sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    let found = timeout(3 * DEADLINE, evidence).await.expect("the history has it in time");
    assert_eq!(found.message.unwrap().to_string(), text(&first["message"]));
    // Somebody else's refs are no answer, not even in the same conversation.
    let bobs = world.session("bob").await.ok(again(&known)).await;
    assert_eq!((&bobs["seq"], bobs.get("duplicate")), (&json!(2), None));
}

/// The history takes every connection, and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_history_costs_resends_only() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let (user, password, database) = ("none".to_owned(), "none".to_owned(), "none".to_owned());
    let history = ClickHouse::new(&ClickHouseConfig { url, user, password, database });
    let world = World::reading_from(history).await;
    let mut ada = world.session("ada").await;
    let room = world.group(&mut ada, &["bob"]).await;
    let known = send(&room, "r1", "once");
    let first = ada.ok(known.clone()).await;
    // What is recent the facts know; what stands behind the resend comes behind it.
    let resent = ada.send(again(&known)).await;
    let unknown = ada.send(again(&send(&room, "r2", "never sent"))).await;
    let behind = ada.send(send(&room, "r3", "behind")).await;
    // Others do not wait for it.
    let bobs = world.session("bob").await.ok(send(&room, "b1", "before")).await;
    assert_eq!(ada.reply(&resent).await["ok"]["message"], first["message"]);
    assert_eq!(ada.reply(&unknown).await["error"]["code"], "unavailable");
    let behind = ada.reply(&behind).await;
    assert_eq!((&bobs["seq"], &behind["ok"]["seq"]), (&json!(2), &json!(3)));
}
