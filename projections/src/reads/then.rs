//! Time travel: a conversation as it was at a position of the log, or at a log time (`as_of`).

use std::collections::BTreeMap;
use std::ops::Bound;

use natter_schemas::command::Address;
use natter_schemas::error::ErrorCode;
use natter_schemas::event::{Event, Placed};
use natter_schemas::names::UserId;
use natter_schemas::outcome::Accepted;
use natter_schemas::position::Position;
use natter_schemas::wire::reads::{Member, MembersPage};
use natter_schemas::wire::server::{ErrorBody, EventFrame};

use super::access::Known;
use super::tail::Complete;
use super::{Asking, Reads, error_body};
use crate::clickhouse::Progress;
use crate::facts::Role;

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// After this batch, or this outcome, of the conversation's partition.
    Position(Position),
    /// At this log time, in Unix milliseconds: the time of storing, but that it never goes back.
    LogTime(u64),
}

/// A conversation as it was.
pub(super) struct Then {
    /// The moment.
    pub(super) position: Position,
    /// Seq of its last message; 0: none yet.
    pub(super) last_seq: u64,
    members: Members,
}

/// Who was in it, and how far each was: also of those who had left, for they keep their cursor.
#[derive(Default)]
struct Members {
    present: BTreeMap<UserId, (Role, u64)>,
    cursors: BTreeMap<UserId, u64>,
}

impl Reads {
    /// The conversation at `address` as it is and as it was. The reader must be a member now, as for every read, and have
    /// been one then.
    ///
    /// # Errors
    /// `not_found`, `not_member`; `invalid_field` for a position of another partition; `behind`: it has not come yet, or the views have
    /// not; `history_behind`, `unavailable`.
    pub(super) async fn then(
        &self,
        asking: Asking<'_>,
        address: &Address,
        as_of: AsOf,
    ) -> Result<(Known, Then), ErrorBody> {
        let mut known = self.joined(asking, address).await?;
        let (partition, id) = (known.partition, known.id());
        let position = match as_of {
            AsOf::Position(position) if position.partition == partition => position,
            AsOf::Position(Position { partition: other, .. }) => {
                let message = format!("`as_of` is of partition {other}, the conversation's is {partition}");
                return Err(ErrorBody::new(ErrorCode::InvalidField, message));
            }
            AsOf::LogTime(log_ms) => self.tails.last_until(partition, log_ms).await?,
        };
        if position.sequence > known.shows {
            known = self.joined(Asking { min: &[position], ..asking }, address).await?;
        }
        let Complete { history, upto: complete } = self.tails.history(partition).await?;
        let in_history = if position.sequence <= complete { position } else { Position::batch(partition, complete) };
        let failed = |error| error_body(&error);
        let mut then = Then { position, last_seq: 0, members: Members::default() };
        for frame in history.comings_and_goings(id, in_history).await.map_err(failed)? {
            then.fold(&frame);
        }
        for progress in history.progress(id, in_history).await.map_err(failed)? {
            then.come_to(&progress);
        }
        if position.sequence > complete {
            let above = self.tails.above(partition, id, complete, position.sequence).await?;
            let until = |placed: &&Placed| placed.position.version() <= position.version();
            for event in above.iter().take_while(until).filter_map(Placed::event) {
                then.happened(&event);
            }
        }
        if !then.members.present.contains_key(asking.user) {
            return Err(ErrorBody::new(ErrorCode::NotMember, "you were no member of the conversation then"));
        }
        Ok((known, then))
    }

    /// A page of the members of then; their display names are those of now.
    pub(super) async fn members_then(
        &self,
        asking: Asking<'_>,
        then: &Then,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<MembersPage, ErrorBody> {
        let Members { present, cursors } = &then.members;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = limit as usize;
        let page: Vec<_> = present.range::<UserId, _>((after, Bound::Unbounded)).take(limit).collect();
        let ids: Vec<UserId> = page.iter().map(|(user, _)| (*user).clone()).collect();
        let mut names = self.names(asking, &ids).await.map_err(|error| error_body(&error))?;
        let full = ids.len() == limit;
        let member = |(user, (role, joined_at)): (&UserId, &(Role, u64))| Member {
            user: user.clone(),
            name: names.remove(user),
            role: role.name().to_owned(),
            joined_at: *joined_at,
            read_seq: cursors.get(user).copied().unwrap_or(0),
        };
        Ok(MembersPage {
            members: page.into_iter().map(member).collect(),
            next_cursor: ids.last().filter(|_| full).map(ToString::to_string),
            member_count: u32::try_from(present.len()).unwrap_or(u32::MAX),
            position: then.position,
        })
    }
}

impl Then {
    fn happened(&mut self, event: &Event<'_>) {
        match event.accepted {
            // An imported line moves nobody's cursor.
            Accepted::Sent { seq, run: Some(_), .. } => self.last_seq = self.last_seq.max(*seq),
            _ => self.fold(&EventFrame::of(event)),
        }
    }

    fn fold(&mut self, frame: &EventFrame) {
        let (at, seq) = (frame.at, frame.seq.unwrap_or(0));
        match frame.event.as_str() {
            "conversation.created" => {
                self.members.enter(&frame.sender, Role::Owner, at, 0);
                frame.members.iter().flatten().for_each(|user| self.members.enter(user, Role::Member, at, 0));
            }
            "conversation.added" => {
                frame.members.iter().flatten().for_each(|user| self.members.enter(user, Role::Member, at, seq));
            }
            "conversation.joined" => self.members.enter(&frame.sender, Role::Member, at, seq),
            "conversation.left" => drop(self.members.present.remove(&frame.sender)),
            "conversation.read" => self.members.read(&frame.sender, seq),
            "message.sent" => {
                self.members.read(&frame.sender, seq);
                self.last_seq = self.last_seq.max(seq);
            }
            _ => {}
        }
    }

    fn come_to(&mut self, progress: &Progress) {
        self.last_seq = self.last_seq.max(progress.sent_seq);
        self.members.read(&progress.user, progress.read_seq);
    }
}

impl Members {
    fn enter(&mut self, user: &UserId, role: Role, at_ms: u64, seq: u64) {
        self.present.insert(user.clone(), (role, at_ms));
        self.read(user, seq);
    }

    /// Cursors only rise.
    fn read(&mut self, user: &UserId, seq: u64) {
        let cursor = self.cursors.entry(user.clone()).or_default();
        *cursor = seq.max(*cursor);
    }
}
