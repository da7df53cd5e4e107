//! A segment: successive batches of `EVT_p` in one object, and the manifest that vouches for it.
//!
//! ```text
//! archive/<log id>/EVT_<p>/<first>-<last>-<digest>.parquet   the batches
//! archive/<log id>/EVT_<p>/<first>-<last>.json               the manifest, written last: without it there is no segment
//! ```

use bytes::Bytes;
use natter_nats::{LogId, Stored};
use natter_schemas::codec::OutcomeBatch;
use natter_schemas::subjects::outcome_stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::parquet::{decode, encode};
use crate::error::ViewError;

/// The layout of manifests and objects that this binary writes and reads.
const VERSION: u32 = 1;
/// As many digits as the largest sequence has, so that names sort as numbers.
pub(super) const DIGITS: usize = 20;

/// Which batches of a partition, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first batch's sequence.
    pub first: u64,
    /// The last batch's.
    pub last: u64,
}

/// What a segment is, and what its object must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout.
    pub version: u32,
    /// The log's id.
    pub log: String,
    /// The partition.
    pub partition: u16,
    /// The first batch's sequence.
    pub first: u64,
    /// The last batch's sequence; none between is missing.
    pub last: u64,
    /// Outcomes in all batches.
    pub outcomes: u64,
    /// When the broker stored the last batch, in Unix milliseconds.
    pub stored_ms: u64,
    /// Log time after the last batch, in Unix milliseconds.
    pub log_ms: u64,
    /// Bytes of the batches as the log has them.
    pub log_bytes: u64,
    /// Digest of the batches with their sequences and times, SHA-256 as hex.
    pub batches_sha256: String,
    /// Bytes of the object.
    pub object_bytes: u64,
    /// Digest of the object, SHA-256 as hex.
    pub object_sha256: String,
}

/// Where the segments of a partition lie.
pub(super) fn folder(log: &LogId, partition: u16) -> String {
    format!("archive/{log}/{}/", outcome_stream(partition))
}

impl Span {
    /// The name of an object of this span, without what it ends with.
    pub(super) fn key(self, log: &LogId, partition: u16) -> String {
        format!("{}{:0DIGITS$}-{:0DIGITS$}", folder(log, partition), self.first, self.last)
    }

    /// The span that a manifest's name says; `None`: it is the name of something else.
    pub(super) fn named(key: &str) -> Option<Self> {
        let name = key.rsplit('/').next()?.strip_suffix(MANIFEST)?;
        let (first, last) = name.split_once('-')?;
        if first.len() != DIGITS || last.len() != DIGITS {
            return None;
        }
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first >= 1 && first <= last).then_some(Self { first, last })
    }
}

/// How a manifest's name ends.
pub(super) const MANIFEST: &str = ".json";
/// How an object's name ends.
pub(super) const OBJECT: &str = ".parquet";

/// Digits of the object's digest in its name.
const NAME_DIGITS: usize = 16;

impl Manifest {
    /// Where the object lies. Its digest is in the name: another version may write other bytes for the same batches, and a manifest
    /// names its own.
    pub(super) fn object_key(&self, log: &LogId) -> String {
        let digest = self.object_sha256.get(..NAME_DIGITS).unwrap_or(&self.object_sha256);
        format!("{}-{digest}{OBJECT}", self.span().key(log, self.partition))
    }

    /// Which batches.
    pub const fn span(&self) -> Span {
        Span { first: self.first, last: self.last }
    }

