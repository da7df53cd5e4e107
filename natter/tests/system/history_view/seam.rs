//! Pages through everything while the history is behind: no message and no event is missing or there twice.

use std::collections::BTreeMap;

use natter_projections::reads::{Asking, MessageRange, Reads};
use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::placed;
use natter_schemas::id::ConversationId;
use natter_schemas::limits::{HOLE_RECORDS_MAX, HOT_MESSAGES};
use natter_schemas::names::UserId;
use natter_schemas::position::Position;
use natter_schemas::wire::reads::Message;
use natter_schemas::wire::server::{ErrorBody, EventFrame};

use super::{World, insert};
use crate::model::Room;

/// Records of a batch; and of these, batches.
const RECORDS: u32 = 600;
const BATCHES: usize = 60;
/// So many batches are more than a read takes from the log.
const TOO_MANY: usize = 40;
const _: () = assert!(TOO_MANY as u64 * RECORDS as u64 > HOLE_RECORDS_MAX);
/// So many are not.
const MANY: usize = 16;
const _: () = assert!(MANY as u64 * (RECORDS as u64) < HOLE_RECORDS_MAX);

/// A busy log: conversations are much longer than what is hot.
async fn busy(seed: u64) -> World {
    let mut world = World::new(seed, 1).await;
    let generator = &mut world.partitions[0].generator;
    generator.users.truncate(4);
    generator.tenants.truncate(1);
    world.write(BATCHES, RECORDS).await;
    world
}

/// A conversation with a member who reads it.
struct Reading<'a> {
    reads: &'a Reads,
    asking: Asking<'a>,
    address: Address,
    room: &'a Room,
    events: Vec<EventFrame>,
}

impl World {
    /// The longest conversations.
    fn readings<'a>(&'a self, reads: &'a Reads, count: usize) -> Vec<Reading<'a>> {
        let part = &self.partitions[0];
        let mut events: BTreeMap<ConversationId, Vec<_>> = BTreeMap::new();
        let all = part.batches.iter().flat_map(|batch| placed(0, batch.sequence, &batch.payload).unwrap());
        for placed in all {
            let Some(event) = placed.event() else { continue };
            let Some(id) = event.accepted.conversation() else { continue };
            events.entry(id).or_default().push((EventFrame::of(&event), event.command.reference.clone()));
        }
        let mut rooms: Vec<_> = part.generator.model.conversations.iter().collect();
        rooms.retain(|(_, room)| !room.members.is_empty());
        rooms.sort_by_key(|(_, room)| std::cmp::Reverse(room.messages.len()));
        let reading = |(id, room): (&ConversationId, &'a Room)| {
            let user = room.members.keys().next().unwrap();
            let own = |frame: &EventFrame| frame.sender == *user;
            let events = events[id].iter();
            let events = events.map(|(frame, reference)| EventFrame {
                reference: own(frame).then(|| reference.clone()),
                ..frame.clone()
            });
            let asking = Asking { tenant: &room.fact.tenant, user, min: &[] };
            Reading { reads, asking, address: Address::Id(*id), room, events: events.collect() }
        };
        rooms.into_iter().take(count).map(reading).collect()
    }
}

impl Reading<'_> {
    /// As the reader sees them.
    fn messages(&self) -> Vec<Message> {
        let seen = |message: &Message| {
            let mut message = message.clone();
            message.reference = message.reference.filter(|_| message.sender == *self.asking.user);
            message
        };
        self.room.messages.iter().map(seen).collect()
    }

    async fn paged_backwards(&self, limit: u32) -> Result<Vec<Message>, ErrorBody> {
        let (mut found, mut range) = (Vec::new(), MessageRange::Newest);
        loop {
            let page = self.reads.messages(self.asking, &self.address, range, limit, None).await?;
            let first = page.messages.first().map_or(1, |message| message.seq);
            found.splice(0..0, page.messages);
            assert_eq!(page.more_before, first > 1);
            if !page.more_before {
                return Ok(found);
            }
            range = MessageRange::Before(first);
        }
    }

    async fn paged_forwards(&self, limit: u32) -> Result<Vec<Message>, ErrorBody> {
        let mut found: Vec<Message> = Vec::new();
        loop {
            let after = MessageRange::After(found.last().map_or(0, |message| message.seq));
            let page = self.reads.messages(self.asking, &self.address, after, limit, None).await?;
            found.extend(page.messages);
            if !page.more_after {
                return Ok(found);
            }
        }
    }

    async fn all_events(&self, limit: u32) -> (Vec<EventFrame>, Option<ErrorCode>) {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            match self.reads.events(self.asking, &self.address, after, limit).await {
                Ok(page) => {
                    assert!(page.events.len() <= limit as usize);
                    found.extend(page.events);
                    after = page.next_after;
                }
                Err(error) => return (found, Some(error.code)),
            }
            if after.is_none() {
                return (found, None);
            }
        }
    }

    async fn assert_complete(&self, limit: u32) {
        let messages = self.messages();
        assert_eq!(self.paged_backwards(limit).await.unwrap(), messages);
        assert_eq!(self.paged_forwards(limit).await.unwrap(), messages);
        let (events, error) = self.all_events(limit).await;
        assert_eq!((error, events.len()), (None, self.events.len()));
        assert_eq!(events, self.events);
    }
}

