//! The command line.

mod audit;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use natter_schemas::names::{DisplayName, Tenant, UserId};

pub use self::audit::{Audit, AuditedView};
use crate::analysts::Analyst;
use crate::archive::Archive;
use crate::backends::BackendExec;
use crate::bench::Bench;
use crate::config::Config;
use crate::engine::ServeOptions;
use crate::explain::Explain;
use crate::import::Import;
use crate::rebuild::Rebuild;
use crate::soak::Soak;
use crate::sql::Sql;
use crate::what_if::WhatIf;

/// A chat backend that is a log first.
#[derive(Debug, Parser)]
#[command(name = "natter", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `natter` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything on this machine: NATS, Redis, S3, ClickHouse and all roles.
    Up(Up),
    /// Run a gateway: the edge that clients connect to.
    Gateway(Configured),
    /// Run a processor: decides commands and writes outcomes.
    Processor(Configured),
    /// Run a projector: keeps the Redis views and the ClickHouse history.
    Projector(Configured),
    /// Make streams, buckets and tables of a system that runs elsewhere.
    Setup(Configured),
    /// Print a token for a user.
    Token(Token),
    /// Bring an existing history in: one JSON object a line with room, user, at (RFC 3339) and text.
    ///
    /// {"room":"ops","user":"ada","at":"2025-03-01T00:02:36Z","text":"hi"} is a message; {"user":"ada","at":"2025-03-02T00:00:00Z","kind":"rename","to":"Ada L."} gives a user another display name. Other fields are passed
    /// over. The lines of a room become its messages in the order of the file. Stopped, run it again: a file is known by the hash of its content, and what was taken of it is a duplicate. A file with any other content is another
    /// history, so lines that are to be added go into a file of their own. Lines that are refused are named, the others are taken; exit code 1 where all are refused.
    Import(Import),
    /// Look at the log.
    #[command(subcommand)]
    Log(Log),
    /// Ask the history with SQL, as the analyst, who may only read: natter sql "SELECT count() FROM messages".
    ///
    /// Tables: messages, events, conversations, members, users, messages_by_hour, response_times, watermarks, and archive (the log's outcomes as they lie in S3). "DESCRIBE messages" explains the columns.
    /// A message is there about a second after it was sent. What ClickHouse refuses is printed in its own words, with exit code 1.
    Sql(Sql),
    /// Make, forget or show analysts who see the rows of one tenant only, while the system runs.
    ///
    /// For every tenant's rows there is always one: the ClickHouse address that `natter up` prints.
    #[command(subcommand)]
    Analyst(Analyst),
    /// Explain one message: its command as received, the decision and the policy behind it, where both lie in the log, and what each view holds of it.
    ///
    /// It reads the log as the auditor; a view that is away or behind, or a command that was trimmed meanwhile, is said and no error. Exit code 1 where the log
    /// has no such message.
    Explain(Explain),
    /// Judge history by another word list or policy: which decisions would be others. Nothing is written to the log.
    ///
    /// Every message of the range is judged by itself, by the code that decides: counts before and after, and each decision that would be another.
    WhatIf(WhatIf),
    /// Build a view anew from the log beside the live one, compare both, and switch to it, while the system runs; exit code 1 where they differ.
    ///
    /// Killed or refused, it goes on where it was when it is run again. The generation that it replaces is kept until --drop-old.
    Rebuild(Rebuild),
    /// Look at what of the log lies in S3, check it, or fill it at once.
    #[command(subcommand)]
    Archive(Archive),
    /// Change or show a tenant's policy (word lists, limits of content), while the system runs.
    #[command(subcommand)]
    Policy(Policy),
    /// Measure: loads at fixed times whatever the answers do, over real sockets or in this process.
    #[command(subcommand)]
    Bench(Bench),
    /// Break a system of its own while clients chat on it, and prove that every promise held; exit code 1 if not.
    Soak(Soak),
    /// Compare the log with itself and each view with the log; exit code 1 on any difference, 2 when it could not look.
    Audit(Audit),
    /// Ask a process whether it is ready; exit code 1 if not.
    Health(Health),
    /// Check a configuration and everything that a system stands on, and say how to mend what is wrong; exit code 1 if anything is.
    ///
    /// Looks at the system that `natter up` runs in the data folder; where none runs, at what a start would need. With --config, at the system of that file.
    Doctor(Doctor),
    /// Print how many bytes the messages take in each store.
    Sizes(Sizes),
    /// Print the tables of error and close codes as Markdown.
    Codes,
    /// Become a backend's server, which ends with the process that started it.
    #[command(hide = true)]
    BackendExec(BackendExec),
    /// Serve the embedded ClickHouse engine on ClickHouse's HTTP interface.
    #[command(hide = true)]
    ClickhouseServer(ServeOptions),
}

