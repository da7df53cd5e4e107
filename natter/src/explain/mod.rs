//! `natter explain`: one outcome as the log has it, the rules by which it was decided, and what each view holds of it.
//!
//! The log alone answers. A view that is away or behind, and a command that was trimmed, are things that are said.

mod find;
mod rules;
mod text;
mod views;

use std::str::FromStr;

use clap::Args;
use natter_nats::Policies;
use natter_nats::cat::outcome_json;
use natter_schemas::id::MessageId;
use natter_schemas::outcome::{Accepted, Decision};
use natter_schemas::position::Position;
use natter_schemas::wire::times::rfc3339;
use serde_json::{Value, json};

pub use self::find::{CommandAt, Found};
pub use self::rules::{Rules, Touched};
pub use self::views::{HistoryView, RedisView, State};
use crate::cli::Running;
use crate::config::Config;
use crate::connect;

/// `natter explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The message's id; or the position of any outcome (partition:sequence:index), such as one that was rejected.
    #[arg(value_name = "MESSAGE|POSITION")]
    pub asked: Asked,
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// Print the explanation as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A message.
    Message(MessageId),
    /// An outcome.
    Outcome(Position),
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains(':') {
            return text.parse().map(Self::Message).map_err(|error: natter_schemas::id::IdError| error.to_string());
        }
        match text.parse::<Position>() {
            Ok(position) if position.index.is_some() => Ok(Self::Outcome(position)),
            Ok(_) => Err(format!("`{text}` is a whole batch: name one outcome, partition:sequence:index")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// All that is known of one outcome.
#[derive(Debug)]
pub struct Explanation {
    /// Where it lies, and its command.
    pub found: Found,
    /// By which rules.
    pub rules: Rules,
    /// What the Redis views hold of it.
    pub redis: RedisView,
    /// What the history holds of it.
    pub clickhouse: HistoryView,
}

/// Explains a message or another outcome.
///
/// # Errors
/// The log is away, or there is no such outcome in it.
pub async fn explain(config: &Config, asked: Asked) -> anyhow::Result<Explanation> {
    let log = connect::log(config, "explain").await?;
    let found = match asked {
        Asked::Message(id) => find::message(&log, id).await?,
        Asked::Outcome(position) => find::outcome(&log, position).await?,
    };
    let rules = rules::rules(&Policies::new(&log), &found.placed).await?;
    let (redis, clickhouse) =
        tokio::join!(views::redis(config, log.id(), &found.placed), views::clickhouse(config, log.id(), &found.placed));
    Ok(Explanation { found, rules, redis, clickhouse })
}

impl Explanation {
    /// The message, where one was accepted.
    pub fn message(&self) -> Option<MessageId> {
        match self.found.placed.outcome.decision {
            Decision::Accepted(Accepted::Sent { message, .. }) => Some(message),
            _ => None,
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let Self { found, rules, redis, clickhouse } = self;
        let mut value = outcome_json(&found.placed.outcome);
        value["message"] = json!(self.message());
        value["position"] = json!(found.placed.position);
        value["policy"] = json!(rules);
        value["stored"] = json!({
            "command": found.command,
            "outcome": {
                "stream": found.stream,
                "sequence": found.placed.position.sequence,
                "index": found.placed.position.index,
                "records": found.records,
                "bytes": found.bytes,
                "stored_at": rfc3339(found.stored_ms),
                "archived": found.archived,
                "log_at": rfc3339(found.placed.log_ms),
                "lease": found.lease,
            },
        });
        value["views"] = json!({ "redis": redis, "clickhouse": clickhouse });
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_or_one_outcome_is_asked_for() {
        assert_eq!("77".parse(), Ok(Asked::Message(MessageId::from_raw(77))));
        assert_eq!("2:501:7".parse(), Ok(Asked::Outcome(Position::outcome(2, 501, 7))));
        for (text, why) in
            [("x", "not an id"), ("0", "not an id"), ("2:501", "one outcome"), ("2:x:1", "not a position")]
        {
            let error = text.parse::<Asked>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
