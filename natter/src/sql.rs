//! `natter sql`: a statement to the history, as the analyst, and its result as ClickHouse writes it.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use clickhouse::error::Error;
use natter_schemas::names::Tenant;

use crate::cli::Running;
use crate::config::Config;
use crate::{connect, running};

/// What people read.
const FORMAT_ON_TERMINAL: &str = "PrettyCompact";
/// What programs read, as of ClickHouse's own client.
const FORMAT: &str = "TabSeparated";

/// `natter sql`.
#[derive(Debug, Args)]
pub struct Sql {
    /// The statement; `-`: on standard input. Tables of the analysts' database need no name of a database before theirs.
    #[arg(required_unless_present = "file")]
    pub statement: Option<String>,
    /// A file with the statement.
    #[arg(long, conflicts_with = "statement")]
    pub file: Option<PathBuf>,
    /// Any format of ClickHouse's, such as CSVWithNames, Parquet or Vertical. Without it, a table on a terminal, else TabSeparated. A FORMAT in the statement goes over it.
    #[arg(long)]
    pub format: Option<String>,
    /// One JSON object a row: the format JSONEachRow.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// The value of {tenant:String} in the statement. It is a parameter and no fence: --as-tenant is one.
    #[arg(long)]
    pub tenant: Option<Tenant>,
    /// Ask as this tenant's analyst (`natter analyst add`), who sees no other tenant's rows.
    #[arg(long, conflicts_with = "config")]
    pub as_tenant: Option<Tenant>,
    /// Which system; with --config, as the user that its section on ClickHouse names.
    #[command(flatten)]
    pub running: Running,
}

/// What ClickHouse said instead of a result, in its own words.
#[derive(Debug)]
pub struct Refused(pub String);

impl Sql {
    /// By which the history is reached as whom the command asks.
    ///
    /// # Errors
    /// Nothing runs there, or the tenant has no analyst.
    pub fn config(&self) -> anyhow::Result<Config> {
        match &self.as_tenant {
            Some(tenant) => running::tenants_analysts_config(&self.running.data, tenant),
            None => self.running.analysts_config(),
        }
    }

    fn text(&self) -> anyhow::Result<String> {
        let text = match (&self.file, self.statement.as_deref()) {
            (Some(file), _) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            (None, Some("-")) => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read the statement from standard input")?;
                text
            }
            (None, statement) => statement.unwrap_or_default().to_owned(),
        };
        let text = text.trim();
        if text.is_empty() {
            bail!("the statement is empty");
        }
        Ok(text.to_owned())
    }

    fn format(&self) -> &str {
        match &self.format {
            _ if self.json => "JSONEachRow",
            Some(format) => format,
            None if io::stdout().is_terminal() => FORMAT_ON_TERMINAL,
            None => FORMAT,
        }
    }
}

/// Asks and writes the result to `out` as it comes.
///
/// # Errors
/// ClickHouse is away, or the result cannot be written. What ClickHouse refuses is no error here, but the answer.
pub async fn sql(config: &Config, args: &Sql, out: &mut impl Write) -> anyhow::Result<Result<(), Refused>> {
    let text = args.text()?;
    let client = connect::clickhouse(config)?.client().clone().with_database(&config.clickhouse.database);
    // The crate reads `?` as a parameter.
    let mut query = client.query(&text.replace('?', "??"));
    if let Some(tenant) = &args.tenant {
        query = query.param("tenant", tenant.as_str());
    }
    let mut pieces = match query.fetch_bytes(args.format()) {
        Ok(pieces) => pieces,
        Err(error) => return refused(error),
    };
    loop {
        match pieces.next().await {
            Ok(Some(piece)) => match out.write_all(&piece) {
                Ok(()) => {}
                // `natter sql … | head` has what it wanted.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Ok(())),
                Err(error) => return Err(error).context("cannot write the result"),
            },
            Ok(None) => break,
            Err(error) => {
                // What came before it is shown before it.
                out.flush().ok();
                return refused(error);
            }
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write the result"),
        _ => Ok(Ok(())),
    }
}

/// ClickHouse's own words, or why it could not be asked.
fn refused(error: Error) -> anyhow::Result<Result<(), Refused>> {
    match error {
        Error::BadResponse(said) => Ok(Err(Refused(said.trim_end().to_owned()))),
        error => Err(error).context("cannot ask ClickHouse (`natter doctor` says more)"),
    }
}
