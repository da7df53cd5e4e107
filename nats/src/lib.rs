//! The log: streams of record batches on NATS JetStream, and everything that reads and writes them.
//!
//! Gateways write commands through a [`Publisher`] and hear outcomes by a [`LiveFeed`]; processors read `CMD_p` with a
//! [`Reader`] and write `EVT_p` by [`Log::write_outcomes`], one per partition by [`Leases`]; projections read `EVT_p`.

mod api;
mod archive;
pub mod backoff;
mod bucket;
pub mod cat;
pub mod clock;
mod connection;
mod direct;
mod error;
mod inspect;
mod leases;
mod live;
mod outcomes;
mod policies;
mod publisher;
mod reader;
pub mod server;
mod signals;
mod space;
mod stored;
mod streams;
pub mod telemetry;
mod tick;
mod trim;

pub use self::archive::Archive;
pub use self::connection::{Log, LogConfig, servers};
pub use self::direct::Bounds;
pub use self::error::LogError;
pub use self::inspect::StreamLook;
pub use self::leases::{Lease, LeaseEnd, LeaseOptions, Leases, held, role};
pub use self::live::{Hurried, LiveBatch, LiveFeed, LiveItem, LiveStart};
pub use self::outcomes::OutcomeWrite;
pub use self::policies::Policies;
pub use self::publisher::{Answer, Claimed, Full, Overloaded, PUBLISHER_QUEUE_BYTES_MAX, Publisher, Waiter};
pub use self::reader::{MESSAGES_MAX, PacedReader, Reader, ReaderOptions};
pub use self::signals::{SignalFeed, SignalSender};
pub use self::space::{FREE_SHARE_MIN, OUTCOME_GROWTH_MAX, Room, UNDECIDED_SHARE_MAX};
pub use self::stored::Stored;
pub use self::streams::{LogId, StreamBytes};
pub use self::trim::{COMMANDS_HELD, COMMANDS_KEPT};
