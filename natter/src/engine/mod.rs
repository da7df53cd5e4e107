//! ClickHouse as a library behind its own HTTP interface.
