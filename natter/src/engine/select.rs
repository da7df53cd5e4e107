//! Everything but inserts: the engine's thread sends the result in pieces, and stops when nobody reads them.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::compressed;
use super::errors::{EngineError, code};
use super::fence;
use super::formats::{self, Streaming};
use super::library::{Connection, Engine};
use super::limits;
use super::native;
use super::results::{Progress, QueryResult};
use super::session::Session;
use super::workers::Workers;

/// Pieces of a result between the engine and the socket; each is a block of some ten thousand rows.
const PIECES_MAX: usize = 2;
/// How long a client may leave a result unread before its query is cancelled (ClickHouse's `http_send_timeout`).
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// A result on its way to the client.
#[derive(Debug)]
pub enum Piece {
    Rows(Bytes),
    /// The last piece: all went well.
    Done(Progress),
    /// The last piece: the query failed, perhaps after rows were sent.
    Failed(EngineError),
}

/// A statement and how its result is wanted.
#[derive(Debug, Clone)]
pub struct Query {
    pub sql: Bytes,
    pub format: String,
    /// The statement is a select, whose result may come in parts.
    pub select: bool,
    pub compress: bool,
    /// The revision of the Native format; 0: as the library writes it, in any format.
    pub revision: u64,
    pub session: Session,
}

/// Starts a query and returns the pieces of its result.
///
/// # Errors
/// No free thread.
pub async fn start(workers: &Workers, query: Query) -> Result<mpsc::Receiver<Piece>, EngineError> {
    let (pieces, result) = mpsc::channel(PIECES_MAX);
    let most = query.session.role.result_bytes_max().unwrap_or(u64::MAX);
    let (runtime, left) = (Handle::current(), Cell::new(most));
    let sink = Sink { pieces, runtime, compress: query.compress, revision: query.revision, left };
    let role = query.session.role.clone();
    let work = move |engine: &Engine| {
        let is_tenants = query.session.role.tenant().is_some();
        let last = match run(engine, query, &sink) {
            // Other tenants' rows are among those that were read.
            Ok(progress) if is_tenants => Piece::Done(progress.of_the_result()),
            Err(error) if is_tenants => Piece::Failed(fence::told(error)),
            Ok(progress) => Piece::Done(progress),
            Err(error) => Piece::Failed(error),
        };
        if sink.send(last).is_err() {
            tracing::debug!("the client of a query went away");
        }
    };
    workers.start(&role, work).await?;
    Ok(result)
}

fn run(engine: &Engine, mut query: Query, sink: &Sink) -> Result<Progress, EngineError> {
    // What is said of settings depends on what may be changed, so it is looked at first.
    let mentions_settings = query.session.role.is_limited() && fence::mentions_settings(&query.sql);
    let mut connection =
        if mentions_settings { query.session.open_to_changes(engine)? } else { query.session.open(engine)? };
    let analysis = connection.analyse(&query.sql);
    if analysis.statements > 1 {
        return Err(EngineError::new(
            code::SYNTAX_ERROR,
            "SYNTAX_ERROR",
            "Syntax error: Multi-statements are not allowed",
        ));
    }
    // What cannot be parsed is refused by the engine, in words that say why.
    if query.session.read_only && analysis.statements == 1 && !analysis.only_reads {
        return Err(EngineError::read_only());
    }
    if query.session.role.is_limited() {
        limits::check(&mut connection, &query.sql, &query.session.named)?;
    }
    if query.session.role.tenant().is_some() {
        query.sql = fence::check(&mut connection, &query.sql, &query.session.named, &query.session.views)?.into();
    }
    if mentions_settings {
        let shows = fence::shows_settings(&mut connection, &query.sql, &query.session.named)?;
        query.session.hold(&mut connection, shows)?;
    }
    if query.select && formats::streaming(&query.format) != Streaming::Whole {
        match run_in_parts(&mut connection, &query, sink) {
            Err(error) if error.is_not_streamable() => {}
            answered => return answered,
        }
    }
    let QueryResult { bytes, progress } = connection.query(&query.sql, &query.format, &query.session.named)?;
    sink.rows(bytes)?;
    Ok(progress)
}

fn run_in_parts(connection: &mut Connection<'_>, query: &Query, sink: &Sink) -> Result<Progress, EngineError> {
    let mut stream = connection.select(&query.sql, &query.format, &query.session.named)?;
    let (mut total, mut first) = (Progress::default(), true);
    while let Some(QueryResult { mut bytes, progress }) = stream.fetch()? {
        if !first && formats::streaming(&query.format) == Streaming::PartsWithHeader {
            let header = formats::header_length(&bytes)
                .ok_or_else(|| EngineError::internal("a part of a result has no header"))?;
            bytes.drain(..header);
        }
        first = false;
        total = total + progress;
        sink.rows(bytes)?;
    }
    Ok(total)
}

/// Where the engine's thread puts a result.
struct Sink {
    pieces: mpsc::Sender<Piece>,
    runtime: Handle,
    compress: bool,
    revision: u64,
    /// Bytes that the result may still have. The engine's own limit counts a column that is the same in every row once.
    left: Cell<u64>,
}

impl Sink {
    fn rows(&self, bytes: Vec<u8>) -> Result<(), EngineError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let left = self.left.get().checked_sub(bytes.len() as u64).ok_or_else(|| {
            EngineError::new(
                code::TOO_MANY_ROWS_OR_BYTES,
                "TOO_MANY_ROWS_OR_BYTES",
                "Limit for result exceeded: it has more bytes than the quota of this analyst allows",
            )
        })?;
        self.left.set(left);
        let bytes = native::revised(bytes, self.revision)?;
        self.send(Piece::Rows(if self.compress { compressed::compress(&bytes).into() } else { bytes.into() }))
    }

    fn send(&self, piece: Piece) -> Result<(), EngineError> {
        let gone = |text| EngineError::new(code::SOCKET_TIMEOUT, "SOCKET_TIMEOUT", text);
        // The timer has to be made within the runtime.
        match self.runtime.block_on(async { tokio::time::timeout(UNREAD_MAX, self.pieces.send(piece)).await }) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone("the client went away")),
            Err(_) => Err(gone("the client did not read its result")),
        }
    }
}
