//! How a device learns what it missed, as a real client does: its conversations, and in each the messages behind the
//! last that it saw.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use natter_schemas::error::ErrorCode;
use natter_schemas::id::ConversationId;
use natter_schemas::wire::reads::{Conversation, ConversationsPage, MessagesPage};
use natter_schemas::wire::server::SessionOpened;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::device::Device;
use super::http::{self, NoAnswer};
use super::tally::Tally;
use super::witness::{Entry, Message, WishId};
use super::world::HALL;

/// Reads that are refused for so long make the device connect anew, perhaps elsewhere.
const REFUSED_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);
/// When all is quiet, what was stored has come by itself within this time.
const LIVE_MAX: Duration = Duration::from_secs(20);

impl Device {
    /// After a session has opened: everything up to where its events begin.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn catch_up(&mut self, opened: &SessionOpened) -> anyhow::Result<()> {
        let min: Vec<String> = opened.positions.values().map(ToString::to_string).collect();
        let min = min.join(",");
        for conversation in self.conversations(&min).await? {
            let id = conversation.conversation;
            if self.rooms.get(&id).is_none_or(|room| room.last < conversation.last_seq) {
                self.read_on(id, Some(&min)).await?;
            }
        }
        Ok(())
    }

    /// All that it is a member of; those that are new to it are open then, those that it is no member of any more are not.
    async fn conversations(&mut self, min: &str) -> anyhow::Result<Vec<Conversation>> {
        let path = format!("/v1/conversations?limit=200&min_position={min}");
        let Some(page) = self.read::<ConversationsPage>(&path).await? else { bail!("the conversations were refused") };
        for conversation in &page.conversations {
            let id = conversation.conversation;
            let is_hall = conversation.external.as_ref().is_some_and(|external| external.as_str() == HALL);
            if is_hall {
                self.hall = Some(id);
            }
            // Who visits wants no history.
            self.open(id, if is_hall && self.who.visits { conversation.last_seq } else { 0 });
            if let Some(cursor) = self.cursors.get(&id)
                && conversation.read_seq < *cursor
            {
                let seen = format!("it stands at {}, answered was {cursor}", conversation.read_seq);
                self.account.broken.push(self.account.broke("a cursor stays", id.get(), *cursor, seen));
            }
        }
        let listed: BTreeSet<ConversationId> = page.conversations.iter().map(|one| one.conversation).collect();
        let gone: Vec<ConversationId> = self.rooms.keys().filter(|room| !listed.contains(room)).copied().collect();
        for room in gone {
            self.rooms.remove(&room);
            self.note(room, Entry::Left(false));
            if !(self.who.visits && Some(room) == self.hall) {
                let seen = format!("not among its {} conversations as of {min}", listed.len());
                self.account.broken.push(self.account.broke("a member stays one", room.get(), 0, seen));
            }
        }
        Ok(page.conversations)
    }

    /// Reads a room to its end, as of at least `min`.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn read_on(&mut self, room: ConversationId, min: Option<&str>) -> anyhow::Result<()> {
        let min = min.map_or(String::new(), |min| format!("&min_position={min}"));
        self.open(room, 0);
        loop {
            let Some(last) = self.rooms.get(&room).map(|room| room.last) else { return Ok(()) };
            let path = format!("/v1/conversations/{room}/messages?after={last}&limit=200{min}");
            let Some(page) = self.read::<MessagesPage>(&path).await? else { return Ok(()) };
            self.tally.read += page.messages.len() as u64;
            for found in &page.messages {
                let message = Message { seq: found.seq, id: found.message.get(), wish: WishId::parse(&found.text) };
                self.note(room, Entry::Read(message));
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.last = found.seq;
                }
            }
            if !page.more_after || page.messages.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether it has seen all that there is at `min`. What is missing has to come by itself while its session, which it
    /// has had since `opened`, lasts.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn has_seen_all(&mut self, min: &str, opened: Instant) -> anyhow::Result<bool> {
        let since = *self.reading_since.get_or_insert_with(Instant::now);
        let mut missing = Vec::new();
        for conversation in self.conversations(min).await? {
            let (id, end) = (conversation.conversation, conversation.last_seq);
            if let Some(room) = self.rooms.get(&id).filter(|room| room.last < end) {
                missing.push((id, room.last + 1, end));
            }
        }
        if missing.is_empty() {
            return Ok(true);
        }
        if since.elapsed() < LIVE_MAX {
            return Ok(false);
        }
        for (room, due, end) in missing {
            let seen = format!(
                "the session of {} s ago has not got it, nor anything up to {end}, in {} s of quiet",
                opened.elapsed().as_secs(),
                since.elapsed().as_secs()
            );
            self.account.broken.push(self.account.broke("what is stored comes by itself", room.get(), due, seen));
            self.read_on(room, Some(min)).await?;
        }
        Ok(true)
    }

    /// A read, tried again while it is refused for now. `None`: refused for good.
    async fn read<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<Option<T>> {
        let since = Instant::now();
        loop {
            let error = match http::read(self.gateway, &self.who.token, path).await {
                Ok(found) => return Ok(Some(found)),
                Err(NoAnswer::Lost(error)) => bail!("a read was lost: {}", error.root_cause()),
                Err(NoAnswer::Refused(error)) => error,
            };
            Tally::count(&mut self.tally.reads_refused, error.code.name());
            if error.code == ErrorCode::Internal {
                let seen = format!("{path}: {}", error.message);
                self.account.broken.push(self.account.broke("a read does not fail by a defect", 0, 0, seen));
            }
            if !error.code.retryable() {
                let hall = self.hall.map(|hall| hall.to_string());
                if !(self.who.visits && hall.is_some_and(|hall| path.contains(&hall))) {
                    let seen = format!("{path}: {}: {}", error.code, error.message);
                    self.account.broken.push(self.account.broke("a member may read", 0, 0, seen));
                }
                return Ok(None);
            }
            if since.elapsed() > REFUSED_MAX {
                bail!("a read was refused for {} s: {}", REFUSED_MAX.as_secs(), error.code);
            }
            sleep(PAUSE).await;
        }
    }
}
