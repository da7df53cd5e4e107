//! `INSERT`: rows go from the request's body to the engine as they arrive.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::access::Role;
use super::body::RequestBody;
use super::errors::EngineError;
use super::library::Engine;
use super::results::Progress;
use super::session::Session;
use super::statement::Insert;
use super::workers::Workers;

/// Pieces of a body between the socket and the engine. A piece is what the socket gave at once, or a decompressed block.
const PIECES_MAX: usize = 4;

enum Rows {
    Piece(Bytes),
    /// The body ended as it should. Without this the insert is cancelled.
    End,
}

/// Runs an insert to its end: the rows are stored when it answers.
///
/// # Errors
/// ClickHouse's own, a body that breaks off, no free thread.
pub async fn run(
    workers: &Workers,
    session: Session,
    insert: Insert,
    body: &mut RequestBody,
) -> Result<Progress, EngineError> {
    let may_insert = match &session.role {
        Role::Admin => !session.read_only,
        Role::Writer { databases } => {
            !session.read_only && databases.iter().any(|database| insert.is_plainly_into(database))
        }
        Role::Reader | Role::Analyst | Role::Tenant { .. } => false,
    };
    if !may_insert {
        return Err(EngineError::read_only());
    }
    let (rows, arrived) = mpsc::channel(PIECES_MAX);
    let (answer, answered) = oneshot::channel();
    let role = session.role.clone();
    let work = move |engine: &Engine| {
        let outcome = store(engine, &session, &insert, arrived);
        if answer.send(outcome).is_err() {
            tracing::debug!("the client of an insert went away");
        }
    };
    workers.start(&role, work).await?;
    // When the engine refuses the rows early, sending fails, and its answer says why.
    let sent = send(body, rows).await;
    let stored = answered
        .await
        .unwrap_or_else(|_| Err(EngineError::internal("the thread of an insert ended without an answer")));
    sent.and(stored)
}

async fn send(body: &mut RequestBody, rows: mpsc::Sender<Rows>) -> Result<(), EngineError> {
    while let Some(piece) = body.next().await? {
        if rows.send(Rows::Piece(piece)).await.is_err() {
            return Ok(());
        }
    }
    // A closed channel means that the answer is there already.
    rows.send(Rows::End).await.or(Ok(()))
}

fn store(
    engine: &Engine,
    session: &Session,
    insert: &Insert,
    mut arrived: mpsc::Receiver<Rows>,
) -> Result<Progress, EngineError> {
    let mut connection = session.open(engine)?;
    let mut stream = connection.insert(&insert.head, &insert.format, &session.named)?;
    loop {
        match arrived.blocking_recv() {
            Some(Rows::Piece(bytes)) => stream.append(&bytes)?,
            Some(Rows::End) => return stream.finish(),
            None => return Err(EngineError::internal("the insert was broken off by its client")),
        }
    }
}
