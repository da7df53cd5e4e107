//! The `natter` binary: the life of the process in a page.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use natter::audit::CannotLook;
use natter::backends::backend_exec;
use natter::cli::{self, Cli, Command};
use natter::config::ConfigError;
use natter::{answers, engine, open_files, service, soak, telemetry, up};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// sysexits.h: the command was used incorrectly.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start_logs(log_level(&cli.command));
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "why the command failed")]
            {
                eprintln!("natter: {error:#}");
            }
            let could_not_look = error.is::<CannotLook>();
            ExitCode::from(if error.is::<ConfigError>() { EXIT_USAGE } else { 1 + u8::from(could_not_look) })
        }
    }
}

/// Servers tell what they do; who asks a question wants the answer.
fn log_level(command: &Command) -> &'static str {
    match command {
        // Its table is what it says; the rest is in the log files and in what it says of dying children.
        Command::Up(up) if !up.json => "warn",
        Command::Up(_)
        | Command::Gateway(_)
        | Command::Processor(_)
        | Command::Projector(_)
        | Command::Setup(_)
        | Command::ClickhouseServer(_) => "info",
        _ => "warn",
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    // Before any runtime: this process becomes the backend.
    if let Command::BackendExec(args) = &command {
        match backend_exec(args)? {}
    }
    open_files::raise();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(dispatch(command))
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::up(up::Options::new(args)?).await?,
        Command::Gateway(args) => service::gateway(&cli::config(args.config.as_deref())?).await?,
        Command::Processor(args) => service::processor(&cli::config(args.config.as_deref())?).await?,
        Command::Projector(args) => service::projector(&cli::config(args.config.as_deref())?).await?,
        Command::Setup(args) => answers::setup(&args).await?,
        Command::Token(args) => answers::token(&args)?,
        Command::Import(args) => answers::import(args).await?,
        Command::Log(cli::Log::Cat(args)) => answers::log_cat(&args).await?,
        Command::Sql(args) => return answers::sql(&args).await,
        Command::Analyst(args) => answers::analyst(&args)?,
        Command::Explain(args) => answers::explain(&args).await?,
        Command::WhatIf(args) => answers::what_if(&args).await?,
        Command::Rebuild(args) => return answers::rebuild(&args).await,
        Command::Archive(args) => return answers::archive(&args).await,
        Command::Policy(args) => answers::policy(&args).await?,
        Command::Bench(args) => return answers::bench(&args).await,
        Command::Soak(args) => return soak::soak(&args).await,
        Command::Audit(args) => return answers::audit(&args).await,
        Command::Health(args) => return answers::health(&args).await,
        Command::Doctor(args) => return answers::doctor(&args).await,
        Command::Sizes(args) => answers::sizes(&args).await?,
        Command::Codes => answers::codes(),
        Command::ClickhouseServer(args) => engine::serve(args).await?,
        Command::BackendExec(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}
