//! Answers as ClickHouse gives them: its headers, its summaries, its way to fail after rows were sent.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::errors::EngineError;
use super::formats;
use super::results::Progress;
use super::select::Piece;

/// A result up to this size is answered as a whole, with a status that says how it ended and a summary.
const WHOLE_BYTES: usize = 1 << 20;
/// The same with `wait_end_of_query`; beyond it even that is sent as it comes.
const WHOLE_BYTES_MAX: usize = 64 << 20;

/// What is the same in all answers of one request.
#[derive(Debug, Clone)]
pub struct Frame {
    pub query_id: String,
    /// The engine's version, in error texts.
    pub version: String,
    pub timezone: String,
}

impl Frame {
    fn response(&self, status: StatusCode, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let own = [
            ("x-clickhouse-query-id", self.query_id.as_str()),
            ("x-clickhouse-server-display-name", "natter"),
            ("x-clickhouse-timezone", self.timezone.as_str()),
        ];
        for (name, value) in own {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }

    /// The answer to a statement without a result.
    pub fn stored(&self, progress: &Progress) -> Response {
        let mut response = self.response(StatusCode::OK, Body::empty());
        response.headers_mut().insert("x-clickhouse-summary", summary(progress));
        response
    }

    /// The answer to a refused request.
    pub fn failed(&self, error: &EngineError) -> Response {
        let mut response = self.response(error.status(), Body::from(self.text(error)));
        response.headers_mut().insert("x-clickhouse-exception-code", HeaderValue::from(error.code));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
        response
    }

    /// The answer to a query: whole when the result is small, else as it comes.
    ///
    /// # Errors
    /// When the query failed before anything was sent.
    pub async fn result(
        &self,
        mut pieces: mpsc::Receiver<Piece>,
        format: &str,
        compressed: bool,
        wait: bool,
    ) -> Result<Response, EngineError> {
        let whole_max = if wait { WHOLE_BYTES_MAX } else { WHOLE_BYTES };
        let (mut ready, mut length) = (Vec::new(), 0);
        loop {
            match pieces.recv().await {
                Some(Piece::Rows(bytes)) => {
                    length += bytes.len();
                    ready.push(bytes);
                    if length > whole_max {
                        return Ok(self.streamed(ready, pieces, format, compressed));
                    }
                }
                Some(Piece::Done(progress)) => {
                    let mut response = self.response(StatusCode::OK, Body::from(ready.concat()));
                    response.headers_mut().insert("x-clickhouse-summary", summary(&progress));
                    name_format(&mut response, format);
                    return Ok(response);
                }
                Some(Piece::Failed(error)) => return Err(error),
                None => return Err(EngineError::internal("the thread of a query ended without an answer")),
            }
        }
    }

    fn streamed(&self, ready: Vec<Bytes>, pieces: mpsc::Receiver<Piece>, format: &str, compressed: bool) -> Response {
        let tag = random_hex::<8>();
        let tail = Tail { pieces, frame: self.clone(), tag: (!compressed).then(|| tag.clone()), failed: false };
        let body = stream::iter(ready.into_iter().map(Ok)).chain(tail.into_stream());
        let mut response = self.response(StatusCode::OK, Body::from_stream(body));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert("x-clickhouse-exception-tag", tag);
        }
        name_format(&mut response, format);
        response
    }

    /// The error's text with the version behind it, as ClickHouse writes it.
    fn text(&self, error: &EngineError) -> String {
        let message = &error.message;
        if message.ends_with(')') && message.contains("(version ") {
            format!("{message}\n")
        } else {
            format!("{message} (version {})\n", self.version)
        }
    }
}

fn name_format(response: &mut Response, format: &str) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(formats::content_type(format)));
    if let Ok(format) = HeaderValue::from_str(format) {
        response.headers_mut().insert("x-clickhouse-format", format);
    }
}

fn summary(progress: &Progress) -> HeaderValue {
    let Progress { read_rows, read_bytes, written_rows, written_bytes, result_rows, elapsed_seconds } = *progress;
    let elapsed_ns = std::time::Duration::try_from_secs_f64(elapsed_seconds).map_or(0, |elapsed| elapsed.as_nanos());
    let text = format!(
        "{{\"read_rows\":\"{read_rows}\",\"read_bytes\":\"{read_bytes}\",\"written_rows\":\"{written_rows}\",\"written_bytes\":\"{written_bytes}\",\
         \"total_rows_to_read\":\"0\",\"result_rows\":\"{result_rows}\",\"result_bytes\":\"0\",\"elapsed_ns\":\"{elapsed_ns}\"}}"
    );
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("{}"))
}

