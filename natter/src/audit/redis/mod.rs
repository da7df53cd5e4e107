//! The Redis views against the log: every key, at the very position that it was read at.
//!
//! Redis answers some keys at a time, each answer of one moment with its watermark; the mirror of the log is folded up to
//! there before it is compared. So nothing is held up, and a system that works is not found to differ from itself.

mod keys;

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail};
use natter_nats::Log;
use natter_projections::redis::mirror::{Mirror, newest};
use natter_projections::redis::whole::{self, Look, Page, START};
use natter_projections::redis::{Redis, watermark};
use natter_projections::watermark::Watermark;
use natter_schemas::position::Position;

use super::forward::Forward;
use super::report::{Differences, Kind, Store, View};

/// Keys asked for at once.
const KEYS_AT_ONCE: usize = 100;
/// Redis was restarted in the middle of so many looks: something is wrong with it.
const TRIES_MAX: usize = 5;

/// The Redis views of a partition, and what they must hold.
pub(crate) struct RedisSide {
    redis: Redis,
    partition: u16,
    pub(super) mirror: Mirror,
    forward: Forward,
    kept_max: usize,
}

/// To which position the mirror is folded for each answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Against {
    /// To the answer's watermark, and not below this.
    Watermark { floor: u64 },
    /// To this, whatever the watermark says.
    Fixed(u64),
}

/// What a look at the views found.
struct Seen {
    found: Differences,
    /// The newest event that anything shows, and where the watermark stood then.
    newest: u64,
    above_watermark: bool,
    watermark: u64,
    /// Outcomes of the batch behind the watermark that were there, too.
    index: u32,
    compared: u64,
}

/// The store went back to an earlier position.
struct FellBack;

impl RedisSide {
    pub(crate) fn new(log: &Log, partition: u16, redis: Redis, kept_max: usize) -> Self {
        let (mirror, forward) = (Mirror::default(), Forward::new(log, partition));
        Self { redis, partition, mirror, forward, kept_max }
    }

    /// How far the views claim to be.
    pub(crate) async fn watermark(&self) -> anyhow::Result<Watermark> {
        watermark(&self.redis, self.partition).await.context("cannot read the watermark of redis")
    }

    /// Compares all keys, or those that changed since the last look.
    pub(crate) async fn compare(
        &mut self,
        claimed: &Watermark,
        last: u64,
        full: bool,
        found: &mut Differences,
    ) -> anyhow::Result<Option<View>> {
        let place = format!("redis of partition {}", self.partition);
        if !claimed.is_of(self.forward.log().id()) {
            let detail = format!("its watermark is {claimed}, the log is {}", self.forward.log().id());
            found.add(Store::Redis, Kind::Foreign, place, detail);
            return Ok(None);
        }
        if claimed.sequence > last {
            let detail = format!("its watermark is {}, the log ends at {last}", claimed.sequence);
            found.add(Store::Redis, Kind::Ahead, place, detail);
            return Ok(None);
        }
        let seen = self.settled_look(full, found).await?;
        let Seen { watermark, compared, found: differences, .. } = seen;
        found.extend(differences);
        // Nothing had changed, so nothing was read that says where the view stands.
        let watermark = if compared == 0 { claimed.sequence } else { watermark };
        Ok(Some(View { watermark, behind: last.saturating_sub(watermark), compared }))
    }

    /// A look, and what explains all that it found at once, where something does.
    async fn settled_look(&mut self, full: bool, found: &mut Differences) -> anyhow::Result<Seen> {
        let place = format!("redis of partition {}", self.partition);
        let seen = self.look(full, Against::Watermark { floor: 0 }).await?;
        if seen.above_watermark {
            let (stands, shows) = (seen.watermark, Position::batch(self.partition, seen.newest));
            let detail = format!("its watermark is {stands}, but it shows what happened at {shows}");
            found.add(Store::Redis, Kind::Behind, place, detail);
            return self.look(true, Against::Watermark { floor: seen.newest }).await;
        }
        if seen.found.total > 0 && full && seen.newest < seen.watermark {
            // Does it show the log as it was when the newest event that it shows was the last?
            self.mirror = Mirror::default();
            let earlier = self.look(true, Against::Fixed(seen.newest)).await?;
            self.mirror = Mirror::default();
            if earlier.found.total == 0 {
                let (stands, shows) = (seen.watermark, Position::batch(self.partition, seen.newest));
                let detail = format!("its watermark is {stands}, but it shows nothing that happened after {shows}");
                found.add(Store::Redis, Kind::Ahead, place, detail);
                return Ok(Seen { watermark: seen.watermark, ..earlier });
            }
        }
        Ok(seen)
    }

    async fn look(&mut self, full: bool, against: Against) -> anyhow::Result<Seen> {
        let mut full = full;
        for _ in 0..TRIES_MAX {
            let mut seen = Seen {
                found: Differences::of(Some(self.partition), self.kept_max),
                newest: 0,
                above_watermark: false,
                watermark: 0,
                index: 0,
                compared: 0,
            };
            let changed = self.mirror.take_changed();
            let looked = if full {
                self.look_at_all(against, &mut seen).await?
            } else {
                self.look_at(changed.iter().map(String::as_str), against, &mut seen).await?
            };
            match looked {
                Ok(()) => return Ok(seen),
                Err(FellBack) => (self.mirror, full) = (Mirror::default(), true),
            }
        }
        bail!("redis fell back to an earlier position {TRIES_MAX} times while it was looked at")
    }

