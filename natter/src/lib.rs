//! The process: one binary, a subcommand per role; config, telemetry, `up`.

pub mod backends;
pub mod engine;
