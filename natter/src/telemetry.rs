//! Logs and metrics of a process.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Bounds of the histograms that measure seconds: from 50 µs to 30 s.
const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];
/// Bounds of the histograms that count records or commands of a batch.
const RECORDS: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 10_000.0, 64_000.0];
/// Bounds of the histograms that count bytes: from 1 KiB to 4 MiB.
const BYTES: [f64; 7] = [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];
/// By the last word of a metric's name.
const BOUNDS: [(&str, &[f64]); 4] =
    [("_seconds", &SECONDS), ("_records", &RECORDS), ("_commands", &RECORDS), ("_bytes", &BYTES)];

/// Sends logs to standard error: for people on a terminal, as JSON otherwise. `RUST_LOG` chooses what; without it all from
/// `level` on.
pub fn start_logs(level: &str) {
    // What the client library tells of its connection, natter tells itself where it matters.
    let default = || EnvFilter::new(format!("{level},async_nats=error"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        logs.with_target(false).try_init()
    } else {
        logs.with_ansi(false).json().flatten_event(true).try_init()
    };
    // Only tests start them twice in one process; the first stay.
    drop(started);
}

/// Installs the recorder that every role's metrics go to, and gives what renders them. To be called before anything is
/// counted.
///
/// # Errors
/// Another recorder is installed.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (suffix, bounds) in BOUNDS {
        builder = builder.set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), bounds).context("the bounds")?;
    }
    let handle = builder.install_recorder().context("cannot install the metrics recorder")?;
    natter_nats::telemetry::describe();
    natter_projections::telemetry::describe();
    natter_projections::archive::describe();
    natter_processors::telemetry::describe();
    natter_gateway::telemetry::describe();
    crate::audit::telemetry::describe();
    Ok(handle)
}
