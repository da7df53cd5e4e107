//! A request's body as a stream of plain bytes: read with a time limit, decompressed where the client compressed it.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::compressed::Decompressor;
use super::errors::{EngineError, code};

/// How long a client may be silent within its body (ClickHouse's `http_receive_timeout`).
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How much of a body is read and thrown away so that the client gets to read why it was refused.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// The bytes of a request's body, in order.
pub struct RequestBody {
    stream: BodyDataStream,
    decompressor: Option<Decompressor>,
    /// Bytes that were read ahead and given back.
    returned: Bytes,
}

impl RequestBody {
    pub fn new(body: Body, decompress: bool) -> Self {
        Self {
            stream: body.into_data_stream(),
            decompressor: decompress.then(Decompressor::default),
            returned: Bytes::new(),
        }
    }

    /// The next bytes, never empty, or `None` at the end.
    ///
    /// # Errors
    /// A client that is silent for too long, breaks off, or sends a broken block.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        if !self.returned.is_empty() {
            return Ok(Some(std::mem::take(&mut self.returned)));
        }
        loop {
            if let Some(block) = self.decompressor.as_mut().map_or(Ok(None), Decompressor::next_block)? {
                if block.is_empty() {
                    continue;
                }
                return Ok(Some(block));
            }
            let Some(bytes) = self.receive().await? else { return self.end().map(|()| None) };
            match &mut self.decompressor {
                Some(decompressor) => decompressor.push(&bytes),
                None if bytes.is_empty() => {}
                None => return Ok(Some(bytes)),
            }
        }
    }

    /// Puts bytes back in front of the rest.
    pub fn give_back(&mut self, bytes: Bytes) {
        debug_assert!(self.returned.is_empty(), "only one piece is ever given back");
        self.returned = bytes;
    }

    /// The rest of the body as one piece.
    ///
    /// # Errors
    /// As [`next`](Self::next), and `QUERY_IS_TOO_LARGE` above `bytes_max`.
    pub async fn collect(&mut self, bytes_max: usize) -> Result<Bytes, EngineError> {
        let mut whole = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if whole.len() + bytes.len() > bytes_max {
                return Err(EngineError::new(
                    code::QUERY_IS_TOO_LARGE,
                    "QUERY_IS_TOO_LARGE",
                    format!("the query is larger than {bytes_max} bytes"),
                ));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    /// Reads what the client still sends, up to a limit: a connection that is closed on unread bytes loses the answer on its way.
    pub async fn drain(&mut self) {
        let mut drained = 0;
        while let Ok(Some(bytes)) = self.receive().await {
            drained += bytes.len();
            if drained > DRAINED_BYTES_MAX {
                return;
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, EngineError> {
        match tokio::time::timeout(SILENCE_MAX, self.stream.next()).await {
            Err(_) => Err(EngineError::new(
                code::SOCKET_TIMEOUT,
                "SOCKET_TIMEOUT",
                format!("the client sent nothing for {} s", SILENCE_MAX.as_secs()),
            )),
            Ok(Some(Err(error))) => Err(broken_off(&error.to_string())),
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(None) => Ok(None),
        }
    }

    fn end(&self) -> Result<(), EngineError> {
        match &self.decompressor {
            Some(decompressor) if decompressor.is_within_block() => {
                Err(broken_off("it ends within a compressed block"))
            }
            _ => Ok(()),
        }
    }
}

fn broken_off(text: &str) -> EngineError {
    EngineError::new(
        code::CANNOT_READ_ALL_DATA,
        "CANNOT_READ_ALL_DATA",
        format!("the request's body broke off: {text}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::compressed::compress;
    use super::*;

    fn body(pieces: Vec<Result<Vec<u8>, std::io::Error>>) -> Body {
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    #[tokio::test]
    async fn compressed_pieces_become_plain_bytes() {
        let compressed = compress(b"hello hello hello");
        let pieces = compressed.chunks(5).map(|piece| Ok(piece.to_vec())).collect();
        let mut plain = RequestBody::new(body(pieces), true);
        assert_eq!(plain.collect(100).await.expect("body"), &b"hello hello hello"[..]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let compressed = compress(b"hello");
        let mut cut = RequestBody::new(Body::from(compressed[..compressed.len() - 1].to_vec()), true);
        assert_eq!(cut.next().await.expect_err("cut").code, code::CANNOT_READ_ALL_DATA);
        let mut broken = RequestBody::new(body(vec![Ok(b"a".to_vec()), Err(std::io::Error::other("gone"))]), false);
        assert_eq!(broken.next().await.expect("first piece").as_deref(), Some(&b"a"[..]));
        assert_eq!(broken.next().await.expect_err("gone").code, code::CANNOT_READ_ALL_DATA);
    }

    #[tokio::test]
    async fn a_body_has_a_limit_and_takes_pieces_back() {
        let mut large = RequestBody::new(Body::from(vec![0; 11]), false);
        assert_eq!(large.collect(10).await.expect_err("too large").code, code::QUERY_IS_TOO_LARGE);
        let mut body = RequestBody::new(Body::from("rest"), false);
        body.give_back(Bytes::from_static(b"first "));
        assert_eq!(body.collect(100).await.expect("body"), &b"first rest"[..]);
    }
}
