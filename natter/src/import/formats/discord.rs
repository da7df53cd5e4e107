//! Channels as DiscordChatExporter writes them: one JSON object with `guild`, `channel` and `messages`, which are told as they
//! are read.

use std::fmt;
use std::io::BufRead;

use anyhow::{Context, bail};
use natter_schemas::wire::times::parse_rfc3339;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Input, Losses, Sink};
use crate::import::bytes;
use crate::import::draft::{At, Draft, DraftWhat};
use crate::import::line::Refusal;
use crate::import::people::{self, People};

/// Types of messages that somebody wrote; the others tell who came, what was pinned and so on.
const SAID: [&str; 4] = ["Default", "Reply", "ChatInputCommand", "ContextMenuCommand"];

#[derive(Deserialize)]
struct Channel {
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    timestamp: String,
    #[serde(default)]
    timestamp_edited: Option<String>,
    #[serde(default)]
    content: String,
    author: Author,
    #[serde(default)]
    attachments: Vec<IgnoredAny>,
    #[serde(default)]
    embeds: Vec<IgnoredAny>,
    #[serde(default)]
    stickers: Vec<IgnoredAny>,
    #[serde(default)]
    reactions: Vec<Reaction>,
    #[serde(default)]
    mentions: Vec<Author>,
    #[serde(default)]
    reference: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Reaction {
    #[serde(default)]
    count: u64,
}

#[derive(Deserialize)]
struct Author {
    id: String,
    name: String,
    #[serde(default)]
    discriminator: Option<String>,
    #[serde(default)]
    nickname: Option<String>,
}

/// Tells the messages of a channel in the order of the file.
pub fn tell(input: &Input, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
    let reader: Box<dyn BufRead + Send> = bytes::open(&input.path, input.encoding)?;
    let (mut failed, mut seen) = (None, false);
    let telling = Telling { input, losses, sink, failed: &mut failed, seen: &mut seen };
    let read = telling.deserialize(&mut serde_json::Deserializer::from_reader(reader));
    if let Some(error) = failed {
        return Err(error);
    }
    read.with_context(|| format!("{} is not as DiscordChatExporter writes JSON", input.path.display()))?;
    if !seen {
        bail!("{} has no `messages`, as DiscordChatExporter writes them", input.path.display());
    }
    Ok(())
}

struct Telling<'a, 's> {
    input: &'a Input,
    losses: &'a mut Losses,
    sink: Sink<'s>,
    /// Why the sink wants no more.
    failed: &'a mut Option<anyhow::Error>,
    /// Whether there were messages, or none in their list.
    seen: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Telling<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Telling<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `channel` and `messages`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut room = self.input.room.as_deref().map(people::room);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "channel" => {
                    let channel: Channel = map.next_value()?;
                    if channel.kind.contains("Direct") {
                        return Err(A::Error::custom("this is a direct chat, and an import makes public rooms"));
                    }
                    room.get_or_insert_with(|| people::room(&channel.name));
                }
                "messages" => {
                    let room = room.clone().ok_or_else(|| A::Error::custom("`messages` come before `channel`"))?;
                    *self.seen = true;
                    let failed = &mut *self.failed;
                    map.next_value_seed(Messages { room, losses: &mut *self.losses, sink: &mut *self.sink, failed })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Messages<'a> {
    room: String,
    losses: &'a mut Losses,
    sink: Sink<'a>,
    failed: &'a mut Option<anyhow::Error>,
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        let (mut people, mut number) = (People::default(), 0);
        // A message that is none must not take the others with it.
        while let Some(message) = messages.next_element::<serde_json::Value>()? {
            number += 1;
            let told = match serde_json::from_value::<Message>(message) {
                Ok(message) => draft(&self.room, message, &mut people, self.losses).map(Ok),
                Err(error) => Some(Err(Refusal::field(format!("a message: {error}")))),
            };
            if let Some(told) = told
                && let Err(error) = (self.sink)(number, told)
            {
                *self.failed = Some(error);
                return Err(A::Error::custom("nobody wants more"));
            }
        }
        Ok(())
    }
}

fn draft(room: &str, message: Message, people: &mut People, losses: &mut Losses) -> Option<Draft> {
    if !message.kind.is_empty() && !SAID.contains(&message.kind.as_str()) {
        losses.add("notices (who came, pins, calls, new threads)", 1);
        return None;
    }
    losses.add("reactions", message.reactions.iter().map(|reaction| reaction.count).sum());
    losses.add("files and stickers", (message.attachments.len() + message.stickers.len()) as u64);
    losses.add("embeds (previews of links and the like)", message.embeds.len() as u64);
    losses.add("marks of edited messages", u64::from(message.timestamp_edited.is_some()));
    let mut text = message.content;
    for Author { id, name, nickname, .. } in &message.mentions {
        let called = nickname.as_ref().unwrap_or(name);
        text = text
            .replace(&format!("<@{id}>"), &format!("@{called}"))
            .replace(&format!("<@!{id}>"), &format!("@{called}"));
    }
    if text.trim().is_empty() {
        losses.add("messages without a text", 1);
        return None;
    }
    let is_reply = message.reference.is_some() || message.kind == "Reply";
    losses.add("replies, which stand in the room as other messages do", u64::from(is_reply));
    let Author { id, name, discriminator, nickname } = message.author;
    // Before 2023 names were told apart by four digits.
    let full = match discriminator.as_deref() {
        None | Some("" | "0" | "0000") => name.clone(),
        Some(digits) => format!("{name}.{digits}"),
    };
    Some(Draft {
        room: Some(room.to_owned()),
        user: people.id(&id, &full),
        called: Some(nickname.filter(|name| !name.is_empty()).unwrap_or(name)),
        at: parse_rfc3339(&message.timestamp)
            .and_then(|ms| i64::try_from(ms).ok())
            .map_or(At::Written(message.timestamp), At::Ms),
        id: Some(message.id),
        what: DraftWhat::Message(Some(text)),
        is_cleaned: false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::told::of_text;

    const EXPORT: &str = r#"{
      "guild": {"id": "1", "name": "Tea house", "iconUrl": "x"},
      "channel": {"id": "2", "type": "GuildTextChat", "categoryId": "3", "category": "Talk", "name": "general", "topic": null},
      "dateRange": {"after": null, "before": null},
      "exportedAt": "2024-01-01T00:00:00+00:00",
      "messages": [
        {"id": "10", "type": "GuildMemberJoin", "timestamp": "2020-01-01T11:00:00+00:00", "content": "Joined the server.",
         "author": {"id": "100", "name": "ada", "discriminator": "0000"}},
        {"id": "11", "type": "Default", "timestamp": "2020-01-01T13:00:00.123+01:00", "timestampEdited": "2020-01-01T13:01:00+01:00",
         "callEndedTimestamp": null, "isPinned": false, "content": "hi <@101>",
         "author": {"id": "100", "name": "ada", "discriminator": "0000", "nickname": "Ada L.", "isBot": false},
         "attachments": [{"id": "5", "url": "x"}], "embeds": [], "stickers": [],
         "reactions": [{"emoji": {"name": "x"}, "count": 3}], "mentions": [{"id": "101", "name": "Bob", "nickname": "Bobby"}]},
        {"id": "12", "type": "Reply", "timestamp": "2020-01-01T12:01:00+00:00", "content": "ho",
         "author": {"id": "101", "name": "Bob", "discriminator": "1234"}, "reference": {"messageId": "11"}},
        {"id": "13", "type": "Default", "timestamp": "then", "content": "ho", "author": {"id": "101", "name": "Bob"}},
        {"id": "14", "type": "Default", "timestamp": "2020-01-01T12:01:00+00:00", "content": "", "author": {"id": "101", "name": "Bob"}},
        {"id": "15"}
      ],
      "messageCount": 6
    }"#;

    #[test]
    fn messages_of_a_channel() {
        let told = of_text(Format::Discord, "general.json", EXPORT, |_| {}).unwrap();
        assert_eq!(
            told.lines(),
            [
                "2 general ada 2020-01-01T12:00:00.123Z: hi @Bobby",
                "3 general bob.1234 2020-01-01T12:01:00.000Z: ho",
                "4 general bob.1234 then: ho",
                "6 refused: a message: missing field `timestamp`",
            ]
        );
        assert_eq!(
            told.lost(),
            [
                ("files and stickers", 1),
                ("marks of edited messages", 1),
                ("messages without a text", 1),
                ("notices (who came, pins, calls, new threads)", 1),
                ("reactions", 3),
                ("replies, which stand in the room as other messages do", 1),
            ]
        );
    }

    #[test]
    fn what_is_no_export_is_said() {
        for (text, said) in [
            ("{}", "has no `messages`"),
            (r#"{"messages":[]}"#, "come before `channel`"),
            (r#"{"channel":{"name":"x","type":"DirectTextChat"},"messages":[]}"#, "a direct chat"),
            (r#"{"channel":{"name":"x"},"messages":[{"id""#, "EOF"),
        ] {
            let error = of_text(Format::Discord, "a.json", text, |_| {}).err().unwrap();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
    }
}
