//! Replicas of the streams, compared with each other: a cluster that lost or changed what it acknowledged may show it in one
//! replica only.
//!
//! A server answers a direct get from its own replica where it has one. So each server is asked for all of each stream, and
//! what it says is compared, block by block, with what the first one said.

use std::time::Duration;

use anyhow::Context;
use async_nats::ServerAddr;
use natter_nats::backoff::Backoff;
use natter_nats::{Log, LogConfig, Stored};
use natter_schemas::subjects::{command_stream, outcome_stream};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::report::{Differences, Kind, Store};

/// Messages asked for at once.
const MESSAGES_AT_ONCE: u64 = 256;
/// A replica that has less than the others for so long has lost it.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(30);

/// The servers that hold the log, each asked by itself.
pub(super) struct Replicas(Vec<(String, Log)>);

impl Replicas {
    /// The servers that `config` names, those that they tell of where the streams have replicas, and `others`.
    pub(super) async fn connect(log: &Log, config: &LogConfig, others: &[String]) -> anyhow::Result<Self> {
        let mut urls: Vec<String> = Vec::new();
        if config.replicas > 1 {
            urls.extend(config.url.split(',').map(|url| url.trim().to_owned()));
            let told = log.client().server_info().connect_urls;
            let first = urls[0].clone();
            urls.extend(told.iter().filter_map(|address| like(&first, address)));
        } else if !others.is_empty() {
            urls.push(config.url.clone());
        }
        urls.extend(others.iter().cloned());
        let mut servers: Vec<(String, Log)> = Vec::new();
        for url in urls {
            let one = LogConfig { url, ..config.clone() };
            let log = Log::connect(&one).await.context("cannot reach a server of the cluster")?;
            let name = log.client().server_info().server_id;
            if servers.iter().all(|(known, _)| *known != name) {
                servers.push((name, log));
            }
        }
        Ok(Self(servers))
    }

    /// How many servers are compared.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Compares all of a partition's streams, as far as they reach now.
    pub(super) async fn compare(&self, partition: u16, found: &mut Differences) -> anyhow::Result<()> {
        let [(_, first), others @ ..] = self.0.as_slice() else { return Ok(()) };
        if let Some((other, log)) = others.iter().find(|(_, log)| log.id() != first.id()) {
            let detail = format!("it has log {}, the others have {}", log.id(), first.id());
            found.add(Store::Log, Kind::Foreign, format!("server {other}"), detail);
            return Ok(());
        }
        for stream in [outcome_stream(partition), command_stream(partition)] {
            self.stream(&stream, found).await?;
        }
        Ok(())
    }

    async fn stream(&self, stream: &str, found: &mut Differences) -> anyhow::Result<()> {
        let [(one, first), others @ ..] = self.0.as_slice() else { return Ok(()) };
        let bounds = first.bounds(stream).await?;
        let mut next = bounds.first;
        while next <= bounds.last {
            let upto = bounds.last.min(next + MESSAGES_AT_ONCE - 1);
            let wanted = block(first, stream, next, upto).await?;
            for (other, log) in others {
                let there = block(log, stream, next, upto).await?;
                if let Some((sequence, how)) = difference(&wanted, &there) {
                    if sequence < first.bounds(stream).await?.first {
                        // Trimmed while this looked.
                        continue;
                    }
                    let detail = format!("server {other} {how}, unlike server {one}");
                    found.add(Store::Log, Kind::Replicas, format!("{stream}:{sequence}"), detail);
                    return Ok(());
                }
            }
            next = upto + 1;
        }
        Ok(())
    }
}

/// Another server's URL, with the user of this one.
fn like(url: &str, address: &str) -> Option<String> {
    let known: ServerAddr = url.parse().ok()?;
    let other: ServerAddr = address.parse().ok()?;
    let user = match (known.username(), known.password()) {
        (Some(user), password) => format!("{user}:{}@", password.unwrap_or_default()),
        _ => String::new(),
    };
    Some(format!("nats://{user}{}:{}", other.host(), other.port()))
}

/// A message as it is compared: sequence and digest.
type Message = (u64, [u8; 32]);

/// The messages from `from` to `upto` as a server has them. One that has fewer is asked again for a while: it may lag.
async fn block(log: &Log, stream: &str, from: u64, upto: u64) -> anyhow::Result<Vec<Message>> {
    let deadline = Instant::now() + CATCHES_UP_WITHIN;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let next = messages.last().map_or(from, |(sequence, _)| sequence + 1);
        let some = log.get_batch(stream, next, upto + 1 - next).await?;
        let came = !some.is_empty();
        messages.extend(some.iter().filter(|stored| stored.sequence <= upto).map(digest));
        if messages.last().is_some_and(|(sequence, _)| *sequence == upto) || Instant::now() >= deadline {
            return Ok(messages);
        }
        if !came {
            backoff.wait().await;
        }
    }
}

fn digest(stored: &Stored) -> Message {
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {:?}\n", stored.lease, stored.records));
    hash.update(&stored.payload);
    (stored.sequence, hash.finalize().into())
}

/// Where two servers part, and how the other one does.
fn difference(wanted: &[Message], there: &[Message]) -> Option<(u64, &'static str)> {
    let mut others = there.iter();
    for (sequence, digest) in wanted {
        match others.next() {
            Some((other, same)) if other == sequence && same == digest => {}
            Some((other, _)) if other == sequence => return Some((*sequence, "has something else")),
            Some((other, _)) if other < sequence => return Some((*other, "has what is not there")),
            _ => return Some((*sequence, "does not have it")),
        }
    }
    others.next().map(|(sequence, _)| (*sequence, "has what is not there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_that_differs_is_named() {
        let of = |list: &[(u64, u8)]| -> Vec<Message> { list.iter().map(|(at, byte)| (*at, [*byte; 32])).collect() };
        let whole = of(&[(1, 1), (2, 2), (3, 3)]);
        assert_eq!(difference(&whole, &whole), None);
        assert_eq!(difference(&whole, &of(&[(1, 1), (2, 9), (3, 3)])), Some((2, "has something else")));
        assert_eq!(difference(&whole, &of(&[(1, 1), (3, 3)])), Some((2, "does not have it")));
        assert_eq!(difference(&whole, &of(&[(1, 1), (2, 2)])), Some((3, "does not have it")));
        assert_eq!(difference(&of(&[(1, 1), (3, 3)]), &whole), Some((2, "has what is not there")));
    }

    #[test]
    fn other_servers_are_reached_by_the_same_user() {
        let other = like("nats://admin:secret@10.0.0.1:4222", "10.0.0.2:4333");
        assert_eq!(other.as_deref(), Some("nats://admin:secret@10.0.0.2:4333"));
    }
}
