//! ClickHouse's HTTP interface: `/` with `query=` and a body, `/ping`, `/replicas_status`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query as UrlQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};

use super::access::{AccessControl, Credentials, Role};
use super::answer::{Frame, random_hex};
use super::body::RequestBody;
use super::errors::{EngineError, code};
use super::policies::RowPolicies;
use super::request::Parameters;
use super::select::{self, Query};
use super::session::Session;
use super::statement::{self, Insert, Statement};
use super::workers::Workers;
use super::{formats, insert, multipart, native};
use crate::foreign_pages;

/// The largest statement without the rows of an insert.
const QUERY_BYTES_MAX: usize = 16 << 20;
const DEFAULT_FORMAT: &str = "TabSeparated";

/// What every request needs.
pub struct Service {
    pub workers: Workers,
    pub access: AccessControl,
    pub policies: RowPolicies,
    /// The engine's version.
    pub version: String,
}

/// The interface's routes.
pub fn router(service: Arc<Service>) -> Router {
    let router = Router::new()
        .route("/ping", get(ok))
        .route("/replicas_status", get(ok))
        .route("/", get(answer).post(answer))
        .with_state(service);
    foreign_pages::refused(router, true)
}

async fn ok() -> &'static str {
    "Ok.\n"
}

async fn answer(
    State(service): State<Arc<Service>>,
    UrlQuery(pairs): UrlQuery<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let mut frame =
        Frame { query_id: random_hex::<16>(), version: service.version.clone(), timezone: "UTC".to_owned() };
    let credentials = Credentials::find(request.headers(), &pairs);
    let role = match service.access.authenticate(&credentials) {
        Ok(role) => role,
        Err(error) => return refuse_access(&frame, &credentials, &error),
    };
    let parameters = match Parameters::read(pairs) {
        Ok(parameters) => parameters,
        Err(error) => return frame.failed(&error),
    };
    if let Some(query_id) = &parameters.query_id {
        frame.query_id.clone_from(query_id);
    }
    parameters.timezone().clone_into(&mut frame.timezone);
    let (head, body) = request.into_parts();
    let mut body = RequestBody::new(body, parameters.decompress);
    let asked = Asked { service: &service, frame: &frame, role, read_only: head.method != Method::POST };
    match asked.run(parameters, &head.headers, &mut body).await {
        Ok(response) => response,
        Err(error) => {
            body.drain().await;
            frame.failed(&error)
        }
    }
}

/// Who brings no credentials is asked for them; who brings wrong ones is refused.
fn refuse_access(frame: &Frame, credentials: &Credentials, error: &EngineError) -> Response {
    let mut response = frame.failed(error);
    if credentials.is_empty() {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ClickHouse\""));
    }
    response
}

/// One authenticated request.
struct Asked<'service> {
    service: &'service Service,
    frame: &'service Frame,
    role: Role,
    read_only: bool,
}

