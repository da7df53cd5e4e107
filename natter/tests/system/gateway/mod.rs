//! The gateway over real servers: sessions and HTTP, through the whole way of a message.

pub mod client;
mod early;
mod evidence;
mod http;
mod sessions;
pub mod world;
