//! `natter soak`, the witness: clients chat over real sockets and write down everything that they are answered and
//! everything that they see, while the system is being broken; in the end every promise is held against it.
//!
//! ```text
//! seed ──▶ schedule of faults ──▶ player ──▶ system (processes, backends, proxies)
//!    └──▶ world (users, rooms) ──▶ devices ◀──sockets, reads──┘
//!                                     └──▶ accounts ──▶ witness ◀── truth (the log, read at the end)
//! ```

mod args;
mod device;
mod faults;
mod hearing;
mod http;
mod outage;
mod parts;
mod process;
pub mod proxy;
mod reading;
mod report;
mod results;
mod room;
mod round;
mod schedule;
mod socket;
mod system;
mod tally;
mod truth;
mod waits;
mod wishes;
mod witness;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

pub use self::args::Soak;
pub(crate) use self::process::signal;

use self::results::Results;
use self::round::{Round, round};

/// A round lasts this long at most: then everything is proved, and the next begins with a system of its own.
const ROUND_MAX: Duration = Duration::from_mins(5);

/// Runs rounds until the time is over, or one of them breaks a promise: exit code 1.
///
/// # Errors
/// The system cannot be started.
pub async fn soak(args: &Soak) -> anyhow::Result<ExitCode> {
    let (shapes, outage) = (args.shapes()?, args.outage()?);
    // An outage is of one piece, however long.
    let longest = outage.map_or(ROUND_MAX, |_| args.lasts());
    let rounds = args.lasts().as_secs().div_ceil(longest.as_secs().max(1)).max(shapes.len() as u64);
    let lasts = args.lasts() / u32::try_from(rounds).context("too long")?;
    let random = || getrandom::u32().map_err(|error| anyhow::anyhow!("no random bytes: {error}"));
    let first = args.seed.map_or_else(|| random().map(u64::from), Ok)?;
    let mut results = Results::open(args.results.as_deref())?;
    if let Some(count) = args.worst {
        results.worst(count).iter().for_each(|case| print(case));
        return Ok(ExitCode::SUCCESS);
    }
    for number in results.rounds()..rounds {
        let shape = shapes[usize::try_from(number % shapes.len() as u64)?];
        let (seed, kinds) = (first.wrapping_add(number), args.kinds());
        let count = args.count.map(|count| share(count, number, rounds));
        let report = round(&Round { seed, shape, kinds, count, outage, rate: args.rate, lasts }, &say).await?;
        results.append(&report)?;
        print(&if args.json { serde_json::to_string(&report)? } else { report.to_string() });
        if !report.is_clean() {
            return Ok(ExitCode::FAILURE);
        }
    }
    if !args.json
        && let Some(sum) = results.sum()
    {
        print(&sum);
    }
    Ok(if results.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the round of this number has of so many faults in so many rounds.
fn share(count: u32, number: u64, rounds: u64) -> u32 {
    let up_to = |number| u64::from(count) * number / rounds;
    u32::try_from(up_to(number + 1) - up_to(number)).unwrap_or(count)
}

#[expect(clippy::print_stdout, reason = "what the command answers")]
fn print(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "what the operator should see meanwhile")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn all_rounds_together_have_all_faults() {
        assert_eq!((0..7).map(|number| share(1000, number, 7)).sum::<u32>(), 1000);
        assert_eq!(share(125, 0, 1), 125);
    }
}
