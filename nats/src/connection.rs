//! The connection to the broker, and the log behind it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use natter_schemas::limits::PARTITIONS_MAX;
use tokio::sync::watch;

use crate::archive::Archive;
use crate::error::LogError;
use crate::streams::{self, LogId, StreamBytes};
use crate::telemetry;

/// How a process reaches the log, and what it expects of it.
#[derive(Clone)]
pub struct LogConfig {
    /// `nats://user:password@host:port`, several separated by commas.
    pub url: String,
    /// The connection's name in the broker's monitoring, such as `natter gateway`.
    pub name: String,
    /// Partitions: a power of two, the same everywhere and for the log's whole life.
    pub partitions: u16,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// How large the streams may grow.
    pub bytes: StreamBytes,
}

impl LogConfig {
    /// One broker at `url` with `partitions`, single copies and small streams.
    pub fn new(url: impl Into<String>, partitions: u16) -> Self {
        Self { url: url.into(), name: "natter".into(), partitions, replicas: 1, bytes: StreamBytes::default() }
    }

    fn check(&self) -> Result<(), LogError> {
        if !self.partitions.is_power_of_two() || self.partitions > PARTITIONS_MAX {
            let refused = format!("{} partitions: a power of two up to {PARTITIONS_MAX} is needed", self.partitions);
            return Err(LogError::Mismatch(refused));
        }
        if matches!(self.replicas, 1 | 3 | 5) {
            Ok(())
        } else {
            Err(LogError::Mismatch(format!("{} replicas: 1, 3 or 5 are possible", self.replicas)))
        }
    }
}

impl fmt::Debug for LogConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        formatter
            .debug_struct("LogConfig")
            .field("url", &"…")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .field("replicas", &self.replicas)
            .field("bytes", &self.bytes)
            .finish()
    }
}

/// The log: connected, and checked to be the one that is expected. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    link: Link,
    partitions: u16,
    replicas: usize,
    id: LogId,
    archive: Option<Arc<dyn Archive>>,
}

impl Log {
    /// Connects and checks the log. Streams that are missing are made by [`Log::create`] only.
    ///
    /// # Errors
    /// [`LogError::Transient`]: no broker there, or no log yet. [`LogError::Mismatch`]: another log than expected, or a
    /// broker that refuses the user.
    pub async fn connect(config: &LogConfig) -> Result<Self, LogError> {
        config.check()?;
        let link = Link::connect(config).await?;
        let id = streams::check(&link, config).await?;
        Ok(Self::new(link, config, id))
    }

    /// Connects, makes what is missing of the log, and checks it. Several processes may do so at once.
    ///
    /// # Errors
    /// As [`Log::connect`].
    pub async fn create(config: &LogConfig) -> Result<Self, LogError> {
        config.check()?;
        config.bytes.check()?;
        let link = Link::connect(config).await?;
        let id = streams::make(&link, config).await?;
        Ok(Self::new(link, config, id))
    }

    fn new(link: Link, config: &LogConfig, id: LogId) -> Self {
        Self { link, partitions: config.partitions, replicas: config.replicas, id, archive: None }
    }

    /// The same log, read through `archive` where its streams were trimmed.
    #[must_use]
    pub fn with_archive(self, archive: Arc<dyn Archive>) -> Self {
        Self { archive: Some(archive), ..self }
    }

    /// Partitions of the log.
    pub const fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Copies of each stream.
    pub const fn replicas(&self) -> usize {
        self.replicas
    }

    /// The log's id: a watermark of another log is not a watermark.
    pub const fn id(&self) -> &LogId {
        &self.id
    }

    /// The client.
    pub const fn client(&self) -> &Client {
        &self.link.client
    }

    /// JetStream.
    pub const fn jetstream(&self) -> &Context {
        &self.link.jetstream
    }

