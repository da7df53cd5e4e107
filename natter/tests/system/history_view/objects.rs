//! The S3 bucket.

use natter_projections::error::ViewError;
use natter_projections::objects::{Objects, ObjectsConfig};

use crate::servers;

#[tokio::test]
async fn the_bucket_is_made_once_and_checked() {
    let s3 = servers::s3().await;
    let service = s3.service.clone();
    let config = ObjectsConfig {
        endpoint: service.endpoint,
        region: service.region,
        bucket: s3.bucket.clone(),
        access_key: service.access_key,
        secret_key: service.secret_key,
    };
    let objects = Objects::new(&config);
    let missing = objects.check().await.unwrap_err();
    assert!(missing.is_transient() && missing.to_string().contains(&s3.bucket), "{missing}");
    let (one, two) = tokio::join!(objects.make(), objects.make());
    assert_eq!((one, two), (Ok(()), Ok(())));
    objects.check().await.unwrap();
    objects.make().await.unwrap();
    objects.verify().await.unwrap();
    let buckets = s3.client().list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().iter().filter(|bucket| bucket.name() == Some(&s3.bucket)).count(), 1);

    let wrong = Objects::new(&ObjectsConfig { secret_key: "wrong".to_owned(), ..config.clone() });
    for refused in [wrong.check().await, wrong.make().await] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, ViewError::Transient(_)) && refused.to_string().contains(&s3.bucket), "{refused}");
    }
    assert!(!format!("{config:?}").contains(&config.secret_key));
}
