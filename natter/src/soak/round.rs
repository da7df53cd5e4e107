//! One round: a system of its own, a load, a schedule of faults, and the proof.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use natter_schemas::names::{Tenant, UserId};
use natter_schemas::random::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::device::{Device, Harm, Home, Identity, Orders, Phase};
use super::faults::{Player, costs};
use super::outage::{Noticed, Outage};
use super::parts::Shape;
use super::report::Report;
use super::schedule::{Kind, Plan, Step, core_schedule, schedule};
use super::system::{Setup, System};
use super::tally::Tally;
use super::truth;
use super::waits::Waits;
use super::witness::{Account, Broken, judge};
use super::world::{World, is_visitor};
use crate::audit;
use crate::backends::Backend;
use crate::config::Config;
use crate::up::temporary_folder;
use crate::{connect, tenants};

const TENANT: &str = "demo";
const TOKEN_TTL: Duration = Duration::from_hours(24);
/// Characters of a text, beside the wish's name.
const PADDING: usize = 40;
/// The same where the disk is to be full.
const PADDING_LARGE: usize = 1000;
/// After the faults everybody is answered in this time: a command that waits longer has expired.
const SETTLE_MAX: Duration = Duration::from_secs(150);
/// And has seen everything in this.
const READ_MAX: Duration = Duration::from_secs(150);
/// The views have applied everything in this.
const CAUGHT_UP_MAX: Duration = Duration::from_mins(2);
/// Devices end by themselves; this is for those that hang.
const END_MAX: Duration = Duration::from_secs(30);
/// The simulation of the core that a schedule is translated for has so many steps.
const CORE_STEPS: u32 = 400;
/// The file system of NATS where its disk is to be full.
const DISK: &str = "size=2g";

/// What a round is made of.
#[derive(Debug, Clone)]
pub struct Round {
    /// Of everything that is left to chance.
    pub seed: u64,
    /// Of the system.
    pub shape: Shape,
    /// What is broken.
    pub kinds: Vec<Kind>,
    /// So many faults.
    pub count: Option<u32>,
    /// The server that is away for a while.
    pub outage: Option<Outage>,
    /// Messages a second.
    pub rate: u64,
    /// How long the load runs.
    pub lasts: Duration,
}

/// Runs a round. The seed and the schedule are said first.
///
/// # Errors
/// The system cannot be started, or the log cannot be read.
pub async fn round(round: &Round, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let Round { seed, shape, kinds, count, lasts, .. } = round.clone();
    let steps = schedule(&Plan { seed, shape, kinds: kinds.clone(), lasts, count });
    let lasts = lasts.max(steps.last().map_or(Duration::ZERO, |step| step.at));
    say(&format!(
        "natter soak --seed {seed} --shape {} --seconds {}: {} faults",
        shape.name(),
        lasts.as_secs(),
        steps.len()
    ));
    for step in &steps {
        say(&step.to_string());
    }
    if let Some(outage) = &round.outage {
        let (begins, server) = (outage.begins(lasts)?.as_secs_f64(), outage.server.name());
        say(&format!("{begins:>8.3} s  {server} is away for {} s", outage.lasts.as_secs()));
    }
    let folder = Folder::make(kinds.contains(&Kind::Disk))?;
    let setup = Setup { shape, data: folder.path.clone(), full_disk: kinds.contains(&Kind::Disk) };
    let started = System::start(setup).await;
    let system = started.with_context(|| format!("no system came up; its data stays in {}", folder.path.display()))?;
    let system = Arc::new(system);
    let report = proof(round, &system, &steps, lasts, &folder.path).await;
    if let Ok(system) = Arc::try_unwrap(system).map_err(drop) {
        system.stop().await;
    }
    let mut report = report?;
    report.data = folder.end(report.is_clean());
    Ok(report)
}

