//! Time travel: what was read at a moment is read again later, by naming that moment.

use serde_json::{Value, json};

use crate::gateway::client::{Client, Http};
use crate::observed::until_history_is_complete;
use crate::process::Process;

/// More than the hot view keeps, so that some of it is in the history only.
const CHATTER: u64 = 230;
const _: () = assert!(CHATTER > natter_schemas::limits::HOT_MESSAGES as u64);

/// What a conversation showed right after something had happened in it.
struct Moment {
    position: String,
    messages: Value,
    members: Value,
}

struct Room {
    http: Http,
    path: String,
    moments: Vec<Moment>,
    refs: u32,
}

impl Room {
    /// Lets `command` happen, and notes what `ada` reads then.
    async fn happens(&mut self, client: &mut Client, mut command: Value) {
        self.refs += 1;
        if command["cmd"] != "conversation.read" {
            command["ref"] = json!(format!("r{}", self.refs));
        }
        let position = client.ok(command).await["position"].as_str().expect("a position").to_owned();
        let (messages, members) = self.read(&format!("min_position={position}")).await;
        self.moments.push(Moment { position, messages, members });
    }

    /// The newest messages and all members, without what says which view answered.
    async fn read(&self, query: &str) -> (Value, Value) {
        let get = async |what: &str| {
            let answer = self.http.get(&format!("{}/{what}&{query}", self.path)).await;
            assert_eq!(answer.status, 200, "{what}&{query}: {answer:?}");
            let mut page = answer.json();
            page.as_object_mut().expect("a page").remove("position").expect("a position");
            page
        };
        (get("messages?limit=5").await, get("members?limit=200").await)
    }

    async fn refusal(&self, query: &str) -> (u16, String) {
        let answer = self.http.get(&format!("{}/messages?{query}", self.path)).await;
        (answer.status, answer.code())
    }
}

fn send(room: &str, text: &str) -> Value {
    json!({ "cmd": "message.send", "conversation": room, "text": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_the_past_is_read_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let process = Process::up(data.path()).await;
    let open = async |user: &str| Client::open(process.address(), &process.token(user).await).await;
    let (mut ada, mut bob, mut cy) = (open("ada").await, open("bob").await, open("cy").await);
    let create = json!({ "cmd": "conversation.create", "kind": "group", "visibility": "public", "members": ["bob"], "ref": "new" });
    let made = ada.ok(create).await;
    let id = made["conversation"].as_str().unwrap().to_owned();
    let path = format!("/v1/conversations/{id}");
    let mut room = Room { http: process.http("ada").await, path, moments: Vec::new(), refs: 0 };

    room.happens(&mut ada, send(&id, "first")).await;
    room.happens(&mut cy, json!({ "cmd": "conversation.join", "conversation": id })).await;
    room.happens(&mut cy, send(&id, "second, by cy")).await;
    room.happens(&mut bob, json!({ "cmd": "conversation.read", "conversation": id, "seq": 1 })).await;
    room.happens(&mut cy, json!({ "cmd": "conversation.leave", "conversation": id })).await;
    room.happens(&mut bob, send(&id, "third, without cy")).await;
    room.happens(&mut ada, json!({ "cmd": "conversation.add", "conversation": id, "members": ["dan", "cy"] })).await;
    room.happens(&mut cy, send(&id, "fourth, by cy again")).await;
    for number in 1..=CHATTER {
        // By turns: nobody may write so much at once.
        let writer = if number % 2 == 0 { &mut ada } else { &mut bob };
        writer
            .ok(json!({ "cmd": "message.send", "conversation": id, "text": "chatter", "ref": format!("c{number}") }))
            .await;
    }
    room.happens(&mut bob, send(&id, "last")).await;

    // At once, when the history may lack all of it, and when it has everything.
    for complete in [false, true] {
        if complete {
            until_history_is_complete(&process).await;
        }
        for Moment { position, messages, members } in &room.moments {
            let (messages_then, members_then) = room.read(&format!("as_of={position}")).await;
            assert_eq!((&messages_then, &members_then), (messages, members), "as of {position}, {complete}");
        }
    }

    // By time: the log's is that of storing, which is when a message was sent.
    let at = |moment: &Moment| moment.messages["messages"].as_array().unwrap().last().unwrap()["at"].clone();
    let (first, last) = (&room.moments[0], room.moments.last().unwrap());
    let (messages, members) =
        room.read(&format!("as_of={}", last.messages["messages"][4]["at"].as_str().unwrap())).await;
    assert_eq!((&messages, &members), (&last.messages, &last.members));
    let (messages, _) = room.read(&format!("as_of={}", at(first).as_str().unwrap())).await;
    assert_eq!(messages["messages"][0], first.messages["messages"][0]);
    assert!(messages["last_seq"].as_u64().unwrap() < 4, "nothing of what came later");

    // A page of then, deep in what is now the past.
    let page =
        room.http.get(&format!("{}/messages?as_of={}&after=1&limit=50", room.path, room.moments[5].position)).await;
    let page = page.json();
    assert_eq!((page["messages"].as_array().unwrap().len(), &page["more_after"]), (2, &json!(false)));
    assert_eq!(page["position"], json!(room.moments[5].position));

    let created = made["position"].as_str().unwrap();
    assert_eq!(room.refusal("as_of=2001-01-01T00:00:00Z").await, (403, "not_member".to_owned()), "nobody was");
    let cy_then = process.http("cy").await.get(&format!("{}/members?as_of={created}", room.path)).await;
    assert_eq!((cy_then.status, cy_then.code()), (403, "not_member".to_owned()), "not yet");
    let (partition, sequence) = created.split_once(':').unwrap();
    let other = (partition.parse::<u16>().unwrap() + 1) % 4;
    assert_eq!(room.refusal(&format!("as_of={other}:{sequence}")).await, (400, "invalid_field".to_owned()));
    assert_eq!(room.refusal("as_of=soon").await, (400, "invalid_field".to_owned()));
    assert_eq!(room.refusal(&format!("as_of={partition}:1000000")).await, (503, "behind".to_owned()));
    let later = &last.messages["messages"][4]["message"].as_str().unwrap();
    assert_eq!(room.refusal(&format!("as_of={created}&around_message={later}")).await, (404, "not_found".to_owned()));
}
