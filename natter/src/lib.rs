//! The process: one binary, a subcommand per role; config, telemetry, `up`.

pub mod answers;
pub mod audit;
pub mod backends;
pub mod bench;
pub mod cli;
pub mod config;
mod connect;
pub mod doctor;
pub mod engine;
pub mod explain;
mod foreign_pages;
pub mod import;
pub mod open_files;
mod policy;
mod private_http;
mod readiness;
pub mod roles;
mod running;
pub mod service;
pub mod sizes;
pub mod soak;
pub mod sql;
mod stop;
pub mod telemetry;
mod tenants;
pub mod up;
pub mod what_if;
