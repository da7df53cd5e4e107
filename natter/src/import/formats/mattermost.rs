//! Mattermost's bulk export: JSON lines of a `type` each, teams, channels and users before the posts.

use std::collections::{HashMap, HashSet};

use natter_schemas::error::ErrorCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Input, Losses, Sink};
use crate::import::draft::{At, Draft, DraftWhat};
use crate::import::line::Refusal;
use crate::import::lines::Lines;
use crate::import::people::{self, People};

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Raw {
    Team {
        team: Team,
    },
    Channel {
        channel: Channel,
    },
    User {
        user: User,
    },
    Post {
        post: Post,
    },
    DirectPost {
        direct_post: Reactions,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Team {
    name: String,
}

#[derive(Deserialize)]
struct Channel {
    team: String,
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
    #[serde(default)]
    nickname: String,
    #[serde(default)]
    first_name: String,
    #[serde(default)]
    last_name: String,
}

#[derive(Deserialize)]
struct Post {
    team: String,
    channel: String,
    #[serde(flatten)]
    said: Said,
    #[serde(default)]
    replies: Option<Vec<Said>>,
}

#[derive(Deserialize)]
struct Said {
    user: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    message: String,
    create_at: i64,
    #[serde(default)]
    edit_at: Option<i64>,
    #[serde(default)]
    reactions: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    attachments: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Reactions {
    #[serde(default)]
    replies: Option<Vec<IgnoredAny>>,
}

/// Tells the posts of public channels in the order of the file, each followed by its replies.
pub fn tell(input: &Input, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
    let mut telling = Telling::default();
    let mut lines = Lines::open(&input.path, input.encoding)?;
    while let Some((_, line)) = lines.next()? {
        let raw = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => serde_json::from_str::<Raw>(&line).map_err(|error| Refusal {
                code: if error.is_data() { ErrorCode::InvalidField } else { ErrorCode::InvalidFrame },
                message: format!("line {} of the file: {error}", lines.number()),
            }),
            Err(refusal) => {
                Err(Refusal { message: format!("line {} of the file: {}", lines.number(), refusal.message), ..refusal })
            }
        };
        match raw {
            Ok(raw) => telling.line(raw, losses, sink)?,
            Err(refusal) => telling.told(Err(refusal), sink)?,
        }
    }
    Ok(())
}

#[derive(Default)]
struct Telling {
    teams: HashSet<String>,
    private: HashSet<(String, String)>,
    called: HashMap<String, String>,
    people: People,
    number: u64,
}

impl Telling {
    fn line(&mut self, raw: Raw, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
        match raw {
            Raw::Team { team } => {
                self.teams.insert(team.name);
            }
            Raw::Channel { channel } if channel.kind == "P" => {
                losses.add("private channels (an import makes public rooms)", 1);
                self.private.insert((channel.team, channel.name));
            }
            Raw::User { user } => {
                let full = format!("{} {}", user.first_name, user.last_name);
                let shown = [user.nickname.trim(), full.trim()].into_iter().find(|name| !name.is_empty());
                if let Some(shown) = shown {
                    self.called.insert(user.username, shown.to_owned());
                }
            }
            Raw::Post { post } => return self.post(post, losses, sink),
            Raw::DirectPost { direct_post } => {
                let posts = 1 + direct_post.replies.map_or(0, |replies| replies.len() as u64);
                losses.add("direct messages (an import makes public rooms)", posts);
            }
            Raw::Channel { .. } | Raw::Other => {}
        }
        Ok(())
    }

    fn post(&mut self, post: Post, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
        let Post { team, channel, said, replies } = post;
        let replies = replies.unwrap_or_default();
        // Channels of two teams may have one name.
        let room = people::room(&if self.teams.len() > 1 { format!("{team}/{channel}") } else { channel.clone() });
        if self.private.contains(&(team, channel)) {
            losses.add("messages in private channels", 1 + replies.len() as u64);
            return Ok(());
        }
        losses.add("threads: replies, which stand in the room after what they answer", replies.len() as u64);
        for said in std::iter::once(said).chain(replies) {
            if let Some(draft) = self.draft(&room, said, losses) {
                self.told(Ok(draft), sink)?;
            }
        }
        Ok(())
    }

    fn draft(&mut self, room: &str, said: Said, losses: &mut Losses) -> Option<Draft> {
        if said.kind.is_some_and(|kind| kind.starts_with("system_")) {
            losses.add("notices (who came and went, headers)", 1);
            return None;
        }
        losses.add("reactions", said.reactions.map_or(0, |reactions| reactions.len() as u64));
        losses.add("files", said.attachments.map_or(0, |files| files.len() as u64));
        losses.add("marks of edited messages", u64::from(said.edit_at.is_some_and(|at| at > 0)));
        if said.message.trim().is_empty() {
            losses.add("messages without a text", 1);
            return None;
        }
        Some(Draft {
            room: Some(room.to_owned()),
            user: self.people.id(&said.user, &said.user),
            called: Some(self.called.get(&said.user).unwrap_or(&said.user).clone()),
            at: At::Ms(said.create_at),
            id: None,
            what: DraftWhat::Message(Some(said.message)),
            is_cleaned: false,
        })
    }

    /// Numbered by what is told: a line of the file may have many replies.
    fn told(&mut self, draft: Result<Draft, Refusal>, sink: Sink<'_>) -> anyhow::Result<()> {
        self.number += 1;
        sink(self.number, draft)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::told::of_text;

    #[test]
    fn posts_and_their_replies() {
        let export = r#"{"type":"version","version":1}
{"type":"team","team":{"name":"crew","display_name":"Crew","type":"O"}}
{"type":"channel","channel":{"team":"crew","name":"town-square","display_name":"Town","type":"O"}}
{"type":"channel","channel":{"team":"crew","name":"secret","type":"P"}}
{"type":"user","user":{"username":"ada","email":"a@x","nickname":"","first_name":"Ada","last_name":"L."}}
{"type":"post","post":{"team":"crew","channel":"town-square","user":"ada","message":"hi","create_at":1577880000123,"reactions":[{"user":"bob","emoji_name":"x","create_at":1}],"replies":[{"user":"bob","message":"ho","create_at":1577880001000}]}}
{"type":"post","post":{"team":"crew","channel":"secret","user":"ada","message":"no","create_at":1577880000123}}
{"type":"post","post":{"team":"crew","channel":"town-square","user":"ada","type":"system_join_channel","message":"ada joined","create_at":1577880000123}}
{"type":"post","post":{"team":"crew","channel":"town-square","user":"ada","message":"x"}}
{"type":"direct_post","direct_post":{"channel_members":["ada","bob"],"user":"ada","message":"psst","create_at":1577880000123}}
nonsense
{"type":"emoji","emoji":{"name":"x","image":"y"}}
"#;
        let told = of_text(Format::Mattermost, "export.jsonl", export, |_| {}).unwrap();
        let lines = told.lines();
        assert_eq!(
            lines[..2],
            ["1 town-square ada 2020-01-01T12:00:00.123Z: hi", "2 town-square bob 2020-01-01T12:00:01.000Z: ho"]
        );
        assert!(lines[2].starts_with("3 refused: line 9 of the file: missing field `create_at`"), "{lines:?}");
        assert!(lines[3].starts_with("4 refused: line 11 of the file: expected ident"), "{lines:?}");
        assert_eq!(lines.len(), 4);
        assert_eq!(told.drafts[0].1.as_ref().unwrap().called.as_deref(), Some("Ada L."));
        assert_eq!(
            told.lost(),
            [
                ("direct messages (an import makes public rooms)", 1),
                ("messages in private channels", 1),
                ("notices (who came and went, headers)", 1),
                ("private channels (an import makes public rooms)", 1),
                ("reactions", 1),
                ("threads: replies, which stand in the room after what they answer", 1),
            ]
        );
    }
}
