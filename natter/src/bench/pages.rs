//! A room of many messages and its pages, each of which is known before it is read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use natter_schemas::limits::{HOT_MESSAGES, REFS_RECENT_MAX};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::http::Http;
use super::latency::Latencies;
use super::system::System;
use super::traffic::salt;
use super::wire;

const READER: &str = "bench-reader";
/// Who writes the room; a service may write for others, and is slowed down instead of refused.
const WRITER: &str = "bench-writer";
/// Messages of one sender: the refs of two minutes are remembered up to a limit.
const OF_ONE_SENDER: u64 = REFS_RECENT_MAX as u64 / 2;
/// The history has all that was written within this time.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// The pages of a room.
#[derive(Debug, Clone)]
pub struct Pages {
    http: Http,
    /// Without a range: the newest.
    url: String,
    /// Messages of the room.
    pub messages: u64,
    /// Messages of a page.
    pub limit: u64,
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    seq: u64,
}

impl Pages {
    /// Writes a room of so many messages, and waits until the history shows it.
    ///
    /// # Errors
    /// There are too few for deep pages, or the system refuses them.
    pub async fn write(system: &System, messages: u64, limit: u64) -> anyhow::Result<Self> {
        let deep_from = HOT_MESSAGES as u64 + 2 * limit;
        ensure!(messages > deep_from, "{messages} messages: more than {deep_from} are needed for deep pages");
        let conversation = fill(system, messages).await.context("the room to be read")?;
        let pages = Self {
            // A service's: how many pages there are to be is the bench's matter, not the rate limit's.
            http: Http::new(Some(system.token(READER, true)?)),
            url: format!("{}/v1/conversations/{conversation}/messages?limit={limit}", system.gateway),
            messages,
            limit,
        };
        pages.wait_until_shown().await?;
        Ok(pages)
    }

    /// The history takes messages a little later than the log does.
    async fn wait_until_shown(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SHOWN_WITHIN;
        // The pages at both ends of what only the history has.
        for before in [self.limit + 1, self.messages - HOT_MESSAGES as u64] {
            while let Err(wrong) = self.get(Some(before)).await {
                ensure!(Instant::now() < deadline, "the history does not show the room in time: {wrong}");
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// A page that must be the one asked for: the newest, or the one before a seq.
    async fn get(&self, before: Option<u64>) -> Result<(), String> {
        let url = before.map_or_else(|| self.url.clone(), |before| format!("{}&before={before}", self.url));
        let (status, body) = self.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
        if status != 200 {
            let code = wire::between(&body, br#""code":""#, b'"').unwrap_or_default();
            return Err(format!("{status} {}", String::from_utf8_lossy(code)));
        }
        let page: Page = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let end = before.unwrap_or(self.messages + 1);
        let expected = end - self.limit..end;
        let is_it = page.messages.iter().map(|message| message.seq).eq(expected);
        if is_it { Ok(()) } else { Err("other messages".to_owned()) }
    }

    /// Which page read `number` is: the newest and a deep one in turn, the deep ones all over the room.
    pub const fn of(&self, number: u64) -> Option<u64> {
        let deep = self.messages - HOT_MESSAGES as u64 - self.limit;
        // A prime step comes by every place.
        if number.is_multiple_of(2) { None } else { Some(self.limit + 1 + (number * 7919) % deep) }
    }
}

/// Makes a room of so many messages; its id.
async fn fill(system: &System, messages: u64) -> anyhow::Result<String> {
    let senders: Vec<_> = (0..messages.div_ceil(OF_ONE_SENDER)).map(|index| format!("bench-sender-{index}")).collect();
    let salt = salt()?;
    let mut reader = Client::connect(system.address, &system.token(READER, false)?).await?;
    let create = json!({ "cmd": "conversation.create", "ref": salt, "kind": "group", "members": senders });
    let made = reader.ask(create).await?;
    let conversation = made["conversation"].as_str().context("a conversation")?.to_owned();
    drop(reader);
    let mut writer = Client::connect(system.address, &system.token(WRITER, true)?).await?;
    let mut frames = Vec::new();
    for (number, sender) in (0..messages).zip(senders.iter().cycle()) {
        let command = json!({
            "id": number.to_string(), "cmd": "message.send", "conversation": conversation, "ref": format!("{salt}-{number}"),
            "sender": sender, "text": format!("message {number} of a room to be read"),
        });
        wire::text(&mut frames, command.to_string().as_bytes());
    }
    writer.line().send(&frames)?;
    let (mut answered, mut refusal) = (0, None);
    while answered < messages {
        let read = writer.read(|text| {
            if text.starts_with(br#"{"id":""#) {
                answered += 1;
                if wire::between(text, br#""code":""#, b'"').is_some() {
                    refusal = Some(String::from_utf8_lossy(text).into_owned());
                }
            }
        });
        if let Err(end) = read.await {
            bail!("the connection ended: {end}");
        }
        if let Some(refusal) = refusal {
            bail!("refused: {refusal}");
        }
    }
    Ok(conversation)
}

/// What came of pages that were read.
#[derive(Default)]
pub struct Answers {
    /// From due to a page of the newest messages.
    pub newest: Latencies,
    /// From due to a page anywhere below those.
    pub deep: Latencies,
    wrong: Mutex<BTreeMap<String, u64>>,
    answered: AtomicU64,
}

impl Answers {
    /// Reads a page; measured where it was due at a time that counts.
    pub async fn take(&self, pages: &Pages, before: Option<u64>, due: Option<Instant>) {
        let got = pages.get(before).await;
        let now = Instant::now();
        match (got, due) {
            (Ok(()), Some(due)) => if before.is_some() { &self.deep } else { &self.newest }.record(due, now),
            (Ok(()), None) => {}
            (Err(wrong), _) => {
                *self.wrong.lock().unwrap_or_else(PoisonError::into_inner).entry(wrong).or_default() += 1;
            }
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Pages that were not what they should be: another status, or other messages.
    pub fn wrong(&self) -> BTreeMap<String, u64> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pages that came, right or wrong.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}
