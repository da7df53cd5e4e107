//! The views: read models derived from events. Each is one file with its keys, its fold and its reader, and everything
//! here can be deleted and rebuilt from the log.

pub mod archive;
pub mod clickhouse;
pub mod error;
pub mod facts;
#[cfg(test)]
mod golden;
pub mod objects;
pub mod reads;
pub mod redis;
pub mod runner;
mod shared;
pub mod telemetry;
pub mod watermark;
