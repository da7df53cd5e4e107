//! Sessions: what they see, what they do not, and how they end.

use std::time::Duration;

use futures_util::future::join_all;
use natter::backends::Backend;
use natter_gateway::{GatewayConfig, Rate};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, DEADLINE, Ended};
use super::world::{World, config, text};

fn send(conversation: &str, reference: &str, text: &str) -> Value {
    json!({ "cmd": "message.send", "conversation": conversation, "ref": reference, "text": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_chat() {
    let world = World::start().await;
    let (mut ada, mut phone, mut bob) =
        (world.session("ada").await, world.session("ada").await, world.session("bob").await);
    let room = world.group(&mut ada, &["bob"]).await;
    for session in [&mut phone, &mut bob] {
        let made = session.pushed().await;
        assert_eq!((&made["event"], &made["conversation"]), (&json!("conversation.created"), &json!(room)));
        assert_eq!(made["members"], json!(["bob"]));
    }
    let sent = ada.ok(send(&room, "r1", "hello")).await;
    assert_eq!(sent["seq"], 1);
    let seen = bob.pushed().await;
    assert_eq!(
        (&seen["event"], &seen["text"], &seen["sender"]),
        (&json!("message.sent"), &json!("hello"), &json!("ada"))
    );
    for field in ["message", "seq", "at", "position", "conversation"] {
        assert_eq!(seen[field], sent[field], "{field}: the event says what the reply said");
    }
    assert!(seen.get("ref").is_none(), "the ref is the sender's own");
    assert_eq!(phone.pushed().await["ref"], "r1");
    assert_eq!(ada.events_to("message.sent").await.last().unwrap()["ref"], "r1");
    bob.ok(send(&room, "r1", "hi, ada")).await;
    assert_eq!(ada.pushed().await["text"], "hi, ada");
    assert_eq!(world.drain().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_ref_gets_the_same_answer() {
    let world = World::start().await;
    let mut ada = world.session("ada").await;
    let room = world.group(&mut ada, &[]).await;
    let first = ada.ok(send(&room, "r1", "once")).await;
    let mut again = send(&room, "r1", "once");
    let second = ada.ok(again.clone()).await;
    assert_eq!((&second["message"], &second["seq"], &second["at"]), (&first["message"], &first["seq"], &first["at"]));
    assert_eq!((&second["duplicate"], &second["position"]), (&json!(true), &first["position"]));
    again["resend"] = json!(true);
    assert_eq!(world.session("ada").await.ok(again).await["message"], first["message"]);
    assert_eq!(ada.refused(send(&room, "r1", "twice")).await, "conflict");
    assert_eq!(ada.ok(send(&room, "r2", "next")).await["seq"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_see_nothing() {
    let world = World::start().await;
    let (mut ada, mut eve) = (world.session("ada").await, world.session("eve").await);
    let room = world.group(&mut ada, &[]).await;
    assert_eq!(eve.refused(send(&room, "r1", "let me in")).await, "not_found");
    let public = json!({ "cmd": "conversation.create", "kind": "group", "visibility": "public", "ref": "p" });
    let public = text(&ada.ok(public).await["conversation"]);
    assert_eq!(eve.refused(send(&public, "r2", "let me in")).await, "not_member");
    ada.ok(send(&room, "r1", "secret")).await;
    ada.ok(send(&public, "r1", "for members")).await;
    // The first that eve hears of it all is her own joining.
    eve.ok(json!({ "cmd": "conversation.join", "conversation": public, "ref": "j" })).await;
    let seen = eve.pushed().await;
    assert_eq!((&seen["event"], &seen["sender"]), (&json!("conversation.joined"), &json!("eve")));
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_see_what_follows_and_leavers_nothing_after() {
    let world = World::start().await;
    let (mut ada, mut bob) = (world.session("ada").await, world.session("bob").await);
    let room = world.group(&mut ada, &[]).await;
    ada.ok(send(&room, "r1", "before")).await;
    ada.ok(json!({ "cmd": "conversation.add", "conversation": room, "members": ["bob"], "ref": "a" })).await;
    ada.ok(send(&room, "r2", "welcome")).await;
    let seen = bob.events_to("message.sent").await;
    assert_eq!(seen[0]["event"], "conversation.added");
    assert_eq!((seen.len(), &seen[1]["text"]), (2, &json!("welcome")));
    // A session that opens now has the conversation from the view.
    let mut tablet = world.session("bob").await;
    bob.ok(json!({ "cmd": "conversation.leave", "conversation": room, "ref": "l" })).await;
    ada.ok(send(&room, "r3", "gone?")).await;
    let other = world.group(&mut ada, &["bob"]).await;
    for session in [&mut bob, &mut tablet] {
        let seen = session.events_to("conversation.created").await;
        let names: Vec<_> = seen.iter().map(|event| text(&event["event"])).collect();
        assert_eq!(names, ["conversation.left", "conversation.created"]);
        assert_eq!(seen[1]["conversation"], json!(other));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_opens_amid_traffic_misses_nothing() {
    let world = World::start().await;
    let mut ada = world.session("ada").await;
    let room = world.group(&mut ada, &["bob"]).await;
    let mut last = 0;
    for round in 0..5 {
        let mut ids = Vec::new();
        for count in 0..40 {
            ids.push(ada.send(send(&room, &format!("{round}-{count}"), "tick")).await);
        }
        let mut bob = world.session("bob").await;
        for id in ids {
            last = ada.reply(&id).await["ok"]["seq"].as_u64().unwrap();
        }
        // What the read shows as of the session's position, and what is pushed from there on, are the whole.
        let positions: Vec<_> = bob.opened["positions"].as_object().unwrap().values().map(text).collect();
        let path = format!("/v1/conversations/{room}/messages?limit=200&min_position={}", positions.join(","));
        let read = world.http("bob").get(&path).await;
        assert_eq!(read.status, 200, "{read:?}");
        let mut seen: Vec<u64> = read.json()["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["seq"].as_u64().unwrap())
            .collect();
        while seen.iter().max().is_none_or(|seq| *seq < last) {
            seen.push(bob.pushed().await["seq"].as_u64().unwrap());
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (1..=last).collect::<Vec<_>>());
        bob.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_open_at_once_hear_each_of_its_own() {
    let world = World::start().await;
    let mut ada = world.session("ada").await;
    let users: Vec<String> = (0..40).map(|number| format!("user-{number}")).collect();
    let mut rooms = Vec::new();
    for user in &users {
        rooms.push(world.group(&mut ada, &[user]).await);
    }
    let sessions = join_all(users.iter().map(|user| world.session(user))).await;
    for room in &rooms {
        ada.ok(send(room, "r", "for you")).await;
    }
    for (mut session, room) in sessions.into_iter().zip(rooms) {
        let seen = session.pushed().await;
        assert_eq!((&seen["event"], &seen["conversation"]), (&json!("message.sent"), &json!(room)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_coalesced_and_seen_by_the_peer() {
    let world = World::start().await;
    let (mut ada, mut bob) = (world.session("ada").await, world.session("bob").await);
    let create = json!({ "cmd": "conversation.create", "kind": "direct", "members": ["bob"], "ref": "d" });
    let chat = text(&ada.ok(create).await["conversation"]);
    for count in 1..=4 {
        ada.ok(send(&chat, &count.to_string(), "hi")).await;
    }
    let read = |seq: u64| json!({ "cmd": "conversation.read", "conversation": chat, "seq": seq });
    bob.ok(read(1)).await;
    let ids = [bob.send(read(2)).await, bob.send(read(4)).await, bob.send(read(3)).await];
    let beyond = bob.send(read(99)).await;
    assert_eq!(bob.reply(&beyond).await["error"]["code"], "seq_beyond_end");
    for id in ids {
        assert_eq!(bob.reply(&id).await["ok"]["seq"], 4, "the highest that is accepted answers for the lower ones");
    }
    let mut cursors = Vec::new();
    while cursors.last() != Some(&4) {
        let event = ada.pushed().await;
        if event["event"] == "conversation.read" && event["sender"] == "bob" {
            cursors.push(event["seq"].as_u64().unwrap());
        }
    }
    assert_eq!(cursors, [1, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_reaches_the_other_members_only() {
    let world = World::start().await;
    let (mut ada, mut bob, mut eve) =
        (world.session("ada").await, world.session("bob").await, world.session("eve").await);
    let room = world.group(&mut ada, &["bob"]).await;
    bob.events_to("conversation.created").await;
    let typing =
        |conversation: &str| Message::text(json!({ "signal": "typing", "conversation": conversation }).to_string());
    eve.send_raw(typing(&room)).await;
    ada.send_raw(typing(&room)).await;
    ada.send_raw(typing(&room)).await;
    let seen = bob.pushed().await;
    assert_eq!(seen, json!({ "signal": "typing", "conversation": room, "sender": "ada" }));
    ada.ok(send(&room, "r", "done")).await;
    assert_eq!(bob.pushed().await["event"], "message.sent", "once in two seconds, and nobody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_with_a_reconnect_code_after_the_last_answer() {
    let world = World::start().await;
    let mut ada = world.session("ada").await;
    let room = world.group(&mut ada, &[]).await;
    let mut ids = Vec::new();
    for count in 0..100 {
        ids.push(ada.send(send(&room, &count.to_string(), "last words")).await);
    }
    // They have been read when the last is answered; the drain begins with some of them on their way.
    ada.reply(&ids[10]).await;
    let drained = tokio::spawn(world.drain());
    for id in &ids[11..] {
        ada.reply(id).await;
    }
    assert_eq!(ada.end().await, Ended::Closed(4000));
    assert_eq!(timeout(DEADLINE, drained).await.unwrap().unwrap(), Ok(()));
}

/// Invariants 8 and 12: an answer is not lost with the link, and what is sent once is stored once.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_log_loses_and_doubles_nothing() {
    let world = World::start().await;
    let (mut ada, mut bob) = (world.session("ada").await, world.session("bob").await);
    let room = world.group(&mut ada, &["bob"]).await;
    let mut ids = Vec::new();
    for count in 0..200 {
        ids.push(ada.send(send(&room, &count.to_string(), "through it all")).await);
        if count == 100 {
            ada.reply(&ids[20]).await;
            world.servers.kill(Backend::Nats);
        }
    }
    let mut seqs = Vec::new();
    for id in &ids[21..] {
        let reply = ada.reply(id).await;
        seqs.push(reply["ok"]["seq"].as_u64().unwrap_or_else(|| panic!("refused: {reply}")));
    }
    assert_eq!(seqs, (22..=200).collect::<Vec<_>>());
    let mut seen = Vec::new();
    while seen.last() != Some(&200) {
        let event = bob.pushed().await;
        if event["event"] == "message.sent" {
            seen.push(event["seq"].as_u64().unwrap());
        }
    }
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
}

/// Invariant 8: never a silent gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_hole_that_cannot_be_refilled_is_told() {
    let world = World::start().await;
    let (mut ada, mut bob) = (world.session("ada").await, world.session("bob").await);
    let room = world.group(&mut ada, &["bob"]).await;
    let sent = ada.ok(send(&room, "r1", "seen")).await;
    bob.events_to("message.sent").await;
    // The view has it; else it were lost with the rest.
    let shown = format!("/v1/conversations/{room}/messages?min_position={}", sent["position"].as_str().unwrap());
    assert_eq!(world.http("bob").get(&shown).await.status, 200);
    world.lose_batches(&room).await;
    for session in [&mut ada, &mut bob] {
        assert_eq!(session.end().await, Ended::Closed(4001));
    }
    let read = world.http("bob").get(&format!("/v1/conversations/{room}/messages")).await;
    assert_eq!(read.json()["messages"][0]["text"], "seen");
}

/// Invariant 9: when Redis is away, sessions are told to come back later, and do.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_view_no_session_opens_and_with_it_again() {
    let world = World::start().await;
    world.session("ada").await;
    world.servers.take_away(Backend::Redis).await;
    let socket = TcpSocket::new_v4().unwrap();
    let mut refused = Client::connect(socket, world.address, &world.token("ada"), &[]).await.ok().unwrap();
    assert_eq!(refused.end().await, Ended::Closed(4004));
    world.servers.bring_back(Backend::Redis).await;
    let mut ada = world.session("ada").await;
    world.group(&mut ada, &["bob"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_closed_and_the_others_are_not() {
    let world = World::start().await;
    let (mut ada, mut bob) = (world.session("ada").await, world.session("bob").await);
    let mut slow = Client::open_with_small_buffer(world.address, &world.token("slow")).await;
    let room = world.group(&mut ada, &["bob", "slow"]).await;
    let large = "\u{1d11e}".repeat(4096);
    // Twice what the kernel and the session's queue take.
    for round in 0..10 {
        let mut ids = Vec::new();
        for count in 0..75 {
            ids.push(ada.send(send(&room, &format!("{round}-{count}"), &large)).await);
        }
        for id in ids {
            assert!(ada.reply(&id).await.get("ok").is_some());
        }
        for _ in 0..75 {
            while bob.pushed().await["event"] != "message.sent" {}
        }
    }
    assert_eq!(slow.end().await, Ended::Closed(4002));
    ada.ok(send(&room, "after", "all others are well")).await;
    while bob.pushed().await["text"] != "all others are well" {}
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_origins_are_checked() {
    let world = World::start().await;
    let open = async |token: &str, headers: &[(&'static str, &str)]| {
        Client::try_open(TcpSocket::new_v4().unwrap(), world.address, token, headers).await.err()
    };
    assert_eq!(open("x", &[]).await, Some(401));
    assert_eq!(open(&world.token("ada"), &[("origin", "https://evil.example")]).await, Some(403));
    assert_eq!(open(&world.token("ada"), &[("origin", &format!("http://{}", world.address))]).await, None);
    let own = format!("http://localhost:{}", world.address.port());
    assert_eq!(open(&world.token("ada"), &[("origin", &own)]).await, Some(403), "another name is another origin");
    let mut brief = Client::open(world.address, &world.token_with("ada", Duration::from_secs(1), false)).await;
    assert_eq!(brief.end().await, Ended::Closed(4500));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_is_closed_and_who_answers_pings_is_not() {
    let config = GatewayConfig { ping_interval: Duration::from_millis(200), ..config() };
    let world = World::with(config).await;
    let mut lively = world.session("ada").await;
    let mut silent = world.session("bob").await;
    assert_eq!(lively.opened["ping_interval_ms"], 200);
    // A client answers pings while it reads: this one does not read.
    let ended = tokio::select! {
        frame = lively.frame() => panic!("{frame:?}"),
        () = silent_for(Duration::from_millis(1500)) => silent.end().await,
    };
    assert_eq!(ended, Ended::Closed(4003));
    lively.ok(json!({ "cmd": "user.update", "name": "Ada", "ref": "n" })).await;
}

/// The one thing that takes time by its nature.
async fn silent_for(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_are_named_and_the_protocol_is_held() {
    let world = World::start().await;
    let mut ada = world.session("ada").await;
    ada.send_raw(Message::text("{")).await;
    assert_eq!(ada.frame().await.unwrap()["error"]["code"], "invalid_frame");
    ada.send_raw(Message::text(r#"{"id":"9","cmd":"message.send","conversation":"1","ref":"r"}"#)).await;
    let refused = ada.frame().await.unwrap();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("9"), &json!("invalid_field")));
    ada.send_raw(Message::binary(vec![1])).await;
    assert_eq!(ada.end().await, Ended::Closed(1003));
    let mut bob = world.session("bob").await;
    bob.send_raw(Message::text("x".repeat(64 * 1024 + 1))).await;
    assert_eq!(bob.end().await, Ended::Closed(1009));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_fast_is_told_and_a_service_is_not() {
    let world = World::with(GatewayConfig { session_rate: Rate::new(1, 3), ..config() }).await;
    let mut ada = world.session("ada").await;
    let name = |count: usize| json!({ "cmd": "user.update", "name": "Ada", "ref": count.to_string() });
    for count in 0..3 {
        ada.ok(name(count)).await;
    }
    let id = ada.send(name(3)).await;
    let error = ada.reply(&id).await["error"].clone();
    assert_eq!(error["code"], "rate_limited");
    assert!((1..=1001).contains(&error["retry_after_ms"].as_u64().unwrap()), "{error}");
    let token = world.token_with("import", Duration::from_mins(1), true);
    let mut service = Client::open(world.address, &token).await;
    for count in 0..50 {
        service.ok(name(count)).await;
    }
    let as_other = json!({ "cmd": "user.update", "name": "Zoe", "ref": "s", "sender": "zoe" });
    assert_eq!(world.session("eve").await.refused(as_other.clone()).await, "forbidden");
    service.ok(as_other).await;
}
