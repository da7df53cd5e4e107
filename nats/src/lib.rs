//! natter-nats
