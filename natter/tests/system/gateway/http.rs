//! HTTP: commands, reads, the page and what operators ask.

use natter_gateway::GatewayConfig;
use serde_json::{Value, json};

use super::world::{World, config, text};

#[tokio::test(flavor = "multi_thread")]
async fn commands_by_post_are_answered_with_their_outcome() {
    let world = World::start().await;
    let (http, mut bob) = (world.http("ada"), world.session("bob").await);
    let create = json!({ "id": "1", "cmd": "conversation.create", "kind": "group", "members": ["bob"], "ref": "c" });
    let made = http.post("/v1/commands", create.to_string()).await;
    assert_eq!((made.status, &made.json()["id"]), (200, &json!("1")));
    let room = text(&made.json()["ok"]["conversation"]);
    let say = |reference: &str, text: &str| {
        json!({ "id": "2", "cmd": "message.send", "conversation": room, "ref": reference, "text": text }).to_string()
    };
    let sent = http.post("/v1/commands", say("r1", "by post")).await.json();
    assert_eq!(sent["ok"]["seq"], 1);
    assert_eq!(bob.events_to("message.sent").await.last().unwrap()["message"], sent["ok"]["message"]);
    let conflict = http.post("/v1/commands", say("r1", "other words")).await;
    assert_eq!((conflict.status, conflict.code(), &conflict.json()["id"]), (409, "conflict".into(), &json!("2")));
    let stranger = world.http("eve").post("/v1/commands", say("r1", "hi")).await;
    assert_eq!((stranger.status, stranger.code()), (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_refused_as_json() {
    let world = World::start().await;
    let http = world.http("ada");
    let cases = [
        (http.post("/v1/commands", "{").await, 400, "invalid_frame"),
        (http.post("/v1/commands", r#"{"id":"1","cmd":"x.y"}"#).await, 400, "unknown_command"),
        (http.post("/v1/commands", r#"{"id":"1","cmd":"message.send"}"#).await, 400, "invalid_field"),
        (http.post("/v1/commands", "x".repeat(70_000)).await, 413, "too_large"),
        (world.anonymous().post("/v1/commands", "{}").await, 401, "unauthenticated"),
        (world.anonymous().get("/v1/conversations").await, 401, "unauthenticated"),
        (http.get("/v1/conversations?limt=3").await, 400, "invalid_field"),
        (http.get("/v1/conversations?limit=0").await, 400, "invalid_field"),
        (http.get("/v1/conversations?min_position=9:1").await, 400, "invalid_field"),
        (http.get("/v1/conversations/x").await, 400, "invalid_field"),
        (http.get("/v1/conversations/123").await, 404, "not_found"),
        (http.get("/v1/conversations/123/messages?before=1&after=2").await, 400, "invalid_field"),
        (http.get("/v1/ws").await, 400, "invalid_frame"),
        (http.get("/v1/commands").await, 405, "invalid_frame"),
        (http.get("/nowhere").await, 404, "not_found"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_show_what_was_answered() {
    let world = World::start().await;
    let (mut ada, mut bob) = (world.session("ada").await, world.session("bob").await);
    let create = json!({ "cmd": "conversation.create", "kind": "group", "members": ["bob"], "name": "tea", "external": "#tea", "ref": "c" });
    let room = text(&ada.ok(create).await["conversation"]);
    let mut position = String::new();
    for count in 1..=5 {
        let send = json!({ "cmd": "message.send", "conversation": "ext:#tea", "text": format!("cup {count}"), "ref": count.to_string() });
        position = text(&ada.ok(send).await["position"]);
    }
    let http = world.http("bob");
    let read = async |path: &str, more: &str| -> Value {
        let answer = http.get(&format!("/v1/conversations{path}?min_position={position}{more}")).await;
        assert_eq!(
            (answer.status, &answer.headers["cache-control"]),
            (200, &"no-store".parse().unwrap()),
            "{answer:?}"
        );
        answer.json()
    };
    let list = read("", "&limit=10").await;
    let first = &list["conversations"][0];
    assert_eq!((&first["conversation"], &first["unread"], &first["name"]), (&json!(room), &json!(5), &json!("tea")));
    assert_eq!(first["last_message"]["text"], "cup 5");
    let one = read(&format!("/{room}"), "").await;
    assert_eq!((&one["last_seq"], &one["member_count"]), (&json!(5), &json!(2)));
    assert_eq!(read("/ext:%23tea", "").await["conversation"], json!(room));
    let page = read(&format!("/{room}/messages"), "&before=4&limit=2").await;
    let seqs: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| message["seq"].clone()).collect();
    assert_eq!(
        (seqs, &page["more_before"], &page["more_after"]),
        (vec![json!(2), json!(3)], &json!(true), &json!(true))
    );
    let members = read(&format!("/{room}/members"), "").await;
    assert_eq!((&members["members"][0]["user"], &members["members"][1]["user"]), (&json!("ada"), &json!("bob")));
    let events = read(&format!("/{room}/events"), "").await;
    assert_eq!(events["events"][0]["event"], "conversation.created");
    bob.ok(json!({ "cmd": "conversation.read", "conversation": room, "seq": 5 })).await;
    let stranger = world.http("eve").get(&format!("/v1/conversations/{room}/messages")).await;
    assert_eq!((stranger.status, stranger.code()), (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_the_operators_questions() {
    let origins = vec!["https://app.example".parse().unwrap()];
    let world = World::with(GatewayConfig { origins, ..config() }).await;
    let http = world.anonymous();
    let page = http.get("/").await;
    assert_eq!((page.status, &page.headers["cache-control"]), (200, &"no-store".parse().unwrap()));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let script = http.get("/page/main.js").await;
    assert_eq!(
        (script.status, &script.headers["content-type"]),
        (200, &"text/javascript; charset=utf-8".parse().unwrap())
    );
    let etag = script.headers["etag"].to_str().unwrap();
    assert_eq!(http.request("GET", "/page/main.js", &[("if-none-match", etag)], String::new()).await.status, 304);
    assert_eq!(http.get("/page/package.json").await.status, 404);
    assert_eq!(http.get("/healthz").await.json(), json!({ "status": "ok" }));
    let ready = http.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("degraded")));
    assert!(http.get("/v1/errors").await.json()["errors"].as_array().unwrap().len() > 20);

    let asked = [("origin", "https://app.example"), ("access-control-request-method", "POST")];
    let preflight = http.request("OPTIONS", "/v1/commands", &asked, String::new()).await;
    assert_eq!(
        (preflight.status, &preflight.headers["access-control-allow-origin"]),
        (204, &"https://app.example".parse().unwrap())
    );
    let foreign = http.request("GET", "/healthz", &[("origin", "https://evil.example")], String::new()).await;
    assert!(foreign.headers.get("access-control-allow-origin").is_none());
}
