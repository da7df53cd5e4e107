//! HTTP for the load: one client with its connections kept, and perhaps a token.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpConnector, Empty<Bytes>>,
    token: Option<String>,
}

impl Http {
    /// A client that sends `token`.
    pub fn new(token: Option<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), token }
    }

    /// Status and body.
    ///
    /// # Errors
    /// Not an address, or nobody answers there.
    pub async fn get(&self, url: &str) -> anyhow::Result<(u16, Bytes)> {
        let mut request = Request::get(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.client.request(request.body(Empty::new())?).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}
