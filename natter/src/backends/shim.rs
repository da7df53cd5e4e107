//! `natter backend-exec`: becomes a backend's program, in a process that ends when natter ends.
//!
//! The parent-death signal has to be set between fork and exec. Doing that from the parent takes unsafe code; this program sets it
//! for itself and then becomes the backend, for the signal outlives an exec.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Becomes a backend's program that dies with natter (internal).
#[derive(clap::Args, Debug)]
pub struct BackendExec {
    /// The process that must be the parent; when it is gone already, nothing is started.
    #[arg(long)]
    pub parent: i32,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Replaces this process by the given program, which the kernel kills when the thread that started this process ends.
///
/// # Errors
/// When the parent has died already, or the program cannot be executed.
pub fn backend_exec(args: &BackendExec) -> anyhow::Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask for a parent-death signal")?;
    // A parent that died before the line above sends no signal any more.
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent != args.parent {
        bail!("parent {} is gone", args.parent);
    }
    let (program, program_args) = args.command.split_first().context("no program given")?;
    let error = std::process::Command::new(program).args(program_args).exec();
    Err(error).with_context(|| format!("cannot execute {}", program.display()))
}
