//! The S3 bucket: made where it is missing, checked by writing and reading.

use std::fmt::{self, Display};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use bytes::Bytes;

use crate::error::ViewError;

/// The object by which the bucket is checked: always the same, as several processes may check at once.
const CHECK_KEY: &str = "natter/check";
const CHECK_BYTES: &[u8] = b"natter can write here\n";

/// An object that is larger is uploaded in parts of this size; S3 takes none below 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// Where objects are.
#[derive(Clone)]
pub struct ObjectsConfig {
    /// `http://host:port`; buckets are addressed in the path.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
}

impl fmt::Debug for ObjectsConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ObjectsConfig")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// The bucket; cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
    bucket: String,
}

impl Objects {
    /// A connection with this configuration. Nothing is asked yet.
    pub fn new(config: &ObjectsConfig) -> Self {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_timeout(Duration::from_secs(30))
            .build();
        let sdk = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .endpoint_url(&config.endpoint)
            .force_path_style(true)
            .credentials_provider(Credentials::new(&config.access_key, &config.secret_key, None, None, "natter"))
            .http_client(http)
            .timeout_config(timeouts)
            // Other S3 servers than Amazon's know few of the newer checksums.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self { client: Client::from_conf(sdk), bucket: config.bucket.clone() }
    }

    /// Makes the bucket where it is missing, and then checks that it can be used.
    ///
    /// # Errors
    /// Transient, with the service's words; corrupt as [`Objects::verify`] says.
    pub async fn make(&self) -> Result<(), ViewError> {
        if self.check().await.is_ok() {
            return Ok(());
        }
        let made = self.client.create_bucket().bucket(&self.bucket).send().await;
        if let Err(error) = made
            && !error
                .as_service_error()
                .is_some_and(|e| e.is_bucket_already_owned_by_you() || e.is_bucket_already_exists())
        {
            return Err(self.failed("making", &error));
        }
        self.verify().await
    }

    /// Checks that an object can be written and read back. A server that was killed may take a quarter of a minute for its
    /// first write.
    ///
    /// # Errors
    /// Transient, with the service's words; corrupt: it gives back other bytes than it was given.
    pub async fn verify(&self) -> Result<(), ViewError> {
        let put =
            self.client.put_object().bucket(&self.bucket).key(CHECK_KEY).body(ByteStream::from_static(CHECK_BYTES));
        put.send().await.map_err(|error| self.failed("writing to", &error))?;
        let got = self.client.get_object().bucket(&self.bucket).key(CHECK_KEY).send().await;
        let got = got.map_err(|error| self.failed("reading from", &error))?.body.collect().await;
        let read = got.map_err(|error| self.failed("reading from", &error))?.into_bytes();
        if read == CHECK_BYTES {
            Ok(())
        } else {
            Err(ViewError::Corrupt(format!("bucket {} gives back other bytes than it was given", self.bucket)))
        }
    }

    /// Asks whether the bucket is there.
    ///
    /// # Errors
    /// Transient, with the service's words.
    pub async fn check(&self) -> Result<(), ViewError> {
        let asked = self.client.head_bucket().bucket(&self.bucket).send().await;
        asked.map(drop).map_err(|error| self.failed("looking at", &error))
    }

    /// Asks for the bucket, and takes every answer but one that says that the service itself fails: a bucket that is missing
    /// was looked for.
    ///
    /// # Errors
    /// Transient, with the service's words.
    pub async fn answers(&self) -> Result<(), ViewError> {
        match self.client.head_bucket().bucket(&self.bucket).send().await {
            Err(error) if error.raw_response().is_none_or(|answer| answer.status().is_server_error()) => {
                Err(self.failed("looking at", &error))
            }
            _ => Ok(()),
        }
    }

    /// Stores an object, a large one in parts.
    ///
    /// # Errors
    /// Transient, with the service's words.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), ViewError> {
        if body.len() > PART_BYTES {
            return self.put_in_parts(key, body).await;
        }
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body.into()).send().await;
        put.map(drop).map_err(|error| self.failed(format_args!("writing {key} to"), &error))
    }

    async fn put_in_parts(&self, key: &str, mut body: Bytes) -> Result<(), ViewError> {
        let doing = format!("writing {key} in parts to");
        let begun = self.client.create_multipart_upload().bucket(&self.bucket).key(key).send().await;
        let begun = begun.map_err(|error| self.failed(&doing, &error))?;
        let upload = begun.upload_id().unwrap_or_default().to_owned();
        let uploaded = async {
            let mut parts = Vec::new();
            for number in 1.. {
                let part = body.split_to(body.len().min(PART_BYTES));
                let put = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(&upload);
                let put = put.part_number(number).body(part.into()).send().await;
                let tag = put.map_err(|error| self.failed(&doing, &error))?.e_tag().unwrap_or_default().to_owned();
                parts.push(CompletedPart::builder().part_number(number).e_tag(tag).build());
                if body.is_empty() {
                    break;
                }
            }
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            let done = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(&upload);
            done.multipart_upload(parts).send().await.map_err(|error| self.failed(&doing, &error))
        };
        let ended = uploaded.await;
        if ended.is_err() {
            // Else its parts lie there for ever; one that cannot be told so is for the bucket's own rules.
            let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(&upload);
            drop(abort.send().await);
        }
        ended.map(drop)
    }

    /// A whole object.
    ///
    /// # Errors
    /// Transient, with the service's words, also where it is missing.
    pub async fn get(&self, key: &str) -> Result<Bytes, ViewError> {
        let got = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let got = got.map_err(|error| self.failed(format_args!("reading {key} from"), &error))?;
        let read = got.body.collect().await;
        Ok(read.map_err(|error| self.failed(format_args!("reading {key} from"), &error))?.into_bytes())
    }

    /// The names that begin with `prefix`, sorted; only those behind `after`, where it is given.
    ///
    /// # Errors
    /// Transient, with the service's words.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, ViewError> {
        let mut list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        if let Some(after) = after {
            list = list.start_after(after);
        }
        let (mut pages, mut names) = (list.into_paginator().send(), Vec::new());
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(format_args!("listing {prefix} of"), &error))?;
            names.extend(page.contents().iter().filter_map(|object| Some(object.key()?.to_owned())));
        }
        Ok(names)
    }

    fn failed(&self, doing: impl Display, error: &(dyn std::error::Error + 'static)) -> ViewError {
        ViewError::transient(format!("{doing} bucket {}", self.bucket), DisplayErrorContext(error))
    }
}
