//! Exports of Slack workspaces: `channels.json`, `users.json`, and for each channel a folder with a file a day.
//!
//! Only public channels are told: what is imported everybody may read.

mod files;
mod text;

use std::collections::HashMap;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::files::Files;
pub use self::files::is_export;
use super::{Input, Losses, Sink};
use crate::import::draft::{At, Draft, DraftWhat};
use crate::import::line::Refusal;
use crate::import::people::{self, People};

/// Messages whose subtype makes them no more than what they say.
const SAID: [&str; 5] = ["", "bot_message", "me_message", "thread_broadcast", "file_share"];

#[derive(Deserialize)]
struct Channel {
    name: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    real_name: Option<String>,
    #[serde(default)]
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Profile {
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    real_name: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    bot_id: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    user_profile: Option<Profile>,
    #[serde(default)]
    text: Option<String>,
    ts: String,
    #[serde(default)]
    thread_ts: Option<String>,
    #[serde(default)]
    reactions: Vec<Reaction>,
    #[serde(default)]
    files: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    attachments: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    edited: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Reaction {
    #[serde(default)]
    count: u64,
}

/// What somebody is called: `name` is part of the id, `shown` is for people.
#[derive(Debug, Clone)]
struct Called {
    name: String,
    shown: String,
}

/// Tells the messages of all public channels, channel by channel in the order of their names, each in the order of time.
pub fn tell(input: &Input, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
    let mut files = Files::open(&input.path)?;
    let mut channels: Vec<Channel> = json(&mut files, "channels.json")?;
    channels.sort_by(|one, other| one.name.cmp(&other.name));
    channels.dedup_by(|one, other| one.name == other.name);
    for (list, what) in [
        ("groups.json", "private channels (an import makes public rooms)"),
        ("dms.json", "direct chats (an import makes public rooms)"),
        ("mpims.json", "direct chats of several (an import makes public rooms)"),
    ] {
        if files.has(list) {
            losses.add(what, json::<Vec<serde::de::IgnoredAny>>(&mut files, list)?.len() as u64);
        }
    }
    let mut telling = Telling { called: called(json(&mut files, "users.json")?), people: People::default(), number: 0 };
    for Channel { name } in channels {
        for day in files.below(&name) {
            telling.day(&mut files, &name, &day, losses, sink)?;
        }
    }
    if telling.number == 0 {
        bail!("{} has no message in a public channel", input.path.display());
    }
    Ok(())
}

fn called(users: Vec<User>) -> HashMap<String, Called> {
    let called = |user: User| {
        let User { id, name, real_name, profile } = user;
        let name = name.unwrap_or_else(|| id.clone());
        let shown =
            [profile.display_name, profile.real_name, real_name].into_iter().flatten().find(|name| !name.is_empty());
        (id, Called { shown: shown.unwrap_or_else(|| name.clone()), name })
    };
    users.into_iter().map(called).collect()
}

struct Telling {
    called: HashMap<String, Called>,
    people: People,
    number: u64,
}

impl Telling {
    fn day(
        &mut self,
        files: &mut Files,
        channel: &str,
        day: &str,
        losses: &mut Losses,
        sink: Sink<'_>,
    ) -> anyhow::Result<()> {
        // One message that is none must not take its day with it.
        let raw: Vec<Box<serde_json::value::RawValue>> = json(files, day)?;
        let mut messages: Vec<Result<(i64, Message), String>> = Vec::new();
        for raw in raw {
            messages.push(match serde_json::from_str::<Message>(raw.get()) {
                Ok(message) => {
                    microseconds(&message.ts).map(|at| (at, message)).ok_or_else(|| "`ts` is no time".to_owned())
                }
                Err(error) => Err(error.to_string()),
            });
        }
        messages.sort_by_key(|message| message.as_ref().map_or(0, |(at, _)| *at));
        for message in messages {
            self.number += 1;
            match message {
                Ok((at, message)) => {
                    if let Some(draft) = self.draft(channel, at, message, losses) {
                        sink(self.number, Ok(draft))?;
                    }
                }
                Err(why) => sink(self.number, Err(Refusal::field(format!("a message in {day}: {why}"))))?,
            }
        }
        Ok(())
    }

    fn draft(&mut self, channel: &str, at_us: i64, message: Message, losses: &mut Losses) -> Option<Draft> {
        if !SAID.contains(&message.subtype.as_str()) {
            losses.add("notices (who came and went, topics, pins)", 1);
            return None;
        }
        losses.add("reactions", message.reactions.iter().map(|reaction| reaction.count).sum());
        losses.add("files", message.files.len() as u64);
        losses.add("attachments and previews of links", message.attachments.len() as u64);
        losses.add("marks of edited messages", u64::from(message.edited.is_some()));
        let text = text::plain(message.text.as_deref().unwrap_or_default(), &|id| {
            self.called.get(id).map(|called| called.shown.clone())
        });
        if text.trim().is_empty() {
            losses.add("messages without a text", 1);
            return None;
        }
        let is_reply = message.thread_ts.as_ref().is_some_and(|thread| *thread != message.ts);
        losses.add("threads: replies, which stand in the room as other messages do", u64::from(is_reply));
        let (key, called) = self.sender(&message);
        Some(Draft {
            room: Some(people::room(channel)),
            user: self.people.id(&key, &called.name),
            called: Some(called.shown),
            at: At::Ms(at_us.div_euclid(1000)),
            // Unique in its channel.
            id: Some(message.ts),
            what: DraftWhat::Message(Some(text)),
            is_cleaned: false,
        })
    }

    fn sender(&self, message: &Message) -> (String, Called) {
        if let Some(id) = &message.user {
            let called = self.called.get(id).cloned().or_else(|| {
                // People of other workspaces are in no list.
                let Profile { display_name, real_name, name } = message.user_profile.as_ref()?;
                let shown = [display_name, real_name, name].into_iter().flatten().find(|name| !name.is_empty())?;
                Some(Called { name: name.clone().unwrap_or_else(|| shown.clone()), shown: shown.clone() })
            });
            return (id.clone(), called.unwrap_or_else(|| Called { name: id.clone(), shown: id.clone() }));
        }
        let name = message.username.clone().or_else(|| message.bot_id.clone()).unwrap_or_else(|| "bot".to_owned());
        let key = message.bot_id.as_ref().map_or_else(|| name.clone(), |id| format!("{id} {name}"));
        (key, Called { shown: name.clone(), name })
    }
}

/// Microseconds of `1577880000.000200`.
fn microseconds(ts: &str) -> Option<i64> {
    let (seconds, fraction) = ts.split_once('.').unwrap_or((ts, ""));
    let fraction: i64 = format!("{:0<6}", fraction.get(..6).unwrap_or(fraction)).parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

fn json<T: DeserializeOwned>(files: &mut Files, name: &str) -> anyhow::Result<T> {
    let bytes = files.read(name)?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    serde_json::from_slice(bytes).with_context(|| format!("{name} of the export is not as Slack writes it"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::super::Format;
    use super::super::told::{input, tell};
    use super::*;

    const FILES: [(&str, &str); 6] = [
        ("channels.json", r#"[{"id":"C2","name":"tea"},{"id":"C1","name":"ops"}]"#),
        ("groups.json", r#"[{"id":"G1","name":"secret"}]"#),
        (
            "users.json",
            r#"[{"id":"U1","name":"ada","profile":{"display_name":"Ada L.","real_name":"Ada Lovelace"}},
               {"id":"U2","name":"bob.b","real_name":"Bob","profile":{"display_name":""}}]"#,
        ),
        (
            "tea/2020-01-01.json",
            r#"[{"type":"message","user":"U2","text":"later","ts":"1577880060.000100","thread_ts":"1577880000.000200"},
               {"type":"message","subtype":"channel_join","user":"U1","text":"<@U1> has joined the channel","ts":"1577879000.000100"},
               {"type":"message","user":"U1","text":"a &lt;b&gt; &amp; <@U2>, <!here>\n<https://x.y|x>","ts":"1577880000.000200",
                "reactions":[{"name":"tada","users":["U1","U2"],"count":2}],"edited":{"user":"U1","ts":"1"}}]"#,
        ),
        (
            "tea/2020-01-02.json",
            r#"[{"type":"message","user":"U2","text":"","files":[{"id":"F1"}],"ts":"1577966400.000100"},{"text":"no time"}]"#,
        ),
        (
            "ops/2020-01-03.json",
            r#"[{"type":"message","subtype":"bot_message","bot_id":"B1","username":"Build Bot","text":"green","ts":"1578052800.000000"},
               {"type":"message","user":"U9","user_profile":{"name":"eve","real_name":"Eve"},"text":"hello","ts":"1578052801.000000"}]"#,
        ),
    ];

    fn check(path: &Path) {
        let told = tell(&input(Format::Slack, path.to_owned())).unwrap();
        assert_eq!(
            told.lines(),
            [
                "1 ops build-bot 2020-01-03T12:00:00.000Z: green",
                "2 ops eve 2020-01-03T12:00:01.000Z: hello",
                "4 tea ada 2020-01-01T12:00:00.000Z: a <b> & @Bob, @here\nx (https://x.y)",
                "5 tea bob.b 2020-01-01T12:01:00.000Z: later",
                "6 refused: a message in tea/2020-01-02.json: missing field `ts` at line 1 column 18",
            ]
        );
        let (ids, called): (Vec<_>, Vec<_>) = told
            .drafts
            .iter()
            .filter_map(|(_, draft)| draft.as_ref().ok())
            .map(|draft| (draft.id.clone(), draft.called.clone()))
            .unzip();
        assert_eq!(ids[2].as_deref(), Some("1577880000.000200"));
        assert_eq!(called.iter().flatten().collect::<Vec<_>>(), ["Build Bot", "Eve", "Ada L.", "Bob"]);
        let lost: HashMap<_, _> = told.lost().into_iter().collect();
        assert_eq!(
            (lost["reactions"], lost["files"], lost["messages without a text"], lost["marks of edited messages"]),
            (2, 1, 1, 1)
        );
        assert_eq!(lost["private channels (an import makes public rooms)"], 1);
        assert_eq!(lost["threads: replies, which stand in the room as other messages do"], 1);
    }

    #[test]
    fn exports_as_folder_or_zip_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut zip = zip::ZipWriter::new(std::fs::File::create(folder.path().join("export.zip")).unwrap());
        let plain = folder.path().join("plain");
        for (name, text) in FILES {
            let path = plain.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        check(&plain);
        check(&folder.path().join("export.zip"));
        assert!(is_export(&plain) && is_export(&folder.path().join("export.zip")) && !is_export(folder.path()));
    }
}
