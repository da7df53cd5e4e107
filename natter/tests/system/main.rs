//! Tests over real servers: NATS and Redis are started per test, ClickHouse and S3 once for all.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod as_of;
mod audit;
mod backends;
mod backup;
mod bad_input;
mod bench;
mod conformance;
mod doctor;
mod engine;
mod explain;
mod gateway;
mod generator;
mod guide;
mod history;
mod history_view;
mod import;
mod log;
mod model;
mod moderation;
mod observed;
mod paging;
mod privileges;
mod process;
mod processing;
mod raw_http;
mod raw_socket;
mod roles;
mod servers;
mod shown;
mod soak;
mod sql;
mod tenants;
mod up;
mod views;
mod what_if;
