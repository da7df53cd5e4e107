//! What `up` says on a terminal when it is ready: what runs where, and what to do next.

use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use natter_schemas::names::{Tenant, UserId};

use super::System;
use crate::backends::Backend;
use crate::config::TenantsSection;
use crate::running::Running;
use crate::{connect, tenants};

/// The tenant that everybody may try.
const TENANT: &str = "demo";
const USERS: [&str; 2] = ["ada", "bob"];
const TOKEN_TTL: Duration = Duration::from_hours(24);
/// Width of the first column.
const NAMES: usize = 12;

/// The table: sections of (name, remark, value).
pub struct Table {
    title: String,
    sections: Vec<(&'static str, Vec<Row>)>,
    is_coloured: bool,
}

struct Row {
    name: String,
    value: String,
    remark: String,
}

fn row(name: impl Into<String>, value: impl Into<String>, remark: impl Into<String>) -> Row {
    Row { name: name.into(), value: value.into(), remark: remark.into() }
}

impl Table {
    /// Of a system that is ready.
    ///
    /// # Errors
    /// No token can be made.
    pub fn new(system: &System, running: &Running, keys: &TenantsSection) -> anyhow::Result<Self> {
        let data = system.backends.folder().path();
        Ok(Self {
            title: format!("natter is up, after {:.1} s", system.started.elapsed().as_secs_f64()),
            sections: vec![
                ("open", pages(&running.http, keys)?),
                ("runs here", places(system, running, data)),
                ("next", hints(running, &data_option(&system.options.data))),
            ],
            is_coloured: std::io::stdout().is_terminal(),
        })
    }
}

fn pages(http: &str, keys: &TenantsSection) -> anyhow::Result<Vec<Row>> {
    let keys = connect::tenant_keys(keys)?;
    let tenant = Tenant::try_from(TENANT).context("the tenant to try")?;
    let page = |user: &str| {
        let token = tenants::token(&keys, &tenant, &UserId::try_from(user)?, None, TOKEN_TTL, false)?;
        Ok(row(format!("as {user}"), format!("{http}/#token={token}"), ""))
    };
    USERS.into_iter().map(page).collect()
}

fn places(system: &System, running: &Running, data: &Path) -> Vec<Row> {
    let child = |backend| {
        let pids = system.backends.pids();
        let found = pids.iter().find(|(of, _)| *of == backend);
        found.map_or_else(|| "as configured".to_owned(), |(_, pid)| format!("process {pid}"))
    };
    let own = format!("process {}", running.pid);
    vec![
        row("gateway", &running.http, own.clone()),
        row("metrics", &running.metrics, own),
        row("nats", &running.nats, child(Backend::Nats)),
        row("redis", &running.redis, child(Backend::Redis)),
        row("clickhouse", &running.analyst, child(Backend::ClickHouse)),
        row("s3", &running.s3, child(Backend::S3)),
        row("data", data.display().to_string(), "folder"),
        row("logs", data.join("logs").display().to_string(), "folder"),
    ]
}

fn hints(running: &Running, data: &str) -> Vec<Row> {
    let natter = std::env::args().next().unwrap_or_else(|| "natter".to_owned());
    let sql = "SELECT at, sender, text FROM natter.messages ORDER BY at DESC LIMIT 10 FORMAT PrettyCompact";
    vec![
        row("a token", format!("{natter} token{data} --tenant {TENANT} --user carol"), ""),
        row("history", format!("curl '{}/' --data '{sql}'", running.analyst.trim_end_matches('/')), ""),
        row("import", format!("{natter} import{data} FILE.jsonl.zst"), ""),
        row("the log", format!("{natter} log cat EVT_0{data}"), ""),
        row("stop", "Ctrl-C", ""),
    ]
}

/// What other subcommands need to find the system: nothing where the folder is the one that they look in.
fn data_option(data: &Path) -> String {
    if data == Path::new("natter-data") { String::new() } else { format!(" --data {}", data.display()) }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bold, dim, plain) = if self.is_coloured { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        writeln!(formatter, "\n{bold}{}{plain}", self.title)?;
        for (section, rows) in &self.sections {
            writeln!(formatter, "\n{dim}{section}{plain}")?;
            let width = rows.iter().map(|row| row.remark.len()).max().unwrap_or(0);
            let gap = if width == 0 { 0 } else { 2 };
            for Row { name, value, remark } in rows {
                let padding = width - remark.len() + gap;
                writeln!(formatter, "  {bold}{name:NAMES$}{plain}{dim}{remark}{plain}{:padding$}{value}", "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_colours_are_for_terminals() {
        let rows = vec![row("nats", "nats://h:1", "process 7"), row("redis", "redis://host:22", "as configured")];
        let mut table = Table { title: "up".into(), sections: vec![("runs here", rows)], is_coloured: false };
        let expected = "\nup\n\nruns here\n  nats        process 7      nats://h:1\n  redis       as configured  redis://host:22\n";
        assert_eq!(table.to_string(), expected);
        table.is_coloured = true;
        assert!(table.to_string().contains("\x1b[1mup\x1b[0m"));
    }

    #[test]
    fn the_usual_data_folder_needs_no_option() {
        assert_eq!(data_option(Path::new("natter-data")), "");
        assert_eq!(data_option(Path::new("/tmp/x")), " --data /tmp/x");
    }
}
