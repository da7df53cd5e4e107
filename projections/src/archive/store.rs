//! The archive in the bucket: which segments there are, and their batches.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lru::LruCache;
use natter_nats::{Archive, LogError, LogId, Stored};
use tokio::sync::Mutex;

use super::segment::{DIGITS, MANIFEST, Manifest, Span, folder};
use crate::error::ViewError;
use crate::objects::Objects;

/// Opened segments that are kept: readers of one batch come back for its neighbours.
const OPEN_MAX: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

/// Batches of segments, by partition and span.
type Open = LruCache<(u16, Span), Arc<Vec<Stored>>>;

/// The archive of one log; cheap to clone.
#[derive(Debug, Clone)]
pub struct Segments {
    objects: Objects,
    log: LogId,
    /// By partition, each by its first sequence; segments never go.
    known: Arc<Mutex<HashMap<u16, BTreeMap<u64, u64>>>>,
    open: Arc<Mutex<Open>>,
}

impl Segments {
    /// The archive of `log` in this bucket. Nothing is asked yet.
    pub fn new(objects: Objects, log: LogId) -> Self {
        Self { objects, log, known: Arc::default(), open: Arc::new(Mutex::new(LruCache::new(OPEN_MAX))) }
    }

    /// The segments of a partition, by their first sequence. Of two that have batches in common each is right.
    ///
    /// # Errors
    /// Transient.
    pub async fn spans(&self, partition: u16) -> Result<Vec<Span>, ViewError> {
        self.list(partition, false).await
    }

    /// Looks for segments behind the last one that is known, or for all.
    async fn list(&self, partition: u16, all: bool) -> Result<Vec<Span>, ViewError> {
        let mut partitions = self.known.lock().await;
        let known = partitions.entry(partition).or_default();
        let folder = folder(&self.log, partition);
        let after = known.last_key_value().filter(|_| !all).map(|(first, _)| format!("{folder}{first:0DIGITS$}"));
        for key in self.objects.list(&folder, after.as_deref()).await? {
            if let Some(Span { first, last }) = Span::named(&key) {
                let longest = known.entry(first).or_default();
                *longest = last.max(*longest);
            }
        }
        Ok(known.iter().map(|(first, last)| Span { first: *first, last: *last }).collect())
    }

    /// The last sequence up to which no batch is missing; 0: the first is.
    ///
    /// # Errors
    /// Transient.
    pub async fn end(&self, partition: u16) -> Result<u64, ViewError> {
        Ok(end(&self.spans(partition).await?))
    }

    /// The segment that has batch `sequence`.
    async fn find(&self, partition: u16, sequence: u64) -> Result<Option<Span>, ViewError> {
        let among = |known: &BTreeMap<u64, u64>| {
            let with = known.range(..=sequence).rev().find(|(_, last)| **last >= sequence);
            with.map(|(first, last)| Span { first: *first, last: *last })
        };
        if let Some(found) = self.known.lock().await.get(&partition).and_then(among) {
            return Ok(Some(found));
        }
        // All, for two who archived at once may have cut differently.
        self.list(partition, true).await?;
        Ok(self.known.lock().await.get(&partition).and_then(among))
    }

    /// What is said of a segment.
    ///
    /// # Errors
    /// Transient; `Corrupt` or `Mismatch`: the manifest is not one of this log's.
    pub async fn manifest(&self, partition: u16, span: Span) -> Result<Manifest, ViewError> {
        let key = format!("{}{MANIFEST}", span.key(&self.log, partition));
        Manifest::from_json(&self.objects.get(&key).await?, &key, &self.log)
    }

    /// The batches of a segment, compared with its manifest.
    ///
    /// # Errors
    /// Transient; `Corrupt` or `Mismatch`: it is not what its manifest vouches for.
    pub async fn fetch(&self, manifest: &Manifest) -> Result<Vec<Stored>, ViewError> {
        let object = self.objects.get(&manifest.object_key(&self.log)).await?;
        let manifest = manifest.clone();
        let opened = tokio::task::spawn_blocking(move || manifest.open(object)).await;
        opened.map_err(|error| ViewError::transient("reading a segment", error))?
    }

    /// Puts batches there as a segment: the object, which is read back and compared, and only then the manifest.
    ///
    /// # Errors
    /// Transient: there may be an object without a manifest, which is no segment. `Corrupt`: a batch cannot be decoded, or
    /// the store gives back other bytes than it was given.
    pub async fn put(&self, partition: u16, batches: Vec<Stored>) -> Result<Manifest, ViewError> {
        let log = self.log.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            Manifest::seal(&log, partition, &batches).map(|(manifest, object)| (manifest, object, batches))
        });
        let sealed = sealed.await.map_err(|error| ViewError::transient("making a segment", error))?;
        let (manifest, object, batches) = sealed?;
        let (key, named) = (self.key(&manifest), manifest.object_key(&self.log));
        self.objects.put(&named, object).await?;
        if self.fetch(&manifest).await? != batches.iter().map(without_place).collect::<Vec<_>>() {
            return Err(ViewError::Corrupt(format!("{named} does not give back the batches it was made of")));
        }
        self.objects.put(&format!("{key}{MANIFEST}"), manifest.to_json()?).await?;
        Ok(manifest)
    }

    fn key(&self, manifest: &Manifest) -> String {
        manifest.span().key(&self.log, manifest.partition)
    }

    async fn batches(&self, partition: u16, from: u64) -> Result<Vec<Stored>, ViewError> {
        let Some(span) = self.find(partition, from).await? else { return Ok(Vec::new()) };
        let kept = self.open.lock().await.get(&(partition, span)).cloned();
        let batches = match kept {
            Some(batches) => batches,
            None => {
                let batches = Arc::new(self.fetch(&self.manifest(partition, span).await?).await?);
                self.open.lock().await.put((partition, span), Arc::clone(&batches));
                batches
            }
        };
        let skipped = usize::try_from(from - span.first).unwrap_or(usize::MAX);
        Ok(batches.get(skipped..).unwrap_or_default().to_vec())
    }
}

/// How many came behind a batch when it was read is no part of it.
fn without_place(batch: &Stored) -> Stored {
    Stored { behind: 0, ..batch.clone() }
}

fn end(spans: &[Span]) -> u64 {
    let reach = |end: u64, span: &Span| if span.first <= end + 1 { end.max(span.last) } else { end };
    spans.iter().fold(0, reach)
}

impl Archive for Segments {
    fn end(&self, partition: u16) -> BoxFuture<'_, Result<u64, LogError>> {
        async move { Ok(Self::end(self, partition).await?) }.boxed()
    }

    fn read(&self, partition: u16, from: u64) -> BoxFuture<'_, Result<Vec<Stored>, LogError>> {
        async move { Ok(self.batches(partition, from).await?) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_before_the_first_hole() {
        let spans = |spans: &[(u64, u64)]| {
            spans.iter().map(|(first, last)| Span { first: *first, last: *last }).collect::<Vec<_>>()
        };
        for (of, wanted) in [
            (spans(&[]), 0),
            (spans(&[(2, 9)]), 0),
            (spans(&[(1, 5), (6, 9)]), 9),
            (spans(&[(1, 5), (4, 9), (10, 11)]), 11),
            (spans(&[(1, 5), (7, 9)]), 5),
            (spans(&[(1, 9), (3, 5)]), 9),
        ] {
            assert_eq!(end(&of), wanted, "{of:?}");
        }
    }
}
