//! The archive: closed segments of `EVT_p` as Parquet files in the bucket, so that the broker needs to keep only what is
//! recent, and ClickHouse and replay can both read what is not.
//!
//! ```text
//! EVT_p ──▶ segment (parquet.rs) ──▶ upload ──▶ read back, compare ──▶ manifest ──▶ EVT_p is trimmed
//! ```
//!
//! The manifests are the only checkpoint: the next segment begins behind the last one. Whoever reads the log gets what was
//! trimmed from here ([`natter_nats::Archive`]) and does not notice.

mod archiver;
mod parquet;
mod segment;
mod store;
mod telemetry;

pub use self::archiver::{Archiver, Caught, Closing};
pub use self::segment::{Manifest, Span};
pub use self::store::Segments;
pub use self::telemetry::describe;
