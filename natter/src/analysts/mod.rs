//! `natter analyst`: who may ask the history for one tenant's rows.

pub mod quota;

use anyhow::bail;
use clap::{Args, Subcommand};
use natter_schemas::names::Tenant;

pub use self::quota::Quota;
use crate::backends::Analysts;
use crate::cli::Running;
use crate::running;

/// `natter analyst`.
#[derive(Debug, Subcommand)]
pub enum Analyst {
    /// Make the tenant's analyst, and print the URL by which any ClickHouse client connects. Again: the same user, with this quota.
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

/// Does it, and says what is to be printed.
///
/// # Errors
/// No system ever ran there, or its ClickHouse is not natter's own; there is no such analyst.
pub fn analyst(args: &Analyst) -> anyhow::Result<Vec<String>> {
    let of = match args {
        Analyst::Add(Add { of, .. }) | Analyst::Remove(of) | Analyst::Url(of) => &of.running,
        Analyst::List(running) => running,
    };
    if of.config.is_some() {
        bail!(
            "the users of a ClickHouse that natter did not start are made by its administrator: docs/sql.md has what to write into its users.xml"
        );
    }
    let data = &of.data;
    let url = |tenant: &Tenant| {
        let endpoint = Analysts::read(data)?.endpoint(data, tenant)?;
        anyhow::Ok(vec![running::history_url(&endpoint)])
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
            Ok(vec![format!("tenant {tenant} has no analyst any more")])
        }
        Analyst::Url(of) => url(&of.tenant),
        Analyst::List(_) => {
            Ok(Analysts::read(data)?.all().map(|(tenant, analyst)| line(tenant, analyst.quota)).collect())
        }
    }
}

fn line(tenant: &Tenant, quota: Quota) -> String {
    let Quota { seconds, memory_mib, rows_read, result_rows, result_mib } = quota;
    format!(
        "{tenant}: {seconds} s, {memory_mib} MiB of memory, {rows_read} rows read, a result of {result_rows} rows and {result_mib} MiB"
    )
}