async fn proof(
    round: &Round,
    system: &Arc<System>,
    steps: &[Step],
    lasts: Duration,
    data: &Path,
) -> anyhow::Result<Report> {
    let mut random = Random::seeded(round.seed ^ 0x5eed);
    let started = Instant::now();
    let mut crowd = Crowd::start(round, system, &mut random, started)?;
    let player = Player::new(Arc::clone(system), crowd.harms.clone(), random, data, started);
    let happening = async {
        let Some(outage) = &round.outage else { return anyhow::Ok(None) };
        let times = outage.happen(system, started, outage.begins(lasts)?).await.context("the outage")?;
        Ok(Some((outage.server, times)))
    };
    let (played, happened) = tokio::join!(player.play(steps), happening);
    let happened = happened?;
    sleep_until(started + lasts).await;

    let mut broken = Vec::new();
    let quiet = Instant::now();
    if let Err(error) = system.healed().await {
        broken.push(of_the_system("the system heals by itself", format!("{error:#}")));
    }
    crowd.settle(quiet + SETTLE_MAX).await;
    let settled_ms = u64::try_from(quiet.elapsed().as_millis()).unwrap_or(u64::MAX);
    let log = connect::log(system.config(), "soak").await?;
    let ends = truth::ends(&log).await?;
    let positions: Vec<String> = ends.iter().map(ToString::to_string).collect();
    let homes = crowd.read(positions.join(",").into(), &mut broken).await;
    let truth = truth::truth(&log, &truth::ends(&log).await?).await?;
    broken.extend(system.surprises().into_iter().map(|seen| of_the_system("processes go on", seen)));
    broken.extend(system.stubborn().into_iter().map(|seen| of_the_system("a drain ends in time", seen)));

    let (mut accounts, mut clients, mut waits) = (Vec::<Account>::new(), Tally::default(), Waits::default());
    for home in homes {
        accounts.push(home.account);
        clients.add(home.tally);
        waits.join(home.waits);
    }
    broken.extend(judge(&accounts, &truth));
    broken.extend(audited(system.config()).await?);
    let outage = happened.map(|(server, times)| Noticed::of(server, times, &waits));
    if outage.as_ref().is_some_and(|noticed| noticed.caught_up_after_ms.is_none()) {
        broken.push(of_the_system("views catch up", "not in time after the outage".to_owned()));
    }
    let faults: Vec<_> = played.done.iter().map(|done| (done.at_ms, done.label.as_str())).collect();
    waits.explain(&faults);
    // A last fault may have gone on behind the end of the schedule, and the load with it.
    let lasted = quiet.duration_since(started);
    let seconds = lasted.as_secs().max(1);
    let offered: u64 = accounts.iter().map(|account| account.sent.len() as u64).sum();
    Ok(Report {
        seed: round.seed,
        shape: round.shape.name(),
        seconds,
        rate: round.rate,
        offered_per_second: offered / seconds,
        reached_per_second: waits.answered_by(u32::try_from(lasted.as_millis())?) / seconds,
        wait_ms: waits.percentiles(),
        devices: accounts.len(),
        faults: costs(&played.done, &mut waits.all),
        slowest: waits.slowest,
        outage,
        missed: played.missed,
        clients,
        logged: truth.messages.values().map(|messages| messages.len() as u64).sum(),
        settled_ms,
        core: core_schedule(steps, lasts, CORE_STEPS),
        broken,
        data: None,
    })
}

/// What `natter audit` finds once everything has caught up.
async fn audited(config: &Config) -> anyhow::Result<Vec<Broken>> {
    let options = audit::Options { caught_up_within: Some(CAUGHT_UP_MAX), ..audit::Options::default() };
    let report = audit::run(config, &options).await.context("the audit cannot look")?;
    let differences = report.differences.iter().map(ToString::to_string);
    Ok(differences.map(|seen| of_the_system("the audit is clean", seen)).collect())
}

fn of_the_system(promise: &'static str, seen: String) -> Broken {
    Broken { promise, client: "the system".to_owned(), conversation: 0, seq: 0, seen }
}

/// All devices at work.
struct Crowd {
    devices: JoinSet<Home>,
    harms: Vec<watch::Sender<Harm>>,
    phase: watch::Sender<Phase>,
    settled: watch::Sender<usize>,
}

