//! The connection and the names of the databases.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clickhouse::{Client, Compression};
use tokio::time::timeout;

use super::generations::{Filled, Generation, generations, stores};
use super::pointer::Pointer;
use crate::error::ViewError;

/// Longer than any read that somebody waits for takes. A history that hangs must cost a reader no more than this, and a
/// processor with a resend in its batch no more than twice this.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// Inserts, changes of the schema and looks over a whole table: nobody waits for these but a projector.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// Where the history is.
#[derive(Clone)]
pub struct ClickHouseConfig {
    /// `http://host:port`
    pub url: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// The analysts' database; the tables lie in `<database>_store`, or `<database>_store_2`, by turns.
    pub database: String,
}

impl fmt::Debug for ClickHouseConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClickHouseConfig")
            .field("url", &self.url)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A connection; cheap to clone. It is of one generation of the tables, or of whichever is live: who asks several
/// questions that must fit together takes [`ClickHouse::live`] first and asks them of that.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    database: String,
    of: Of,
}

#[derive(Clone)]
enum Of {
    Live(Arc<Pointer>),
    One(Filled),
}

impl ClickHouse {
    /// A connection with this configuration. Nothing is asked yet.
    pub fn new(config: &ClickHouseConfig) -> Self {
        let client = Client::default()
            .with_url(&config.url)
            .with_user(&config.user)
            .with_password(&config.password)
            .with_compression(Compression::None);
        Self { client, database: config.database.clone(), of: Of::Live(Arc::default()) }
    }

    /// The generation that is live now, and stays this one: what is read from it fits together, also when another one takes
    /// its place meanwhile. Asks the server at most once a second.
    ///
    /// # Errors
    /// Transient.
    pub async fn live(&self) -> Result<Self, ViewError> {
        let Of::Live(pointer) = &self.of else { return Ok(self.clone()) };
        if let Some(live) = pointer.serving() {
            return Ok(self.of(live));
        }
        let live = generations(self).await?.live;
        pointer.found(live);
        Ok(self.of(live))
    }

    /// This generation, whichever is live.
    pub(super) fn of(&self, one: Filled) -> Self {
        Self { of: Of::One(one), ..self.clone() }
    }

    /// Which generation this is; of the live one, as far as it is known.
    pub fn generation(&self) -> Generation {
        match &self.of {
            Of::Live(pointer) => pointer.known(),
            Of::One(one) => one.generation,
        }
    }

    /// The version of the fold that filled this generation; of the live one it is not known before [`ClickHouse::live`].
    pub fn filled_by(&self) -> Option<u32> {
        match &self.of {
            Of::Live(_) => None,
            Of::One(one) => Some(one.fold),
        }
    }

    /// The crate's client.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The analysts' database.
    pub fn views(&self) -> &str {
        &self.database
    }

    /// The database of the tables.
    pub fn store(&self) -> String {
        self.generation().store(&self.database)
    }

    /// A table's full name, such as `natter_store.events`.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.store())
    }

    /// What to do when the history is of another log.
    pub fn mend(&self) -> String {
        let (views, [store, other]) = (self.views(), stores(self.views()));
        format!(
            "drop the databases {views} and {store} in ClickHouse (and {other}, where there is one), run `natter setup`, and start the projector again; it fills them from the log"
        )
    }

    /// Asks whether the server is there.
    ///
    /// # Errors
    /// Transient.
    pub async fn ping(&self) -> Result<(), ViewError> {
        read("asking ClickHouse for 1", self.client.query("SELECT 1").fetch_one::<u8>()).await.map(drop)
    }

    /// Runs a statement that answers nothing.
    ///
    /// # Errors
    /// Transient, with ClickHouse's words.
    pub(super) async fn execute(&self, doing: &str, sql: &str) -> Result<(), ViewError> {
        // The crate reads `?` as a parameter.
        write(doing, self.client.query(&sql.replace('?', "??")).execute()).await
    }
}

/// A look at everything that is there, beside the work.
const LOOK_WITHIN: Duration = Duration::from_mins(10);

/// The answer to what somebody waits for.
pub(super) async fn read<T>(
    doing: &str,
    asked: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, ViewError> {
    within(READ_WITHIN, doing, asked).await
}

/// The answer to what may take its time.
pub(super) async fn write<T>(
    doing: &str,
    asked: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, ViewError> {
    within(WRITE_WITHIN, doing, asked).await
}

/// The answer to what takes the longer the more there is.
pub(super) async fn look<T>(
    doing: &str,
    asked: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, ViewError> {
    within(LOOK_WITHIN, doing, asked).await
}

async fn within<T>(
    patience: Duration,
    doing: &str,
    asked: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, ViewError> {
    match timeout(patience, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ViewError::transient(doing, error)),
        Err(_) => Err(ViewError::transient(doing, format_args!("no answer within {} s", patience.as_secs()))),
    }
}
