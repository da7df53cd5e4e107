//! The subcommands that answer and end.

mod views;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use natter_schemas::error::{CloseCode, ErrorCode};
use natter_schemas::names::UserId;
use serde::Serialize;
use tokio::time::{Duration, timeout};

use crate::analysts::{self, Analyst};
use crate::archive::{self, Archive, Asked, Now};
use crate::bench::{self, Bench};
use crate::cli::{self, Audit, AuditedView, Configured, Doctor, Health, LogCat, Policy, PolicyOf, Sizes, Token};
use crate::doctor::Verdict;
use crate::explain::{self, Explain};
use crate::import::{self, Import};
use crate::running::Running;
use crate::sql::{self, Sql};
use crate::what_if::{self, WhatIf};
use crate::{audit, connect, doctor, policy, roles, sizes, tenants};

pub use self::views::rebuild;

/// A token outlives the longest import.
const IMPORT_TOKEN_TTL: Duration = Duration::from_hours(7 * 24);
/// A process that takes longer to say whether it is ready is not.
const HEALTH_WITHIN: Duration = Duration::from_secs(3);

#[expect(clippy::print_stdout, reason = "what the command answers")]
fn say(line: &str) {
    println!("{line}");
}

/// Looks at the archive, checks or fills it; the exit code says whether it is what was put there.
///
/// # Errors
/// NATS, S3 or a view is away.
pub async fn archive(args: &Archive) -> anyhow::Result<ExitCode> {
    match args {
        Archive::Status(Asked { running, json }) => {
            answer(&archive::status(&running.auditors_config()?).await?, *json)?;
        }
        Archive::Verify(Asked { running, json }) => {
            let verified = archive::verify(&running.auditors_config()?).await?;
            answer(&verified, *json)?;
            return Ok(ExitCode::from(u8::from(!verified.wrong.is_empty())));
        }
        Archive::Now(Now { asked: Asked { running, json }, keep }) => {
            answer(&archive::now(&running.config()?, *keep).await?, *json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As people read it, or as one JSON line.
fn answer(what: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    say(&if json { serde_json::to_string(what)? } else { what.to_string() });
    Ok(())
}

/// Prints a token.
///
/// # Errors
/// The tenant has no key.
pub fn token(args: &Token) -> anyhow::Result<()> {
    let section = match &args.running.config {
        Some(_) => args.running.config()?.tenants,
        // The system need not run.
        None => tenants::read(&args.running.data)?,
    };
    let keys = connect::tenant_keys(&section)?;
    say(&tenants::token(&keys, &args.tenant, &args.user, args.name.clone(), args.ttl, args.service)?);
    Ok(())
}

/// Makes streams, buckets and tables, and tries whether objects can be written.
///
/// # Errors
/// A backend is away, belongs to another system, or gives back something else than it was given.
pub async fn setup(args: &Configured) -> anyhow::Result<()> {
    let config = cli::config(args.config.as_deref())?;
    roles::setup(&config).await?;
    connect::objects(&config)?.verify().await.context("cannot use the bucket")
}

/// Imports a file and prints what became of it. Refused lines are listed on standard error.
///
/// # Errors
/// The file cannot be read or the gateway stays away.
pub async fn import(args: Import) -> anyhow::Result<()> {
    let config = args.running.config()?;
    let gateway = gateway_of(args.gateway.as_deref(), &args.running)?;
    let keys = connect::tenant_keys(&config.tenants)?;
    let user = UserId::try_from("import").context("the importing user")?;
    let token = tenants::token(&keys, &args.tenant, &user, None, IMPORT_TOKEN_TTL, true)?;
    let options = import::Options {
        input: args.input()?,
        identify: args.identify,
        gateway,
        token,
        window: usize::try_from(args.window)?,
        progress: !args.json && std::io::stderr().is_terminal(),
    };
    #[expect(clippy::print_stderr, reason = "refused lines are no result")]
    let refused = |line: u64, code: &str, reason: &str| eprintln!("line {line}: {code}: {reason}");
    let summary = import::import(&options, refused).await?;
    if args.json {
        say(&serde_json::to_string(&summary)?);
        return Ok(());
    }
    let import::Summary { tally, format, lost, seconds } = summary;
    let rejected: u64 = tally.rejected.values().sum();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = tally.read as f64 / seconds;
    say(&format!(
        "{} lines in {seconds:.1} s ({rate:.0}/s): {} accepted, {} duplicates, {rejected} rejected",
        tally.read, tally.accepted, tally.duplicates
    ));
    for (code, lines) in tally.rejected {
        say(&format!("  {code}: {lines}"));
    }
    if !lost.is_empty() {
        say(&format!("not imported from the history, written in the format {format}:"));
    }
    for (what, count) in lost {
        say(&format!("  {what}: {count}"));
    }
    if rejected > 0 && rejected == tally.read {
        bail!(import::NOTHING_TAKEN);
    }
    Ok(())
}

/// Measures and prints what came of it; exit code 1 where what was measured went wrong.
///
/// # Errors
/// The mode cannot run.
pub async fn bench(args: &Bench) -> anyhow::Result<ExitCode> {
    let bench::Shown { text, is_right } = bench::bench(args).await?;
    say(&text);
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the gateway is.
///
/// # Errors
/// Nothing runs there, or nobody said.
pub(crate) fn gateway_of(named: Option<&str>, running: &crate::cli::Running) -> anyhow::Result<String> {
    match (named, &running.config) {
        (Some(gateway), _) => Ok(gateway.to_owned()),
        (None, Some(_)) => bail!("where is the gateway? name it by --gateway http://host:port"),
        (None, None) => Ok(Running::read(&running.data)?.http),
    }
}

/// Prints a range of a stream as JSON lines.
///
/// # Errors
/// No such stream, or the broker is away.
pub async fn log_cat(args: &LogCat) -> anyhow::Result<()> {
    let log = connect::log(&args.running.auditors_config()?, "log cat").await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut written, mut is_none) = (Ok(()), true);
    let print = |record| {
        is_none = false;
        if written.is_ok() {
            written = writeln!(out, "{record}");
        }
        written.is_ok()
    };
    natter_nats::cat::cat(&log, &args.stream, args.from, args.to, print).await?;
    if is_none {
        let why = natter_nats::cat::nothing_of(&log, &args.stream).await?;
        #[expect(clippy::print_stderr, reason = "no record is no result")]
        {
            eprintln!("{why}");
        }
    }
    match written.and_then(|()| out.flush()) {
        // `natter log cat … | head` has what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write"),
    }
}

/// Asks the history; exit code 1, and ClickHouse's own words, when that refuses.
///
/// # Errors
/// ClickHouse cannot be asked.
pub async fn sql(args: &Sql) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match sql::sql(&args.config()?, args, &mut out).await? {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(refused) => {
            #[expect(clippy::print_stderr, reason = "why there is no result")]
            {
                eprintln!("{}", refused.0);
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Makes, forgets or shows the analysts of tenants.
///
/// # Errors
/// As [`analysts::analyst`].
pub fn analyst(args: &Analyst) -> anyhow::Result<()> {
    let analysts::Answer { lines, notes } = analysts::analyst(args)?;
    for line in lines {
        say(&line);
    }
    for note in notes {
        #[expect(clippy::print_stderr, reason = "standard output is put into a file")]
        {
            eprintln!("{note}");
        }
    }
    Ok(())
}

/// Explains a message or another outcome.
///
/// # Errors
/// The log is away, or has no such outcome.
pub async fn explain(args: &Explain) -> anyhow::Result<()> {
    let explained = explain::explain(&args.running.auditors_config()?, args.asked).await?;
    say(&if args.json { explained.to_json().to_string() } else { explained.to_string() });
    Ok(())
}

/// Judges history by other rules.
///
/// # Errors
/// The rules cannot be used, or the log cannot be read.
pub async fn what_if(args: &WhatIf) -> anyhow::Result<()> {
    let report = what_if::what_if(&args.running.auditors_config()?, args).await?;
    answer(&report, args.json)?;
    Ok(())
}

/// Changes or shows a tenant's policy.
///
/// # Errors
/// The file is no policy, or the system is away.
pub async fn policy(args: &Policy) -> anyhow::Result<()> {
    let (of, change) = match args {
        Policy::Set(set) => (&set.of, Some(Some(policy::read(&set.file)?))),
        Policy::Reset(of) => (of, Some(None)),
        Policy::Show(of) => (of, None),
    };
    match change {
        Some(new) => {
            let log = connect::log(&of.running.config()?, "policy").await?;
            let hash = policy::set(&log, &of.tenant, new.as_ref()).await?;
            let name = hash.map_or_else(|| "the default policy".to_owned(), |hash| format!("policy {hash}"));
            say(&format!("{name} is in force for {} in all {} partitions", of.tenant, log.partitions()));
        }
        None => show_policy(of).await?,
    }
    Ok(())
}

/// The hash in force in each partition, and each policy once, as it was set.
async fn show_policy(of: &PolicyOf) -> anyhow::Result<()> {
    let config = of.running.auditors_config()?;
    let redis = connect::redis(&config).await?;
    let hashes = policy::in_force(&redis, config.log.partitions, &of.tenant).await?;
    for (partition, hash) in hashes.iter().enumerate() {
        let hash = hash.map_or_else(|| "default".to_owned(), |hash| hash.to_string());
        say(&format!("partition {partition}: {hash}"));
    }
    let log = connect::log(&config, "policy").await?;
    for hash in hashes.into_iter().flatten().collect::<BTreeSet<_>>() {
        say(&format!("{hash}: {}", policy::text(&log, hash).await?));
    }
    Ok(())
}

/// Audits and prints the report; exit code 1 on any difference.
///
/// # Errors
/// It could not look ([`audit::CannotLook`]).
pub async fn audit(args: &Audit) -> anyhow::Result<ExitCode> {
    let config = args.running.auditors_config().context(audit::CannotLook)?;
    let options = audit::Options {
        redis: args.views.contains(&AuditedView::Redis),
        clickhouse: args.views.contains(&AuditedView::Clickhouse),
        differences_max: args.differences,
        replicas: args.replica.clone(),
        caught_up_within: args.caught_up,
        decide: args.decide,
        model: sampling(args)?,
    };
    let tell = |report: &audit::Report| {
        say(&if args.json { serde_json::to_string(report).unwrap_or_default() } else { report.to_string() });
    };
    let clean = if args.follow {
        let how = audit::Follow { every: args.every, full_every: args.full_every, listen: args.listen.clone() };
        audit::follow(&config, &options, &how, tell).await.context(audit::CannotLook)?
    } else {
        let report = audit::run(&config, &options).await.context(audit::CannotLook)?;
        tell(&report);
        report.is_clean()
    };
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sampling(args: &Audit) -> anyhow::Result<Option<audit::Sampling>> {
    if !args.model {
        return Ok(None);
    }
    let seed = match args.model_seed {
        Some(seed) => seed,
        // 32 bits, so that it can be typed again.
        None => u64::from(getrandom::u32().map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?),
    };
    Ok(Some(audit::Sampling { seed, one_of: args.model_one_of }))
}

/// Asks `/readyz` or `/healthz`; exit code 1 when the answer is not 200.
///
/// # Errors
/// Nobody answers there.
pub async fn health(args: &Health) -> anyhow::Result<ExitCode> {
    let url = match (&args.url, &args.running.config) {
        (Some(url), _) => url.clone(),
        (None, Some(_)) => {
            let config = args.running.config()?;
            format!("http://{}/readyz", config.telemetry.role_listen().replace("0.0.0.0", "127.0.0.1"))
        }
        (None, None) => Running::read(&args.running.data)?.readyz(),
    };
    let address = url.parse().with_context(|| format!("`{url}` is no address such as http://127.0.0.1:9464/readyz"))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let asked = timeout(HEALTH_WITHIN, client.get(address)).await;
    let answer =
        asked.with_context(|| format!("{url} does not answer"))?.with_context(|| format!("cannot ask {url}"))?;
    let ready = answer.status().is_success();
    say(&String::from_utf8_lossy(&answer.into_body().collect().await?.to_bytes()));
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at a system and says how to mend what is wrong; exit code 1 when anything is.
///
/// # Errors
/// What is in the data folder cannot be read.
pub async fn doctor(args: &Doctor) -> anyhow::Result<ExitCode> {
    let report = doctor::doctor(&args.running).await?;
    answer(&report, args.json)?;
    Ok(if report.verdict == Verdict::Wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints how many bytes the messages take in each store.
///
/// # Errors
/// A store does not answer.
pub async fn sizes(args: &Sizes) -> anyhow::Result<()> {
    let sizes = sizes::sizes(&args.running.auditors_config()?).await?;
    answer(&sizes, args.json)?;
    Ok(())
}

/// Prints the tables of codes as they stand in docs/protocol.md.
pub fn codes() {
    let again = |yes| if yes { "yes" } else { "no" };
    say("| code | HTTP status | try again | meaning |\n| --- | --- | --- | --- |");
    for code in ErrorCode::ALL {
        let (name, status, text) = (code.name(), code.http_status(), code.description());
        say(&format!("| `{name}` | {status} | {} | {text} |", again(code.retryable())));
    }
    say("\n| code | reason | connect again | meaning |\n| --- | --- | --- | --- |");
    for code in CloseCode::ALL {
        let (number, name, text) = (code.number(), code.name(), code.description());
        say(&format!("| {number} | `{name}` | {} | {text} |", again(code.reconnect())));
    }
}