/// Invariant 8: whatever the history lacks is read from the log, and when that is too much it is said.
#[tokio::test]
async fn pages_have_no_seam_between_history_and_log() {
    let mut world = busy(101).await;
    world.insert_all_but(TOO_MANY).await;
    // Rows that are there twice are shown once.
    insert(&world.history, world.log.id(), 0, &world.partitions[0].batches[..10]).await;
    let reads = world.reads();
    let complete = Position::batch(0, u64::try_from(BATCHES - TOO_MANY).unwrap()).version();
    let all = world.readings(&reads, 9);
    // What left the hot view, but has not come to the history.
    let between = |reading: &&Reading<'_>| {
        let messages = &reading.room.messages;
        messages[messages.len() - HOT_MESSAGES - 1].position.version() > complete
    };
    assert!(all.iter().any(|reading| between(&reading)));
    for reading in all.iter().filter(between) {
        let error = reading.paged_backwards(200).await.unwrap_err();
        assert_eq!((error.code, error.retry_after_ms), (ErrorCode::HistoryBehind, Some(1000)));
        // What is there is shown first.
        let (events, error) = reading.all_events(150).await;
        assert_eq!(error, Some(ErrorCode::HistoryBehind));
        let expected = reading.events.iter().filter(|event| event.position.version() <= complete);
        assert!(events.iter().eq(expected), "all of what the history has");
        // What is hot is not touched by it.
        let newest =
            reading.reads.messages(reading.asking, &reading.address, MessageRange::Newest, 100, None).await.unwrap();
        assert_eq!(newest.messages, reading.messages()[reading.room.messages.len() - 100..]);
    }
    for behind in [MANY, 9, 3, 0] {
        world.insert_all_but(behind).await;
        // The same gateway, and one that starts now.
        for reads in [reads.clone(), world.reads()] {
            for reading in world.readings(&reads, 3) {
                assert!(reading.room.messages.len() > 300, "{}", reading.room.messages.len());
                reading.assert_complete(200).await;
            }
            world.readings(&reads, 1)[0].assert_complete(73).await;
        }
        for reading in world.readings(&reads, 2) {
            for message in reading.room.messages.iter().step_by(97) {
                let range = MessageRange::AroundMessage(message.message);
                let page = reads.messages(reading.asking, &reading.address, range, 20, None).await.unwrap();
                assert!(page.messages.iter().any(|found| found.message == message.message), "{behind} behind");
            }
        }
    }
}

/// Pages while the history catches up under them: a batch moves from the log's end to the history between two looks.
#[tokio::test]
async fn pages_have_no_seam_while_the_history_catches_up() {
    let mut world = busy(102).await;
    world.insert_all_but(MANY).await;
    let reads = world.reads();
    let part = &world.partitions[0];
    let catching_up = async {
        for batch in &part.batches[part.inserted..] {
            insert(&world.history, world.log.id(), 0, std::slice::from_ref(batch)).await;
        }
    };
    let mut rounds = 0;
    let reading = async {
        let readings = world.readings(&reads, 4);
        loop {
            for reading in &readings {
                let (events, error) = reading.all_events(200).await;
                assert_eq!((error, events.len()), (None, reading.events.len()));
                assert!(events == reading.events, "in order");
                assert_eq!(reading.paged_backwards(200).await.unwrap(), reading.messages());
                rounds += 1;
            }
        }
    };
    tokio::select! {
        () = catching_up => {}
        () = reading => unreachable!("it reads for ever"),
    }
    assert!(rounds >= 4, "{rounds} rounds");
}

/// The `ref` of what others sent is nobody's business.
#[tokio::test]
async fn refs_are_shown_to_their_senders_only() {
    let mut world = busy(103).await;
    world.insert_all_but(MANY).await;
    let reads = world.reads();
    let reading = &world.readings(&reads, 1)[0];
    for user in reading.room.members.keys() {
        let own = |user: &UserId, sender: &UserId| user == sender;
        let asking = Asking { user, ..reading.asking };
        for range in [MessageRange::Newest, MessageRange::After(0)] {
            let page = reads.messages(asking, &reading.address, range, 200, None).await.unwrap();
            assert!(page.messages.iter().all(|message| message.reference.is_some() == own(user, &message.sender)));
        }
        for after in [0, BATCHES - MANY - 2, BATCHES - 3] {
            let after = Position::batch(0, u64::try_from(after).unwrap());
            let page = reads.events(asking, &reading.address, Some(after), 200).await.unwrap();
            assert!(page.events.iter().all(|event| event.reference.is_some() == own(user, &event.sender)));
        }
    }
}