impl Asked<'_> {
    async fn run(
        &self,
        mut parameters: Parameters,
        headers: &HeaderMap,
        body: &mut RequestBody,
    ) -> Result<Response, EngineError> {
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if header(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(EngineError::new(
                code::NOT_IMPLEMENTED,
                "NOT_IMPLEMENTED",
                "a Content-Encoding is not supported: use decompress=1",
            ));
        }
        if let Some(boundary) = header(header::CONTENT_TYPE).and_then(multipart::boundary) {
            read_form(&mut parameters, body, &boundary).await?;
        }
        if let Some(format) = header(header::HeaderName::from_static("x-clickhouse-format")) {
            parameters.default_format.get_or_insert_with(|| format.to_owned());
        }
        if let Some(database) = header(header::HeaderName::from_static("x-clickhouse-database")) {
            parameters.database.get_or_insert_with(|| database.to_owned());
        }
        match read_text(parameters.query.as_deref(), body).await? {
            Text::Nothing if self.read_only => Ok(ok().await.into_response()),
            Text::Nothing => Err(EngineError::new(code::SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error: Empty query")),
            Text::Insert(insert) => {
                let session = self.session(&parameters, self.read_only)?;
                insert::run(&self.service.workers, session, insert, body)
                    .await
                    .map(|progress| self.frame.stored(&progress))
            }
            Text::Whole { sql, select } => self.query(parameters, sql, select).await,
        }
    }

    fn session(&self, parameters: &Parameters, read_only: bool) -> Result<Session, EngineError> {
        Session::new(parameters, &self.role, &self.service.policies, read_only)
    }

    async fn query(&self, mut parameters: Parameters, sql: Bytes, select: bool) -> Result<Response, EngineError> {
        let named = statement::output_format(&sql);
        let format = named.or_else(|| parameters.default_format.clone()).unwrap_or_else(|| DEFAULT_FORMAT.to_owned());
        let revision = if formats::is_native(&format) { parameters.revision } else { 0 };
        native::check(revision)?;
        if revision > 0 {
            for (name, value) in &native::SETTINGS {
                parameters.set(name, value);
            }
        }
        // Whoever may write does so by inserts; a statement that is none only reads.
        let session = self.session(&parameters, self.read_only || self.role.is_limited())?;
        let query = Query { sql, format: format.clone(), select, compress: parameters.compress, revision, session };
        let pieces = select::start(&self.service.workers, query).await?;
        self.frame.result(pieces, &format, parameters.compress, parameters.wait_end_of_query).await
    }
}

/// The text of a request, once enough of it was read to know what it is.
enum Text {
    Nothing,
    /// The rows are what is left in the body.
    Insert(Insert),
    Whole {
        sql: Bytes,
        select: bool,
    },
}

/// Joins `query=` and the body as ClickHouse does (with a line's end between them), reading only as much of the body as is needed.
async fn read_text(query: Option<&str>, body: &mut RequestBody) -> Result<Text, EngineError> {
    let mut text = BytesMut::new();
    if let Some(query) = query {
        text.extend_from_slice(query.as_bytes());
        text.extend_from_slice(b"\n");
    }
    // What stands in the URL is enough for most statements.
    let mut statement = statement::read_statement(&text, false);
    let mut complete = false;
    while statement.is_none() {
        match body.next().await? {
            Some(bytes) if text.len() + bytes.len() <= QUERY_BYTES_MAX => text.extend_from_slice(&bytes),
            Some(_) => {
                return Err(EngineError::new(
                    code::QUERY_IS_TOO_LARGE,
                    "QUERY_IS_TOO_LARGE",
                    "the query is larger than 16 MiB",
                ));
            }
            None => complete = true,
        }
        if complete || text.len() <= QUERY_BYTES_MAX {
            statement = statement::read_statement(&text, complete);
        }
    }
    let sql = text.freeze();
    match statement {
        Some(Statement::Insert(insert)) => {
            body.give_back(sql.slice(insert.rows_at..));
            Ok(Text::Insert(insert))
        }
        Some(Statement::ClientFile) => Err(EngineError::new(
            code::NOT_IMPLEMENTED,
            "NOT_IMPLEMENTED",
            "INTO OUTFILE and FROM INFILE work in clickhouse-client only",
        )),
        _ if sql.trim_ascii().is_empty() => Ok(Text::Nothing),
        Some(kind) => Ok(Text::Whole { sql, select: kind == Statement::Select }),
        None => Err(EngineError::internal("a complete text was not read")),
    }
}

/// Takes the query and its parameters out of a form.
async fn read_form(parameters: &mut Parameters, body: &mut RequestBody, boundary: &str) -> Result<(), EngineError> {
    let form = body.collect(QUERY_BYTES_MAX).await?;
    for (name, value) in multipart::parse(&form, boundary)? {
        let value = String::from_utf8(value).map_err(|_| {
            EngineError::new(code::INCORRECT_DATA, "INCORRECT_DATA", format!("the form's field {name} is not UTF-8"))
        })?;
        parameters.add(name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn text(query: Option<&str>, body: &'static [u8], step: usize) -> (Text, Bytes) {
        let pieces: Vec<std::io::Result<&[u8]>> = body.chunks(step).map(Ok).collect();
        let mut body = RequestBody::new(Body::from_stream(futures_util::stream::iter(pieces)), false);
        let text = read_text(query, &mut body).await.expect("text");
        (text, body.collect(1000).await.expect("rest"))
    }

    #[tokio::test]
    async fn an_insert_leaves_its_rows_in_the_body() {
        for (query, body) in [
            (Some("INSERT INTO t FORMAT RowBinary"), &b"\n\x01\x02'"[..]),
            (None, b"INSERT INTO t FORMAT RowBinary\n\n\x01\x02'"),
            (Some("INSERT INTO t"), b"FORMAT RowBinary\n\n\x01\x02'"),
        ] {
            for step in [1, 7, 1000] {
                let (text, rows) = text(query, body, step).await;
                assert!(
                    matches!(text, Text::Insert(insert) if insert.head == b"INSERT INTO t" && insert.format == "RowBinary")
                );
                assert_eq!(rows, &b"\n\x01\x02'"[..], "{query:?} in pieces of {step}");
            }
        }
    }

    #[tokio::test]
    async fn a_query_may_stand_in_the_url_and_in_the_body() {
        let whole = async |query, body| match text(query, body, 3).await.0 {
            Text::Whole { sql, select } => (String::from_utf8(sql.to_vec()).expect("text"), select),
            _ => panic!("no whole text"),
        };
        assert_eq!(whole(Some("SELECT 1"), b"").await, ("SELECT 1\n".to_owned(), true));
        assert_eq!(whole(Some("SELECT"), b"1").await, ("SELECT\n1".to_owned(), true));
        assert_eq!(whole(None, b"SHOW TABLES").await, ("SHOW TABLES".to_owned(), false));
        assert!(matches!(text(None, b" \n", 1).await.0, Text::Nothing));
    }
}