    async fn look_at_all(&mut self, against: Against, seen: &mut Seen) -> anyhow::Result<Result<(), FellBack>> {
        let (mut cursor, mut known, mut unread) = (START.to_owned(), HashSet::new(), HashSet::new());
        loop {
            let mut look = whole::scan(&self.redis, self.partition, &cursor).await.context("cannot scan redis")?;
            cursor.clone_from(&look.next);
            unread.extend(std::mem::take(&mut look.unread));
            if let Err(fell) = self.take(look, against, seen, Some(&mut known)).await? {
                return Ok(Err(fell));
            }
            if cursor == START {
                break;
            }
        }
        // Those that were too much for an answer, those that were made meanwhile, and those that are missing.
        let mirrored = self.mirror.keys().map(str::to_owned);
        let unseen: HashSet<String> = unread.into_iter().chain(mirrored).filter(|key| !known.contains(key)).collect();
        self.look_at(unseen.iter().map(String::as_str), against, seen).await
    }

    async fn look_at<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k str>,
        against: Against,
        seen: &mut Seen,
    ) -> anyhow::Result<Result<(), FellBack>> {
        let keys: Vec<&str> = keys.collect();
        for some in keys.chunks(KEYS_AT_ONCE) {
            let mut asked: Vec<String> = some.iter().copied().map(str::to_owned).collect();
            while !asked.is_empty() {
                let look = whole::keys(&self.redis, self.partition, asked.iter().map(String::as_str)).await;
                let mut look = look.context("cannot read keys of redis")?;
                asked = std::mem::take(&mut look.unread);
                if let Err(fell) = self.take(look, against, seen, None).await? {
                    return Ok(Err(fell));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Compares what Redis answered.
    async fn take(
        &mut self,
        look: Look,
        against: Against,
        seen: &mut Seen,
        mut known: Option<&mut HashSet<String>>,
    ) -> anyhow::Result<Result<(), FellBack>> {
        if let Err(fell) = self.fold_to(&look, against, seen).await? {
            return Ok(Err(fell));
        }
        for page in look.pages {
            if known.as_mut().is_some_and(|known| !known.insert(page.key.clone())) {
                continue;
            }
            seen.note(self.partition, &page);
            let page = self.mirror.visible(page);
            if page.next == START {
                keys::compare(&self.mirror, &page, &mut seen.found);
            } else if let Err(fell) = self.large(page, against, seen).await? {
                return Ok(Err(fell));
            }
        }
        Ok(Ok(()))
    }

    /// A key in pages: what was there from the first to the last must have come.
    async fn large(&mut self, first: Page, against: Against, seen: &mut Seen) -> anyhow::Result<Result<(), FellBack>> {
        let key = first.key.clone();
        let before = self.mirror.held(&key).map(|held| held.fields.clone()).unwrap_or_default();
        let mut fields = HashMap::new();
        let mut page = first;
        loop {
            keys::compare_part(&self.mirror, &page, &mut fields, &mut seen.found);
            if page.next == START {
                break;
            }
            let look = whole::page(&self.redis, self.partition, &key, &page.next).await;
            let mut look = look.context("cannot read a key of redis")?;
            if let Err(fell) = self.fold_to(&look, against, seen).await? {
                return Ok(Err(fell));
            }
            match look.pages.pop() {
                Some(next) => page = self.mirror.visible(next),
                None => break,
            }
        }
        // One that changed meanwhile may have been passed over, since it came again.
        let mut stayed = before;
        stayed.retain(|field, value| self.mirror.held(&key).and_then(|held| held.fields.get(field)) == Some(value));
        keys::missing(&self.mirror, &key, stayed.keys(), |field| fields.contains_key(field), &mut seen.found);
        Ok(Ok(()))
    }

    /// Folds the mirror to where an answer stands, which may be within a batch.
    async fn fold_to(
        &mut self,
        look: &Look,
        against: Against,
        seen: &mut Seen,
    ) -> anyhow::Result<Result<(), FellBack>> {
        let reached = (look.watermark.sequence, look.index);
        let (sequence, index) = match against {
            Against::Watermark { floor } => reached.max((floor, 0)),
            Against::Fixed(position) => (position, 0),
        };
        let fell = reached < (seen.watermark, seen.index) || (sequence, index) < self.mirror.position();
        if fell || !look.watermark.is_of(self.forward.log().id()) {
            return Ok(Err(FellBack));
        }
        (seen.watermark, seen.index) = reached;
        let mirror = &mut self.mirror;
        self.forward
            .fold(mirror.position().0, sequence, |stored, _, outcomes| {
                mirror.fold(stored.sequence, outcomes, None);
                Ok(())
            })
            .await?;
        if index > mirror.position().1 {
            self.forward
                .fold(sequence, sequence + 1, |stored, _, outcomes| {
                    mirror.fold(stored.sequence, outcomes, Some(index));
                    Ok(())
                })
                .await?;
        }
        Ok(Ok(()))
    }
}

impl Seen {
    fn note(&mut self, partition: u16, page: &Page) {
        self.compared += 1;
        if let Some(shown) = newest(partition, page) {
            self.newest = self.newest.max(shown.sequence);
            self.above_watermark |= shown.sequence > self.watermark + u64::from(self.index > 0);
        }
    }
}
