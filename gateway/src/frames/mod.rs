//! WebSocket frames (RFC 6455) as bytes: [`read`] takes what clients send apart and holds the limits, [`write`] puts
//! together what they get. Pure: bytes in, frames out.
//!
//! The reader is our own because fastwebsockets' cannot be made to hold the limits: it joins fragments without a total
//! limit, takes unmasked frames and long control frames, and keeps 8 KiB for every idle connection.

pub mod read;
pub mod write;