    /// Successive batches, at least one, as a segment: its manifest and its object.
    ///
    /// # Errors
    /// `Corrupt`: a batch cannot be decoded, or they do not follow each other.
    pub(super) fn seal(log: &LogId, partition: u16, batches: &[Stored]) -> Result<(Self, Bytes), ViewError> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Err(ViewError::Corrupt("a segment without a batch".to_owned()));
        };
        dense(partition, batches)?;
        let object = encode(log, partition, batches)?;
        let manifest = Self {
            version: VERSION,
            log: log.to_string(),
            partition,
            first: first.sequence,
            last: last.sequence,
            outcomes: outcomes(batches)?,
            stored_ms: last.stored_ms,
            log_ms: OutcomeBatch::decode(&last.payload)?.header.log_ms(),
            log_bytes: batches.iter().map(|batch| batch.payload.len() as u64).sum(),
            batches_sha256: digest(batches),
            object_bytes: object.len() as u64,
            object_sha256: hex::encode(Sha256::digest(&object)),
        };
        Ok((manifest, object))
    }

    /// The batches of the segment, out of its object: all of them, and exactly as they were put there.
    ///
    /// # Errors
    /// `Corrupt`: it is not the object that the manifest vouches for; says in what.
    pub(super) fn open(&self, object: Bytes) -> Result<Vec<Stored>, ViewError> {
        let Self { partition, first, last, .. } = self;
        let wrong = |what: &str| {
            Err(ViewError::Corrupt(format!("batches {first} to {last} of EVT_{partition} in the archive: {what}")))
        };
        if object.len() as u64 != self.object_bytes || hex::encode(Sha256::digest(&object)) != self.object_sha256 {
            return wrong("the object is not what its manifest says");
        }
        let batches = decode(object)?;
        dense(*partition, &batches)?;
        if batches.first().map(|batch| batch.sequence) != Some(*first)
            || batches.last().map(|batch| batch.sequence) != Some(*last)
        {
            return wrong("the object has other batches than its manifest says");
        }
        if digest(&batches) != self.batches_sha256 {
            return wrong("the batches are not what their manifest says");
        }
        Ok(batches)
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Never, but JSON's writer does not know.
    pub(super) fn to_json(&self) -> Result<Bytes, ViewError> {
        let json = serde_json::to_vec_pretty(self);
        json.map(Bytes::from).map_err(|error| ViewError::corrupt("a manifest cannot be written", error))
    }

    /// A stored manifest.
    ///
    /// # Errors
    /// `Corrupt`; `Mismatch`: it is of another layout, or of another log.
    pub(super) fn from_json(json: &[u8], key: &str, log: &LogId) -> Result<Self, ViewError> {
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| ViewError::corrupt(format!("manifest {key} of the archive"), error))?;
        if manifest.version != VERSION {
            let version = manifest.version;
            return Err(ViewError::Mismatch(format!(
                "manifest {key} of the archive has layout {version}, this binary reads {VERSION}"
            )));
        }
        if manifest.log != log.to_string() || Span::named(key) != Some(manifest.span()) {
            return Err(ViewError::Mismatch(format!("manifest {key} of the archive is that of another segment")));
        }
        Ok(manifest)
    }
}

fn dense(partition: u16, batches: &[Stored]) -> Result<(), ViewError> {
    match batches.windows(2).find(|pair| pair[1].sequence != pair[0].sequence + 1) {
        None => Ok(()),
        Some(pair) => Err(ViewError::Corrupt(format!(
            "a segment of EVT_{partition} jumps from {} to {}",
            pair[0].sequence, pair[1].sequence
        ))),
    }
}

fn outcomes(batches: &[Stored]) -> Result<u64, ViewError> {
    let mut outcomes = 0;
    for batch in batches {
        let header = OutcomeBatch::decode(&batch.payload)?.header;
        outcomes += header.sources.iter().map(|source| u64::from(source.records)).sum::<u64>();
    }
    Ok(outcomes)
}

