//! `natter bench pipeline`: publisher, decision, outcome; without sockets, in this process, on servers of its own.
//!
//! The publishers and live feeds are those of a gateway, the decisions those of the processor role, the views those of the
//! projector role: what is left out is the edge. Each cell of the table gets fresh servers, so that none inherits a log.

mod chats;
mod echo;
mod gateways;
mod load;
mod report;
mod servers;

use anyhow::{Context, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use natter_schemas::limits::PARTITIONS_MAX;
use tokio::time::{Duration, sleep};

pub use self::report::Run;

use self::chats::Chats;
use self::gateways::Gateways;
use self::load::{Bench, Pace};
use self::servers::Servers;
use super::args::{Pipeline, Switch};
use super::machine::Machine;
use super::report::Report;
use super::scrape::Source;
use crate::{stop, telemetry};

/// Histograms keep every value until this is done.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(2);

/// One combination.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    gateways: u32,
    partitions: u16,
    projections: Switch,
    /// Without decisions.
    bare: bool,
}

/// Runs every combination of what was given.
///
/// # Errors
/// The servers cannot be had.
pub async fn pipeline(args: &Pipeline) -> anyhow::Result<Report<Run>> {
    if let Some(wrong) = args.partitions.iter().find(|count| !count.is_power_of_two() || **count > PARTITIONS_MAX) {
        bail!("{wrong} partitions: a power of two up to {PARTITIONS_MAX} is needed");
    }
    let (stop, metrics) = (stop::signal()?, telemetry::start_metrics()?);
    tokio::spawn(upkeep(metrics.clone()));
    let (mut runs, mut machine) = (Vec::new(), None);
    for cell in cells(args) {
        let servers = Servers::start(cell.partitions, cell.projections == Switch::On, args.sync).await?;
        let run = tokio::select! {
            run = run(args, cell, &servers, &metrics) => run,
            () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
        };
        let versions = servers.versions().await;
        servers.end().await;
        runs.push(run?);
        machine = Some(Machine::with(versions?, 0, servers::fsync(args.sync)));
    }
    report::compare(&mut runs);
    Ok(Report { mode: "pipeline", machine: machine.context("nothing to run")?, runs })
}

fn cells(args: &Pipeline) -> Vec<Cell> {
    let mut cells = Vec::new();
    for gateways in &args.gateways {
        for partitions in &args.partitions {
            let cell = Cell { gateways: *gateways, partitions: *partitions, projections: Switch::Off, bare: true };
            cells.extend(args.bare.then_some(cell));
            cells.extend(args.projections.iter().map(|on| Cell { projections: *on, bare: false, ..cell }));
        }
    }
    cells
}

async fn run(args: &Pipeline, cell: Cell, servers: &Servers, metrics: &PrometheusHandle) -> anyhow::Result<Run> {
    let log = servers.gateway_log().await?;
    let (mut roles, chats) = if cell.bare {
        (echo::start(servers).await?, Chats::invented(args.conversations))
    } else {
        (servers.start_roles(cell.projections == Switch::On).await?, Chats::made(&log, args.conversations).await?)
    };
    let gateways = Gateways::start(servers, cell.gateways).await?;
    let source = Source::Own(metrics.clone());
    let mut bench = Bench::new(gateways, chats, args, source, cell.projections == Switch::On)?;
    let mut loads = Vec::new();
    let paces = args.rate.iter().map(|rate| Pace::Rate(*rate)).filter(|pace| *pace != Pace::Rate(0));
    let saturation = (!args.no_saturation).then_some(Pace::AsTaken { window: args.window });
    for pace in paces.chain(saturation) {
        let load = tokio::select! {
            load = bench.run(pace) => load?,
            error = roles.broken() => return Err(error),
        };
        loads.push(load);
    }
    roles.end().await;
    Ok(Run::new(cell, loads))
}

async fn upkeep(metrics: PrometheusHandle) {
    loop {
        sleep(UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}
