//! `natter analyst`: who may ask the history for one tenant's rows.

pub mod quota;

use anyhow::bail;
use clap::{Args, Subcommand};
use natter_schemas::names::Tenant;

pub use self::quota::Quota;
use crate::backends::{Analysts, Foreign, foreign_analyst};
use crate::cli::Running;
use crate::config::{Config, Need};
use crate::running;

/// `natter analyst`.
#[derive(Debug, Subcommand)]
pub enum Analyst {
    /// Make the tenant's analyst, and print the URL by which any ClickHouse client connects. Again: the same user, with this quota.
    ///
    /// With --config, for a ClickHouse that natter does not start: prints the file for its folder users.d, and the URL with the new password to standard error.
    Add(Add),
    /// Forget the tenant's analyst: the next statement is refused.
    Remove(OfTenant),
    /// Print the URL, with the password, of the tenant's analyst.
    Url(OfTenant),
    /// Print the tenants that have an analyst, and the quotas.
    List(Running),
}

/// `natter analyst add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Whose, and where.
    #[command(flatten)]
    pub of: OfTenant,
    /// How much.
    #[command(flatten)]
    pub quota: Quota,
}

/// Whose analyst, and of which system.
#[derive(Debug, Args)]
pub struct OfTenant {
    /// The application whose rows the analyst sees, and no other's.
    #[arg(long)]
    pub tenant: Tenant,
    /// Which system.
    #[command(flatten)]
    pub running: Running,
}

/// What the command answers.
#[derive(Debug, Default)]
pub struct Answer {
    /// Lines that are the result.
    pub lines: Vec<String>,
    /// Lines for the person who asked, which must not get into the file that the result is put into.
    pub notes: Vec<String>,
}

impl From<Vec<String>> for Answer {
    fn from(lines: Vec<String>) -> Self {
        Self { lines, notes: Vec::new() }
    }
}

/// Does it, and says what is to be printed.
///
/// # Errors
/// No system ever ran there, or its ClickHouse is not natter's own; there is no such analyst.
pub fn analyst(args: &Analyst) -> anyhow::Result<Answer> {
    let of = match args {
        Analyst::Add(Add { of, .. }) | Analyst::Remove(of) | Analyst::Url(of) => &of.running,
        Analyst::List(running) => running,
    };
    if let Some(file) = &of.config {
        return elsewhere(args, &Config::load(Some(file))?);
    }
    let data = &of.data;
    let url = |tenant: &Tenant| {
        let endpoint = Analysts::read(data)?.endpoint(data, tenant)?;
        anyhow::Ok(vec![running::history_url(&endpoint)].into())
    };
    match args {
        Analyst::Add(Add { of, quota }) => {
            Analysts::change(data, |analysts| analysts.add(&of.tenant, *quota))?;
            url(&of.tenant)
        }
        Analyst::Remove(of) => {
            let tenant = &of.tenant;
            if !Analysts::change(data, |analysts| Ok(analysts.remove(tenant)))? {
                bail!("tenant {tenant} has no analyst");
            }
            Ok(vec![format!("tenant {tenant} has no analyst any more")].into())
        }
        Analyst::Url(of) => url(&of.tenant),
        Analyst::List(_) => {
            let all = Analysts::read(data)?;
            Ok(all.all().map(|(tenant, analyst)| line(tenant, analyst.quota)).collect::<Vec<_>>().into())
        }
    }
}

/// For a ClickHouse that natter did not start, and whose users it therefore does not keep.
fn elsewhere(args: &Analyst, config: &Config) -> anyhow::Result<Answer> {
    let Analyst::Add(Add { of: OfTenant { tenant, .. }, quota }) = args else {
        bail!(
            "the analysts of a ClickHouse that natter did not start are files in its folder users.d, and their passwords are kept nowhere: remove the file to remove one, and `natter analyst add --config` makes one"
        );
    };
    config.require(&[Need::ClickHouse])?;
    let url = config.clickhouse.url.as_deref().unwrap_or_default();
    let Foreign { file, endpoint } = foreign_analyst(url, &config.clickhouse.database, tenant, *quota)?;
    let notes = [
        format!(
            "standard output is for ClickHouse's folder users.d, as {}.xml, moved there when it is whole. On a server, table functions over",
            endpoint.user
        ),
        "indexes show such a user keys and words of other tenants too (docs/sql.md). The password is in this URL and nowhere else:".to_owned(),
        running::history_url(&endpoint),
    ];
    Ok(Answer { lines: vec![file.trim_end().to_owned()], notes: notes.into() })
}

fn line(tenant: &Tenant, quota: Quota) -> String {
    let Quota { seconds, memory_mib, rows_read, result_rows, result_mib } = quota;
    format!(
        "{tenant}: {seconds} s, {memory_mib} MiB of memory, {rows_read} rows read, a result of {result_rows} rows and {result_mib} MiB"
    )
}
