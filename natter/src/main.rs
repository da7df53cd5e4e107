//! The `natter` binary.

use clap::{Parser, Subcommand};
use natter::backends::{BackendExec, backend_exec};

#[derive(Parser)]
#[command(name = "natter", version, about = "A chat backend that is a log first")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(hide = true)]
    BackendExec(BackendExec),
    /// Serve the embedded ClickHouse engine on ClickHouse's HTTP interface.
    #[command(hide = true)]
    ClickhouseServer(natter::engine::ServeOptions),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::BackendExec(args) => match backend_exec(&args)? {},
        Command::ClickhouseServer(options) => tokio::runtime::Runtime::new()?.block_on(natter::engine::serve(options)),
    }
}