impl Crowd {
    fn start(round: &Round, system: &System, random: &mut Random, started: Instant) -> anyhow::Result<Self> {
        let world = World::new(random);
        let keys = connect::tenant_keys(&system.config().tenants)?;
        let tenant = Tenant::try_from(TENANT).context("the tenant")?;
        let (phase, settled) = (watch::Sender::new(Phase::Chat), watch::Sender::new(0));
        let devices_count = u32::try_from(world.devices.len())?;
        let gap = Duration::from_secs(1) * devices_count / u32::try_from(round.rate.max(1))?;
        let padding = if round.kinds.contains(&Kind::Disk) { PADDING_LARGE } else { PADDING };
        let (mut devices, mut harms) = (JoinSet::new(), Vec::new());
        for (number, user) in (0..).zip(&world.devices) {
            let name = &world.users[*user];
            let is_first = usize::try_from(number)? < world.users.len();
            let makes = world.rooms.iter().filter(|(maker, _)| is_first && maker == user);
            let identity = Identity {
                number,
                user: name.clone(),
                token: tenants::token(&keys, &tenant, &UserId::try_from(name.as_str())?, None, TOKEN_TTL, false)?,
                visits: is_visitor(*user),
                others: world.users.iter().filter(|other| *other != name).cloned().collect(),
                makes: makes.map(|(_, command)| command.clone()).collect(),
                gateways: system.gateways(),
                gap,
                padding: "x".repeat(padding),
            };
            let harm = watch::Sender::new(Harm::None);
            let orders = Orders { phase: phase.subscribe(), harm: harm.subscribe() };
            let chance = Random::seeded(random.next());
            devices.spawn(Device::new(identity, orders, chance, settled.clone(), started).run());
            harms.push(harm);
        }
        Ok(Self { devices, harms, phase, settled })
    }

    /// No new wishes; returns when all are brought to an end, or at the deadline.
    async fn settle(&self, deadline: Instant) {
        self.phase.send_replace(Phase::Settle);
        let all = self.devices.len();
        // Who is not settled in time says so itself.
        timeout_at(deadline, self.settled.subscribe().wait_for(|settled| *settled >= all)).await.map(drop).ok();
    }

    /// Everybody sees what there is, and comes home.
    async fn read(&mut self, positions: Arc<str>, broken: &mut Vec<Broken>) -> Vec<Home> {
        self.phase.send_replace(Phase::Read(positions));
        let mut homes = Vec::new();
        let deadline = Instant::now() + READ_MAX;
        while let Ok(Some(ended)) = timeout_at(deadline, self.devices.join_next()).await {
            homes.extend(ended);
        }
        if !self.devices.is_empty() {
            let seen = format!("{} devices have not after {} s", self.devices.len(), READ_MAX.as_secs());
            broken.push(of_the_system("everybody sees everything in time", seen));
        }
        self.phase.send_replace(Phase::Over);
        while let Ok(Some(ended)) = timeout(END_MAX, self.devices.join_next()).await {
            homes.extend(ended);
        }
        homes
    }
}

/// The folder of a round's data.
struct Folder {
    path: PathBuf,
    is_mounted: bool,
}

impl Folder {
    fn make(with_disk: bool) -> anyhow::Result<Self> {
        let path = temporary_folder()?;
        let nats = path.join(Backend::Nats.name());
        std::fs::create_dir_all(&nats).with_context(|| format!("cannot make {}", nats.display()))?;
        if with_disk {
            let mut mount = std::process::Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", DISK, "natter-soak"]).arg(&nats);
            let mounted = mount.status().context("cannot run mount")?;
            anyhow::ensure!(mounted.success(), "`--faults disk` has to mount a file system: run it as root");
        }
        Ok(Self { path, is_mounted: with_disk })
    }

    /// Deletes the data, or says where it is kept.
    fn end(self, is_clean: bool) -> Option<PathBuf> {
        if !is_clean {
            return Some(self.path);
        }
        if self.is_mounted {
            let unmounted = std::process::Command::new("umount").arg(self.path.join(Backend::Nats.name())).status();
            if !unmounted.is_ok_and(|status| status.success()) {
                tracing::warn!(data = %self.path.display(), "the file system of nats stays mounted");
                return Some(self.path);
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, data = %self.path.display(), "cannot delete the temporary data");
        }
        None
    }
}
