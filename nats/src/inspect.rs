//! A look at the log for operators: what its streams are set to, how full they are, who holds which partition, and what time the broker has.

use async_nats::jetstream::stream::{Config, Info};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::connection::{Log, LogConfig};
use crate::error::LogError;
use crate::streams::{bucket_stream, expected};

/// A stream as the broker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLook {
    /// Its name.
    pub name: String,
    /// Messages in it.
    pub messages: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// Bytes it may take; 0: as many as the broker has.
    pub bytes_max: u64,
    /// What is set otherwise than natter sets it, each as `setting is this, not that`.
    pub differences: Vec<String>,
}

/// An answer that says when it was given.
#[derive(Deserialize)]
struct Stamped {
    ts: String,
}

impl Log {
    /// Every stream and bucket of the log, compared with what `config` makes.
    ///
    /// # Errors
    /// [`LogError::Transient`].
    pub async fn streams(&self, config: &LogConfig) -> Result<Vec<StreamLook>, LogError> {
        let mut all = Vec::new();
        for wanted in expected(config, self.id()) {
            let name = &wanted.name;
            let found = self.link().api::<Info>(format!("STREAM.INFO.{name}"), &()).await;
            let Info { config: found, state, .. } =
                found.map_err(|error| error.into_transient(format_args!("cannot look at stream {name}")))?;
            all.push(StreamLook {
                name: name.clone(),
                messages: state.messages,
                bytes: state.bytes,
                bytes_max: u64::try_from(found.max_bytes).unwrap_or(0),
                differences: differences(&found, &wanted),
            });
        }
        Ok(all)
    }

    /// The broker's clock, Unix milliseconds.
    ///
    /// # Errors
    /// [`LogError::Transient`].
    pub async fn broker_ms(&self) -> Result<u64, LogError> {
        let subject = format!("STREAM.INFO.{}", bucket_stream(natter_schemas::subjects::LEASES_BUCKET));
        let asked = self.link().api::<Stamped>(subject, &()).await;
        let Stamped { ts } = asked.map_err(|error| error.into_transient("cannot ask the broker for the time"))?;
        let at = OffsetDateTime::parse(&ts, &Rfc3339)
            .map_err(|error| LogError::transient(format_args!("the broker's time is `{ts}`"), error))?;
        Ok(u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
    }
}

/// What an operator may have changed that natter relies on. How large a stream may grow is the operator's.
fn differences(found: &Config, wanted: &Config) -> Vec<String> {
    let mut all = Vec::new();
    let mut compare = |setting: &str, found: String, wanted: String| {
        if found != wanted {
            all.push(format!("{setting} is {found}, not {wanted}"));
        }
    };
    macro_rules! compare {
        ($($field:ident),*) => { $(compare(stringify!($field), format!("{:?}", found.$field), format!("{:?}", wanted.$field));)* };
    }
    compare!(subjects, storage, retention, discard, deny_delete, allow_direct, num_replicas, max_messages, max_age);
    compare!(max_messages_per_subject, max_message_size, allow_message_ttl);
    let republish = |config: &Config| match &config.republish {
        Some(republish) => format!("{} to {}", republish.source, republish.destination),
        None => "nothing".to_owned(),
    };
    compare("republish", republish(found), republish(wanted));
    if found.duplicate_window < wanted.duplicate_window {
        all.push(format!("duplicate_window is {:?}, less than {:?}", found.duplicate_window, wanted.duplicate_window));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream::stream::DiscardPolicy;

    use super::*;

    #[test]
    fn what_was_changed_is_named() {
        let id = "0".repeat(32).parse().unwrap();
        let wanted = expected(&LogConfig::new("nats://h", 1), &id).remove(0);
        assert_eq!(differences(&wanted, &wanted), Vec::<String>::new());
        let found = Config {
            discard: DiscardPolicy::Old,
            republish: None,
            duplicate_window: Duration::from_secs(1),
            max_bytes: 1,
            ..wanted.clone()
        };
        let text = differences(&found, &wanted).join("; ");
        for part in ["discard is Old, not New", "republish is nothing", "duplicate_window is 1s"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("max_bytes"), "{text}");
    }
}
