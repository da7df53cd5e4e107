//! S3.

use super::finding::{Finding, Report};
use crate::config::{Config, Need};
use crate::connect;

/// Looks at the bucket, where one is configured.
pub async fn examine(config: &Config, report: &mut Report) {
    if let Err(error) = config.require(&[Need::S3]) {
        let mend = "set s3.endpoint, s3.access_key and s3.secret_key where the process is a gateway";
        return report.add(Finding::warning("s3 bucket", error, mend));
    }
    let bucket = &config.s3.bucket;
    let checked = match connect::objects(config) {
        Ok(objects) => objects.check().await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    report.add(match checked {
        Ok(()) => Finding::ok("s3 bucket", format_args!("{bucket} can be used")),
        Err(error) => {
            let mend = format!("start it, correct [s3], or make the bucket {bucket} with `natter setup --config FILE`");
            Finding::wrong("s3 bucket", format_args!("{error:#}"), mend)
        }
    });
}
