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
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::BackendExec(args) => match backend_exec(&args)? {},
    }
}
