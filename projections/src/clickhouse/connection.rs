//! The connection and the names of the databases.

use std::fmt;
use std::time::Duration;

use clickhouse::{Client, Compression};
use tokio::time::timeout;

use crate::error::ViewError;

/// Longer than any query of natter's own takes; a server that hangs must not hang a partition.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where the history is.
#[derive(Clone)]
pub struct ClickHouseConfig {
    /// `http://host:port`
    pub url: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// The analysts' database; the tables lie in `<database>_store`.
    pub database: String,
}

impl fmt::Debug for ClickHouseConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClickHouseConfig").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A connection; cheap to clone.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    database: String,
}

impl ClickHouse {
    /// A connection with this configuration. Nothing is asked yet.
    pub fn new(config: &ClickHouseConfig) -> Self {
        let client = Client::default()
            .with_url(&config.url)
            .with_user(&config.user)
            .with_password(&config.password)
            .with_compression(Compression::None);
        Self { client, database: config.database.clone() }
    }

    /// The crate's client.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The analysts' database.
    pub fn views(&self) -> &str {
        &self.database
    }

    /// A table's full name, such as `natter_store.events`.
    pub fn table(&self, name: &str) -> String {
        format!("{}_store.{name}", self.database)
    }

    /// Asks whether the server is there.
    ///
    /// # Errors
    /// Transient.
    pub async fn ping(&self) -> Result<(), ViewError> {
        within("asking ClickHouse for 1", self.client.query("SELECT 1").fetch_one::<u8>()).await.map(drop)
    }

    /// Runs a statement that answers nothing.
    ///
    /// # Errors
    /// Transient, with ClickHouse's words.
    pub async fn execute(&self, doing: &str, sql: &str) -> Result<(), ViewError> {
        // The crate reads `?` as a parameter.
        within(doing, self.client.query(&sql.replace('?', "??")).execute()).await
    }
}

/// The answer, within bounded time.
pub async fn within<T>(
    doing: &str,
    asked: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, ViewError> {
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ViewError::transient(doing, error)),
        Err(_) => Err(ViewError::transient(doing, format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
    }
}
