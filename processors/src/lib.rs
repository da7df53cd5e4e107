//! The decisions: what becomes of every command.
//!
//! [`decide`] is pure. Around it, the [`overlay`] keeps the facts of a partition, [`policy`] its tenants' rules, and the
//! [`worker`] reads commands, decides them in order and writes outcomes. [`replay`] decides a log again and compares.
//! What they need of the outside is in [`ports`]; [`shell`] gives it on the real servers, and [`role`] runs a worker for
//! each partition whose lease this process holds.

pub mod decide;
pub mod error;
pub mod filter;
#[cfg(test)]
mod fuzz;
pub mod overlay;
pub mod policy;
pub mod ports;
pub mod replay;
pub mod role;
pub mod shell;
#[cfg(test)]
mod simulation;
pub mod telemetry;
pub mod worker;
