//! `natter doctor`: looks at a configuration and at everything that a system stands on, and says how to mend what is wrong.
//!
//! It only looks: what it tries of a role's user is refused, or changes nothing.

mod finding;
mod history;
mod log;
mod machine;
mod objects;
mod packages;
mod users;
mod views;

use std::path::Path;

use anyhow::Context;

pub use self::finding::{Finding, Report, Verdict};
use crate::backends::{self, Endpoints, Given};
use crate::cli;
use crate::config::{Config, ConfigError};
use crate::running::{self, Running};

/// What is looked at.
struct Patient {
    config: Config,
    /// The data folder, where `natter up` runs the system here.
    data: Option<std::path::PathBuf>,
    /// Every role's users, where natter made them.
    users: Option<Endpoints>,
}

/// Looks at the system that `natter up` runs, or is to run, in a data folder, or at the one of a configuration file.
///
/// # Errors
/// What is in the data folder cannot be read.
pub async fn doctor(of: &cli::Running) -> anyhow::Result<Report> {
    match &of.config {
        Some(file) => Ok(match Config::load(Some(file)) {
            Ok(config) => {
                let mut report = Report::new(format!("the system of {}", file.display()));
                report.add(Finding::ok("configuration", file.display()));
                examine(&Patient { config, data: None, users: None }, &mut report).await;
                report
            }
            Err(error) => faulty(format!("the system of {}", file.display()), &error),
        }),
        None => here(&of.data).await,
    }
}

/// The system of a data folder: running, or not yet or any more.
async fn here(data: &Path) -> anyhow::Result<Report> {
    if let Ok(running) = Running::read(data) {
        let mut report = Report::new(format!("the system that runs in {}, process {}", data.display(), running.pid));
        let data = data.canonicalize().with_context(|| format!("cannot open {}", data.display()))?;
        let own = backends::endpoints_in(&data, &Given::default())?;
        // Servers that were given have users of their operator's.
        let users = own.filter(|own| own.nats_url == running.nats && own.redis_url == running.redis);
        let patient = Patient { config: running::auditors_config(&data)?, data: Some(data), users };
        examine(&patient, &mut report).await;
        return Ok(report);
    }
    let title = format!("before `natter up --data {}`", data.display());
    Ok(match cli::config(None) {
        Ok(config) => {
            let mut report = Report::new(title);
            report.add(Finding::ok("configuration", "natter.toml and the environment"));
            packages::examine(&config, data, &mut report).await;
            machine::limits(&mut report);
            report
        }
        Err(error) => match error.downcast_ref::<ConfigError>() {
            Some(problems) => faulty(title, problems),
            None => return Err(error),
        },
    })
}

fn faulty(title: String, error: &ConfigError) -> Report {
    let mut report = Report::new(title);
    for problem in error.problems() {
        report.add(Finding::wrong("configuration", problem, "correct it in the file or the environment"));
    }
    report
}

async fn examine(patient: &Patient, report: &mut Report) {
    let Patient { config, data, users } = patient;
    machine::limits(report);
    let log = log::examine(config, data.as_deref(), report).await;
    views::examine(config, log.as_ref(), report).await;
    history::examine(config, log.as_ref(), report).await;
    objects::examine(config, report).await;
    match users {
        Some(users) => users::examine(users, report).await,
        None => users::examine_own(config, report).await,
    }
}
