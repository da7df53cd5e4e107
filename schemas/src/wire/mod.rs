//! What clients see: JSON. [`client`] parses what they send, [`server`] is what they get, [`reads`] what HTTP answers.

pub mod client;
pub mod reads;
pub mod server;
pub mod times;
