//! The Redis views: what is hot. Their size grows with users, conversations and memberships, never with messages
//! (invariant 13).
//!
//! One file is one view: keys, fold, reader. All keys of partition `p` begin with `{p}:<generation>:`, so that a cluster
//! keeps them together and the next generation of the views can be built beside the live one; `{p}:watermark` is a hash
//! of the log id, the last applied sequence and the live generation (`generations.rs`). All views of a partition advance in one script
//! (`apply.lua`) that checks the watermark first and writes it last; readers get the watermark with what they read, in
//! one script. What is visible at a position is a function of the log up to it; what is not any more may still lie there.
//!
//! Facts (what decisions need) and views share the keys where they are the same thing.

pub mod acl;
pub mod addresses;
mod apply;
mod connection;
pub mod conversations;
mod facts;
pub(crate) mod fold;
pub mod generations;
pub mod inbox;
mod lines;
pub mod members;
pub mod messages;
pub mod mirror;
pub(crate) mod operation;
mod policies;
mod query;
mod refs;
mod runs;
pub mod users;
mod wait;
pub mod whole;

pub use apply::{RedisProjector, watermark};
pub use connection::Redis;
pub use facts::{Loaded, load};
pub use fold::FOLD_VERSION;
pub use wait::Waiting;
