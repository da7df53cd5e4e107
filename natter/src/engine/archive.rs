//! Where the engine finds the archive: a named collection of its configuration, which shows its values to nobody.

use std::fs;
use std::path::Path;

use anyhow::Context;
use natter_projections::clickhouse::{COLLECTION, objects_url};
use serde::{Deserialize, Serialize};

/// Settings of everybody who reads from S3: a server that has the archive's table starts without looking at S3 (which hive partitioning
/// would have it do), and who asks while S3 is away is soon told so.
pub const READS: [(&str, u64); 4] = [
    ("use_hive_partitioning", 0),
    ("s3_retry_attempts", 1),
    ("s3_connect_timeout_ms", 2000),
    ("s3_request_timeout_ms", 5000),
];

/// What the file says that `--archive-file` names.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The objects, as a pattern.
    url: String,
    access_key: String,
    secret_key: String,
}

impl Archive {
    /// In this bucket, read with these keys.
    pub fn new(endpoint: &str, bucket: &str, access_key: &str, secret_key: &str) -> Self {
        let [access_key, secret_key] = [access_key, secret_key].map(str::to_owned);
        Self { url: objects_url(endpoint, bucket), access_key, secret_key }
    }

    /// What a file says.
    ///
    /// # Errors
    /// It is not such a file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{name} does not say where the archive is"))
    }

    /// Nowhere. The collection is there all the same: an engine that has the table does not start without it.
    pub fn none() -> Self {
        let [access_key, secret_key] = ["none", "none"].map(str::to_owned);
        Self { url: "http://127.0.0.1:9/none/*.parquet".to_owned(), access_key, secret_key }
    }

    /// As a part of the engine's configuration.
    pub fn collection(&self) -> String {
        let Self { url, access_key, secret_key } = self;
        let [url, access_key, secret_key] = [url, access_key, secret_key].map(|text| escaped(text));
        format!(
            "<named_collections><{COLLECTION}><url>{url}</url><access_key_id>{access_key}</access_key_id>\
             <secret_access_key>{secret_key}</secret_access_key><format>Parquet</format></{COLLECTION}></named_collections>"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_values() {
        let [url, access_key, secret_key] = ["http://a/b", "k", "a<&b"].map(str::to_owned);
        let xml = Archive { url, access_key, secret_key }.collection();
        assert!(xml.contains("<secret_access_key>a&lt;&amp;b</secret_access_key>"), "{xml}");
        assert!(Archive::none().collection().contains("<natter_archive><url>"));
    }
}