/// Over everything that a reader of the log gets.
fn digest(batches: &[Stored]) -> String {
    let mut digest = Sha256::new();
    for batch in batches {
        let Stored { sequence, stored_ms, lease, records, behind: _, payload } = batch;
        let numbers = [*sequence, *stored_ms, lease.unwrap_or(0), records.map_or(u64::MAX, u64::from)];
        for number in numbers {
            digest.update(number.to_le_bytes());
        }
        digest.update((payload.len() as u64).to_le_bytes());
        digest.update(payload);
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The log of the test.
    const LOG: &str = "0123456789abcdef0123456789abcdef";

    /// The golden outcome batch of the log's encoding, three times.
    fn batches() -> Vec<Stored> {
        let golden = include_str!("../../../schemas/golden/v2.txt");
        let hex = golden.lines().find_map(|line| line.strip_prefix("batch.outcome ")).unwrap();
        let payload = Bytes::from(hex::decode(hex).unwrap());
        let stored = |sequence| Stored {
            sequence,
            stored_ms: 1_700_000_000_000 + sequence,
            lease: (sequence > 7).then_some(3),
            records: Some(2),
            behind: 0,
            payload: payload.clone(),
        };
        (7..10).map(stored).collect()
    }

    fn sealed() -> (Manifest, Bytes) {
        Manifest::seal(&LOG.parse().unwrap(), 5, &batches()).unwrap()
    }

    /// What was archived once is read for ever. The files are written by `NATTER_WRITE_GOLDEN=1 cargo test -p natter-projections`, once for each
    /// layout.
    #[test]
    fn a_segment_of_the_first_layout_is_read_as_it_always_was() {
        let file = |end| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/segment-v1{end}"));
        if std::env::var_os("NATTER_WRITE_GOLDEN").is_some() {
            let (manifest, object) = sealed();
            std::fs::write(file(MANIFEST), manifest.to_json().unwrap()).unwrap();
            std::fs::write(file(OBJECT), object).unwrap();
        }
        let (log, key) = (LOG.parse().unwrap(), Span { first: 7, last: 9 }.key(&LOG.parse().unwrap(), 5));
        let json = std::fs::read(file(MANIFEST)).unwrap();
        let manifest = Manifest::from_json(&json, &format!("{key}{MANIFEST}"), &log).unwrap();
        assert_eq!(manifest.open(std::fs::read(file(OBJECT)).unwrap().into()).unwrap(), batches());
    }

    #[test]
    fn other_bytes_of_the_same_batches_have_another_name() {
        let (manifest, _) = sealed();
        let other = Manifest { object_sha256: "f".repeat(64), ..manifest.clone() };
        let log = LOG.parse().unwrap();
        assert_ne!(manifest.object_key(&log), other.object_key(&log));
        assert_eq!(manifest.span().key(&log, 5), other.span().key(&log, 5), "the last manifest counts");
        assert!(manifest.object_key(&log).contains(&manifest.object_sha256[..16]));
    }

    #[test]
    fn what_is_sealed_is_what_is_opened() {
        let (manifest, object) = sealed();
        assert_eq!((manifest.span(), manifest.partition), (Span { first: 7, last: 9 }, 5));
        assert_eq!(manifest.open(object.clone()).unwrap(), batches());
        for at in (0..object.len()).step_by(97) {
            let mut damaged = object.to_vec();
            damaged[at] ^= 1;
            assert!(matches!(manifest.open(damaged.into()), Err(ViewError::Corrupt(_))), "bit at byte {at}");
        }
        let other = Manifest { batches_sha256: "0".repeat(64), ..manifest };
        assert!(other.open(object).unwrap_err().to_string().contains("are not what their manifest says"));
    }

    #[test]
    fn batches_that_do_not_follow_each_other_are_no_segment() {
        let mut batches = batches();
        batches.remove(1);
        let log = LOG.parse().unwrap();
        assert!(Manifest::seal(&log, 5, &batches).unwrap_err().to_string().contains("jumps from 7 to 9"));
        assert!(Manifest::seal(&log, 5, &[]).is_err());
    }

    #[test]
    fn names_say_the_span() {
        let log = LOG.parse().unwrap();
        let span = Span { first: 12, last: 345 };
        let key = format!("{}{MANIFEST}", span.key(&log, 1023));
        assert_eq!(key, format!("archive/{LOG}/EVT_1023/00000000000000000012-00000000000000000345.json"));
        assert_eq!(Span::named(&key), Some(span));
        for other in ["", "a.json", "12-345.json", "00000000000000000012-00000000000000000345.parquet"] {
            assert_eq!(Span::named(other), None, "{other}");
        }
        assert_eq!(
            Span::named("x/00000000000000000009-00000000000000000007.json"),
            None,
            "its end is before its begin"
        );
        assert_eq!(Span::named("x/00000000000000000000-00000000000000000007.json"), None, "sequences begin at 1");
    }
}
