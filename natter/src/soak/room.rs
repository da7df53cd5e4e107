//! Takes a partition's streams the room that they have left, and gives it back: as `natter setup` does with a larger
//! `log.command_bytes_max` and `log.outcome_bytes_max`.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::{self, stream::Config as Stream};
use natter_nats::backoff::until_there;
use natter_schemas::subjects::{command_stream, outcome_stream};
use tokio::time::timeout;

use crate::backends::{nats_connect, nats_connect_options};
use crate::config::{Config, Secret};

/// So much still fits: some batches, so that the broker refuses as well, before the gateways have noticed.
const LEFT_BYTES: i64 = 64 << 10;
/// The room comes back as soon as NATS takes it.
const BACK_MAX: Duration = Duration::from_secs(60);

/// The streams of a partition without room.
pub struct Cramped {
    jetstream: jetstream::Context,
    /// As they were.
    streams: Vec<Stream>,
}

impl Cramped {
    /// Takes the room.
    ///
    /// # Errors
    /// NATS does not answer, or refuses.
    pub async fn take(config: &Config, partition: u16) -> anyhow::Result<Self> {
        let url = config.log.url.as_ref().map(Secret::expose).context("no nats")?;
        let client = nats_connect(url, nats_connect_options(url)?).await?;
        let mut cramped = Self { jetstream: jetstream::new(client), streams: Vec::new() };
        for name in [command_stream(partition), outcome_stream(partition)] {
            if let Err(error) = cramped.take_of(&name).await {
                cramped.give_back().await?;
                return Err(error.context(format!("cannot fill {name}")));
            }
        }
        Ok(cramped)
    }

    async fn take_of(&mut self, name: &str) -> anyhow::Result<()> {
        let found = self.jetstream.get_stream(name).await?.get_info().await?;
        let bytes = i64::try_from(found.state.bytes)?;
        self.streams.push(found.config.clone());
        self.jetstream.update_stream(Stream { max_bytes: bytes + LEFT_BYTES, ..found.config }).await?;
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// NATS has not taken it in time.
    pub async fn give_back(self) -> anyhow::Result<()> {
        for stream in &self.streams {
            let given = until_there("room in the log", |_| true, || self.jetstream.update_stream(stream));
            timeout(BACK_MAX, given).await.context("nats gives no room")??;
        }
        Ok(())
    }
}
