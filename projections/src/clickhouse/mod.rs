//! The ClickHouse history: every outcome, current texts, conversations, members and users, and the analysts' views.
//!
//! There is no compare-and-set and no transaction over two tables here, so all tables are idempotent by key
//! (`ReplacingMergeTree`, version = position): two projectors may both insert, and a retry may be cut differently. A
//! batch's own row in `events` is inserted after everything else of it; the watermark is read from these rows.

mod archive_view;
mod connection;
pub mod digests;
pub(crate) mod fold;
pub mod generations;
mod group;
mod history;
mod inserter;
mod migrations;
mod native;
mod pointer;
mod projector;
pub mod rebuild;
mod refs;
pub(crate) mod rows;
mod then;
mod watermark;

pub use self::archive_view::{COLLECTION, OBJECTS, archive_store, objects_url, show_archive};
pub use self::connection::{ClickHouse, ClickHouseConfig};
pub use self::fold::FOLD_VERSION;
pub use self::history::StoredOutcome;
pub use self::inserter::{InserterHandle, run_inserter};
pub use self::migrations::{migrate, missing_migrations};
pub use self::pointer::POINTER_SERVES;
pub use self::projector::HistoryProjector;
pub use self::refs::{RefQuery, find_refs};
pub use self::then::Progress;
pub use self::watermark::{Claim, claim, watermark};
