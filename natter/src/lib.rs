//! The process: one binary, a subcommand per role; config, telemetry, `up`.

pub mod backends;
pub mod config;
pub mod engine;
pub mod import;
pub mod running;
pub mod telemetry;
