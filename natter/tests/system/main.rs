//! Tests over real servers: NATS and Redis are started per test, ClickHouse and S3 once for all.

mod backends;
mod servers;
