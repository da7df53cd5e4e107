//! S3.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use natter::backends::S3;

use super::System;
use crate::servers::s3_client;

fn keys(system: &System, access_key: &str, secret_key: &str) -> S3 {
    S3 {
        endpoint: format!("http://127.0.0.1:{}", system.port("s3")),
        region: "us-east-1".to_owned(),
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned(),
    }
}

#[track_caller]
fn assert_denied<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    doing: &str,
    answer: Result<T, SdkError<E>>,
) {
    let error = answer.expect_err(doing);
    assert_eq!(error.code(), Some("AccessDenied"), "{doing}: {error:?}");
}

/// Processors have no keys at all.
pub async fn gateways_write_media_and_projectors_the_archive_and_nobody_else_anything(system: &System) {
    let secret = |name: &str| &*system.secrets[name];
    let admin = s3_client(&keys(system, secret("s3_access_key"), secret("s3_secret_key")));
    admin.create_bucket().bucket("another").send().await.unwrap();
    admin.put_object().bucket("another").key("a").body(b"a".to_vec().into()).send().await.unwrap();

    let gateway = s3_client(&keys(system, secret("s3_gateway_access_key"), secret("s3_gateway_secret_key")));
    let projector = s3_client(&keys(system, secret("s3_projector_access_key"), secret("s3_projector_secret_key")));
    for (user, own, other) in [(&gateway, "media/a", "archive/a"), (&projector, "archive/a", "media/a")] {
        let put = |key: &str| user.put_object().bucket("natter").key(key).body(b"a".to_vec().into());
        put(own).send().await.unwrap();
        user.get_object().bucket("natter").key(own).send().await.unwrap();
        user.list_objects_v2().bucket("natter").send().await.unwrap();
        for key in [other, "a", "natter/check"] {
            assert_denied(key, put(key).send().await);
            assert_denied(key, user.delete_object().bucket("natter").key(key).send().await);
        }
        assert_denied("reading another", user.get_object().bucket("another").key("a").send().await);
    }
    let clickhouse = s3_client(&keys(system, secret("s3_clickhouse_access_key"), secret("s3_clickhouse_secret_key")));
    clickhouse.get_object().bucket("natter").key("archive/a").send().await.unwrap();
    clickhouse.list_objects_v2().bucket("natter").send().await.unwrap();
    for key in ["media/a", "archive/a", "a"] {
        let put = clickhouse.put_object().bucket("natter").key(key).body(b"a".to_vec().into());
        assert_denied(key, put.send().await);
        assert_denied(key, clickhouse.delete_object().bucket("natter").key(key).send().await);
    }
    assert_denied("reading another", clickhouse.get_object().bucket("another").key("a").send().await);
    assert_denied("making a bucket", gateway.create_bucket().bucket("no").send().await);
    assert_denied("deleting the bucket", gateway.delete_bucket().bucket("natter").send().await);
    let put = gateway.put_object().bucket("another").key("b").body(b"b".to_vec().into());
    assert_denied("writing another", put.send().await);
    assert_denied("listing another", gateway.list_objects_v2().bucket("another").send().await);
    let policy = gateway.put_bucket_policy().bucket("natter").policy("{}");
    assert_denied("changing who may what", policy.send().await);

    for (access_key, secret_key) in [("nobody", "x"), (secret("s3_access_key"), secret("s3_gateway_secret_key"))] {
        let stranger = s3_client(&keys(system, access_key, secret_key));
        assert!(stranger.get_object().bucket("natter").key("media/a").send().await.is_err());
    }
}