    /// Whether the broker is connected at the moment.
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// Changes with every connection made: what was asked before may never be answered.
    pub fn connects(&self) -> watch::Receiver<u64> {
        self.link.connects.clone()
    }

    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn archive(&self) -> Option<&dyn Archive> {
        self.archive.as_deref()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Log")
            .field("id", &self.id)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// The connection alone.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) connects: watch::Receiver<u64>,
}

/// Messages that wait in one subscription before the client library drops some.
pub(crate) const SUBSCRIPTION_CAPACITY: usize = 8192;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A link that is dead without a word is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const RECONNECT_DELAY_MS_MAX: usize = 500;

impl Link {
    async fn connect(config: &LogConfig) -> Result<Self, LogError> {
        let servers = servers(&config.url)?;
        let (connected, connects) = watch::channel(0);
        let connected = Arc::new(connected);
        let mut options = ConnectOptions::new()
            .name(&config.name)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .connection_timeout(REQUEST_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(u64::try_from((attempts * 50).min(RECONNECT_DELAY_MS_MAX)).unwrap_or(500))
            })
            .event_callback(move |event| {
                let connected = Arc::clone(&connected);
                async move { heard(&event, &connected) }
            });
        let named = servers.iter().find_map(|server| Some((server.username()?, server.password().unwrap_or_default())));
        if let Some((user, password)) = named {
            // The client library does not take them from the URL by itself. Each user may listen to its own answers only.
            options = options.user_and_password(user.to_owned(), password.to_owned());
            options = options.custom_inbox_prefix(inbox_prefix(user));
        }
        let client = options.connect(servers).await.map_err(|error| connect_error(&error))?;
        let jetstream = jetstream::new(client.clone());
        Ok(Self { client, jetstream, connects })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

/// A broker that is away may come; one that refuses the user will go on to.
fn connect_error(error: &ConnectError) -> LogError {
    let text = format!("cannot connect to nats: {error}");
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::ServerParse => {
            LogError::Mismatch(text)
        }
        _ => LogError::Transient(text),
    }
}

/// Where a user listens to answers: named in the user's permissions.
pub(crate) fn inbox_prefix(user: &str) -> String {
    format!("_INBOX_{user}")
}

/// The servers of a URL, several separated by commas, each with its user and password.
///
/// # Errors
/// [`LogError::Mismatch`]: one of them cannot be read. The URL is not repeated: it holds a password.
pub fn servers(url: &str) -> Result<Vec<ServerAddr>, LogError> {
    let parsed: Result<Vec<ServerAddr>, _> = url.split(',').map(|one| one.trim().parse()).collect();
    parsed.map_err(|error| LogError::Mismatch(format!("the url of nats cannot be read: {error}")))
}

fn heard(event: &Event, connected: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            metrics::counter!(telemetry::CONNECTS).increment(1);
            connected.send_modify(|count| *count += 1);
            tracing::debug!("connected to nats");
        }
        Event::SlowConsumer(subscription) => {
            metrics::counter!(telemetry::SLOW_CONSUMER).increment(1);
            tracing::warn!(subscription, "a subscription is full: messages were dropped and will be fetched again");
        }
        Event::Disconnected | Event::LameDuckMode | Event::Closed | Event::Draining => {
            tracing::info!(%event, "nats connection");
        }
        Event::ServerError(error) => tracing::warn!(%error, "nats refuses"),
        Event::ClientError(error) => tracing::warn!(%error, "nats client"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_configurations_are_refused() {
        for (partitions, replicas, text) in
            [(3, 1, "3 partitions"), (0, 1, "0 partitions"), (2048, 1, "2048"), (4, 2, "2 replicas")]
        {
            let config = LogConfig { replicas, ..LogConfig::new("nats://localhost", partitions) };
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(LogConfig::new("nats://localhost", 4).check().is_ok());
    }

    #[test]
    fn passwords_are_not_shown() {
        let config = LogConfig::new("nats://natter:secret@localhost:1", 4);
        assert!(!format!("{config:?}").contains("secret"));
        let error = servers("nats://natter:secret@:::").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