/// `natter up`.
#[derive(Debug, Args)]
pub struct Up {
    /// The data folder.
    #[arg(long, default_value = "natter-data", conflicts_with = "ephemeral")]
    pub data: PathBuf,
    /// Use a temporary data folder and delete it at the end.
    #[arg(long)]
    pub ephemeral: bool,
    /// The gateway's port; 0: any free one. Without it, that of `gateway.listen`, which is 8080 unless configured.
    #[arg(long)]
    pub port: Option<u16>,
    /// Print one JSON line when everything is ready, instead of a table.
    #[arg(long)]
    pub json: bool,
    /// A configuration file, such as natter.toml: backends given there by URL are not started.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// A role of a system that runs elsewhere.
#[derive(Debug, Args)]
pub struct Configured {
    /// The configuration file; `NATTER_<SECTION>_<KEY>` variables go over it.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Which running system is meant.
#[derive(Debug, Clone, Args)]
pub struct Running {
    /// The data folder of a system that `natter up` runs.
    #[arg(long, default_value = "natter-data", conflicts_with = "config")]
    pub data: PathBuf,
    /// The configuration file of a system that runs elsewhere.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// `natter token`.
#[derive(Debug, Args)]
pub struct Token {
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// The application.
    #[arg(long, default_value = "demo")]
    pub tenant: Tenant,
    /// The user.
    #[arg(long)]
    pub user: UserId,
    /// The user's display name.
    #[arg(long)]
    pub name: Option<DisplayName>,
    /// How long it is valid, such as 90s, 15m, 24h or 30d.
    #[arg(long, default_value = "24h", value_parser = parse_duration)]
    pub ttl: Duration,
    /// A service's token: may act for other users and import.
    #[arg(long)]
    pub service: bool,
}

/// `natter log`.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Print records of a stream (CMD_0, EVT_0 and so on) as JSON lines.
    Cat(LogCat),
}

/// `natter log cat`.
#[derive(Debug, Args)]
pub struct LogCat {
    /// The stream, such as EVT_0.
    pub stream: String,
    /// The first sequence; without it, the stream's first.
    #[arg(long)]
    pub from: Option<u64>,
    /// The last sequence; without it, the stream's last as of now.
    #[arg(long)]
    pub to: Option<u64>,
    /// Which system.
    #[command(flatten)]
    pub running: Running,
}

/// `natter policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Put a policy in force: a JSON file {"lists":[{"name","action":"mask|reject|flag","words":[…]}],"text_scalars_max":4096}.
    Set(PolicySet),
    /// Back to no word lists and the default limits.
    Reset(PolicyOf),
    /// Show the policy in force in every partition.
    Show(PolicyOf),
}

/// `natter policy set`.
#[derive(Debug, Args)]
pub struct PolicySet {
    /// The policy, as JSON.
    pub file: PathBuf,
    /// Whose.
    #[command(flatten)]
    pub of: PolicyOf,
}

/// Whose policy.
#[derive(Debug, Args)]
pub struct PolicyOf {
    /// The application.
    #[arg(long, default_value = "demo")]
    pub tenant: Tenant,
    /// Which system.
    #[command(flatten)]
    pub running: Running,
}

/// `natter health`.
#[derive(Debug, Args)]
pub struct Health {
    /// The address of /readyz or /healthz, instead of what the data folder or the configuration says.
    #[arg(long, conflicts_with_all = ["data", "config"])]
    pub url: Option<String>,
    /// Which system.
    #[command(flatten)]
    pub running: Running,
}

/// `natter doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// Print the report as one JSON line.
    #[arg(long)]
    pub json: bool,
}

/// `natter sizes`.
#[derive(Debug, Args)]
pub struct Sizes {
    /// Which system.
    #[command(flatten)]
    pub running: Running,
    /// Print the sizes as one JSON line.
    #[arg(long)]
    pub json: bool,
}

impl Running {
    /// The configuration by which the system is reached.
    ///
    /// # Errors
    /// Nothing runs in the data folder, or the configuration has problems.
    pub fn config(&self) -> anyhow::Result<Config> {
        match &self.config {
            Some(file) => Ok(Config::load(Some(file))?),
            None => crate::running::config(&self.data),
        }
    }

    /// The same to look only: where `natter up` runs the system, as a user who may read everything and write nothing.
    ///
    /// # Errors
    /// As [`Running::config`].
    pub fn auditors_config(&self) -> anyhow::Result<Config> {
        match &self.config {
            Some(file) => Ok(Config::load(Some(file))?),
            None => crate::running::auditors_config(&self.data),
        }
    }

    /// The same to ask the history: where `natter up` runs the system, as the analyst.
    ///
    /// # Errors
    /// As [`Running::config`].
    pub fn analysts_config(&self) -> anyhow::Result<Config> {
        match &self.config {
            Some(file) => Ok(Config::load(Some(file))?),
            None => crate::running::analysts_config(&self.data),
        }
    }
}

/// The configuration of a role: the file that was named, else `natter.toml` where there is one, else the environment.
///
/// # Errors
/// All problems at once.
pub fn config(file: Option<&Path>) -> anyhow::Result<Config> {
    let default = Path::new("natter.toml");
    let file = file.or_else(|| default.exists().then_some(default));
    Ok(Config::load(file)?)
}

/// `90s`, `15m`, `24h`, `30d`.
///
/// # Errors
/// It is none of these; says so.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no duration such as 90s, 15m, 24h or 30d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(refused)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("24h"), Ok(Duration::from_hours(24)));
        for text in ["", "h", "10", "1.5h", "-1s", "1w", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
