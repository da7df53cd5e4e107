//! The vocabulary: ids, names, commands, outcomes, events, wire frames, codec, subjects and limits.
//!
//! Pure: no I/O, no async, no clock. What is written to the log ([`command`], [`outcome`], [`codec`]) and what
//! clients see ([`wire`]) are separate types with explicit conversions between them, because bytes in the log are
//! for ever and JSON is not.

pub mod codec;
pub mod command;
pub mod error;
pub mod event;
pub mod evidence;
pub mod id;
pub mod limits;
pub mod names;
pub mod outcome;
pub mod policy;
pub mod position;
pub mod random;
pub mod signal;
pub mod slot;
pub mod subjects;
pub mod wire;
