//! `natter audit` is proved by mutation: whatever is damaged in a store, it names exactly that; and a system that works is
//! clean, also while it works.

mod history;
mod model;
mod redis;
mod running;
mod streams;
pub mod world;