/// The rest of a result whose first bytes are under way.
struct Tail {
    pieces: mpsc::Receiver<Piece>,
    frame: Frame,
    /// How a failure is marked; `None` where a text between the bytes could not be read.
    tag: Option<String>,
    failed: bool,
}

impl Tail {
    fn into_stream(self) -> impl Stream<Item = std::io::Result<Bytes>> {
        stream::unfold(Some(self), async |tail| {
            let mut tail = tail?;
            if tail.failed {
                // Lets the connection write out what it holds before the error closes it.
                tokio::task::yield_now().await;
                return Some((Err(std::io::Error::other("the query failed")), None));
            }
            match tail.pieces.recv().await {
                Some(Piece::Rows(bytes)) => Some((Ok(bytes), Some(tail))),
                Some(Piece::Done(_)) => None,
                Some(Piece::Failed(error)) => {
                    tail.failed = true;
                    let text = tail.exception(&error);
                    Some((Ok(text), Some(tail)))
                }
                None => Some((Err(std::io::Error::other("the thread of a query ended without an answer")), None)),
            }
        })
    }

    /// ClickHouse's mark of a failure within a result (since 25.11): the text between two marks, its length behind it. The body ends unfinished after
    /// it, so that a client that does not know the mark notices too.
    fn exception(&self, error: &EngineError) -> Bytes {
        let Some(tag) = &self.tag else { return Bytes::new() };
        let text = self.frame.text(error);
        format!("\r\n__exception__\r\n{tag}\r\n{text}{} {tag}\r\n__exception__\r\n", text.len()).into()
    }
}

/// `N` random bytes in hexadecimal.
pub fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn frame() -> Frame {
        Frame { query_id: "q".to_owned(), version: "26.7".to_owned(), timezone: "UTC".to_owned() }
    }

    fn pieces(list: Vec<Piece>) -> mpsc::Receiver<Piece> {
        let (sender, receiver) = mpsc::channel(list.len().max(1));
        for piece in list {
            sender.try_send(piece).expect("room");
        }
        receiver
    }

    #[tokio::test]
    async fn a_small_result_is_whole_and_has_a_summary() {
        let done = Progress { read_rows: 2, ..Progress::default() };
        let list =
            vec![Piece::Rows(Bytes::from_static(b"1\n")), Piece::Rows(Bytes::from_static(b"2\n")), Piece::Done(done)];
        let response = frame().result(pieces(list), "TSV", false, false).await.expect("answer");
        assert!(response.headers()["x-clickhouse-summary"].to_str().expect("text").contains("\"read_rows\":\"2\""));
        assert_eq!(response.headers()["x-clickhouse-format"], "TSV");
        assert_eq!(response.into_body().collect().await.expect("body").to_bytes(), &b"1\n2\n"[..]);
    }

    #[tokio::test]
    async fn a_failure_within_a_result_is_marked_and_breaks_the_body_off() {
        let error = EngineError::new(395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", "oh");
        let list = vec![Piece::Rows(vec![0; WHOLE_BYTES + 1].into()), Piece::Failed(error.clone())];
        let response = frame().result(pieces(list), "RowBinary", false, false).await.expect("streamed");
        let tag = response.headers()["x-clickhouse-exception-tag"].to_str().expect("text").to_owned();
        let mut body = response.into_body().into_data_stream();
        assert_eq!(body.next().await.expect("rows").expect("rows").len(), WHOLE_BYTES + 1);
        let mark = body.next().await.expect("mark").expect("mark");
        let text = format!("{error} (version 26.7)\n");
        assert_eq!(
            mark,
            format!("\r\n__exception__\r\n{tag}\r\n{text}{} {tag}\r\n__exception__\r\n", text.len()).as_bytes()
        );
        assert!(body.next().await.expect("broken off").is_err());
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn a_failure_before_anything_was_sent_is_an_error_answer() {
        let error = EngineError::parse("Code: 60. DB::Exception: no. (UNKNOWN_TABLE)");
        let refused =
            frame().result(pieces(vec![Piece::Failed(error.clone())]), "TSV", false, false).await.expect_err("failed");
        let response = frame().failed(&refused);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["x-clickhouse-exception-code"], "60");
        let body = response.into_body().collect().await.expect("body").to_bytes();
        assert_eq!(body, &b"Code: 60. DB::Exception: no. (UNKNOWN_TABLE) (version 26.7)\n"[..]);
        assert!(frame().result(pieces(vec![]), "TSV", false, false).await.is_err());
    }
}
