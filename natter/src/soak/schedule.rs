//! What is broken when: made from a seed before anything runs, so that a seed repeats it. Pure.

use std::fmt;
use std::time::Duration;

use natter_schemas::random::Random;

use super::parts::{Part, Role, Shape, Wire, parts, wires};
use super::proxy::Link;
use crate::backends::Backend;

/// Nothing is broken before: clients make their rooms.
const QUIET: Duration = Duration::from_secs(1);
/// `natter` gives a backend up that dies five times within ten seconds of its start each, as it says; so it is let live.
const BACKEND_REST: Duration = Duration::from_secs(12);
/// `natter up` takes some seconds to start, and its backends with it.
const UP_REST: Duration = Duration::from_secs(10);
/// A role's process is let come up before it is killed again.
const ROLE_REST: Duration = Duration::from_millis(2500);

/// A partition that was full is let have room.
const RESERVE_REST: Duration = Duration::from_secs(12);
/// Of the log, as it is by default.
const PARTITIONS: u16 = 4;

/// A kind of fault, as `--faults` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// SIGKILL of a process; it is started again.
    Kill,
    /// SIGTERM of a process, which drains; it is started again.
    Term,
    /// SIGSTOP of a process, and SIGCONT up to 6 s later.
    Freeze,
    /// A link between two parts is cut, stalled or slow for up to 5 s.
    Link,
    /// FLUSHALL of Redis.
    Flush,
    /// Sockets of clients are cut without a goodbye.
    Sockets,
    /// Clients stop reading for some seconds.
    Slow,
    /// The disk of NATS is full for some seconds (as root: a file system of its own).
    Disk,
    /// The streams of a partition are full for some seconds; then they are made larger.
    Reserve,
}

impl Kind {
    /// All that need no privileges.
    pub const USUAL: [Self; 8] =
        [Self::Kill, Self::Term, Self::Freeze, Self::Link, Self::Flush, Self::Sockets, Self::Slow, Self::Reserve];
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill(Part),
    /// SIGTERM.
    Term(Part),
    /// SIGSTOP for so long.
    Freeze(Part, Duration),
    /// The link is like this for so long.
    Link(Wire, Link, Duration),
    /// Redis loses everything.
    Flush,
    /// So many of a hundred clients lose their socket.
    Sockets(u64),
    /// So many of a hundred clients do not read for so long.
    Slow(u64, Duration),
    /// NATS cannot write for so long.
    Disk(Duration),
    /// The streams of so-manieth partition have no room for so long.
    Reserve(u16, Duration),
}

/// A fault in its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// From the start of the load.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
}

/// How a schedule is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of everything that is left to chance.
    pub seed: u64,
    /// Of the system.
    pub shape: Shape,
    /// Which faults there are.
    pub kinds: Vec<Kind>,
    /// How long the load runs.
    pub lasts: Duration,
    /// So many faults in that time; without it one in 1.5 s (`one`: 2.5 s).
    pub count: Option<u32>,
}

/// The schedule of a plan. Where `count` is given it has so many steps, however long that takes.
pub fn schedule(plan: &Plan) -> Vec<Step> {
    let mut maker = Maker { random: Random::seeded(plan.seed), shape: plan.shape, rests: Vec::new(), full: Vec::new() };
    let room = plan.lasts.saturating_sub(2 * QUIET);
    let gap = match (plan.count, plan.shape) {
        (Some(count), _) => room / count.max(1),
        (None, Shape::Apart) => Duration::from_millis(1500),
        (None, Shape::One) => Duration::from_millis(2500),
    };
    let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX).max(2);
    let mut at = QUIET;
    let mut steps = Vec::new();
    while !plan.kinds.is_empty() && plan.count.map_or(at + QUIET < plan.lasts, |count| steps.len() < count as usize) {
        if let Some(fault) = maker.fault(&plan.kinds, at) {
            steps.push(Step { at, fault });
        }
        at += Duration::from_millis(gap_ms / 2 + maker.random.below(gap_ms));
    }
    steps
}

struct Maker {
    random: Random,
    shape: Shape,
    /// Until when a part is not killed again.
    rests: Vec<(Part, Duration)>,
    /// Until when a partition is not filled again.
    full: Vec<(u16, Duration)>,
}

impl Maker {
    fn fault(&mut self, kinds: &[Kind], at: Duration) -> Option<Fault> {
        Some(match *self.random.of(kinds) {
            Kind::Kill => Fault::Kill(self.victim(at)?),
            Kind::Term => Fault::Term(self.victim(at)?),
            Kind::Freeze => Fault::Freeze(*self.random.of(&parts(self.shape)), self.time(300, 6000)),
            Kind::Link => {
                let wire = *self.random.of(&wires(self.shape));
                let link = match self.random.below(3) {
                    0 => Link::Cut,
                    1 => Link::Stalled,
                    _ => Link::Slow(self.time(2, 80)),
                };
                Fault::Link(wire, link, self.time(100, 5000))
            }
            Kind::Flush => Fault::Flush,
            Kind::Sockets => Fault::Sockets(self.random.between(5, 101)),
            Kind::Slow => Fault::Slow(self.random.between(5, 40), self.time(1000, 6000)),
            Kind::Disk => {
                // It is restarted then, and one ballast at a time is enough.
                if self.rests(Part::Backend(Backend::Nats), at) {
                    return None;
                }
                self.rests.push((Part::Backend(Backend::Nats), at + BACKEND_REST));
                Fault::Disk(self.time(1000, 4000))
            }
            Kind::Reserve => {
                let partition = u16::try_from(self.random.below(u64::from(PARTITIONS))).unwrap_or(0);
                if self.full.iter().any(|(full, until)| *full == partition && *until > at) {
                    return None;
                }
                self.full.push((partition, at + RESERVE_REST));
                Fault::Reserve(partition, self.time(1000, 6000))
            }
        })
    }

    fn time(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.random.between(from_ms, to_ms))
    }

    fn rests(&self, part: Part, at: Duration) -> bool {
        self.rests.iter().any(|(resting, until)| *resting == part && *until > at)
    }

    /// A process that may be ended now.
    fn victim(&mut self, at: Duration) -> Option<Part> {
        let rested: Vec<Part> = parts(self.shape).into_iter().filter(|part| !self.rests(*part, at)).collect();
        if rested.is_empty() {
            return None;
        }
        let victim = *self.random.of(&rested);
        let rest = match victim {
            Part::Backend(_) => BACKEND_REST,
            Part::Natter(Role::Up, _) => UP_REST,
            Part::Natter(..) => ROLE_REST,
        };
        self.rests.push((victim, at + rest));
        if victim == Part::Natter(Role::Up, 0) {
            // They die with it.
            self.rests.extend(Backend::ALL.map(|backend| (Part::Backend(backend), at + BACKEND_REST)));
        }
        Some(victim)
    }
}

impl Fault {
    /// What is counted together in a report.
    pub fn label(&self) -> String {
        let of = |part: &Part| match part {
            Part::Natter(Role::Up, _) => "natter",
            Part::Natter(role, _) => role.name(),
            Part::Backend(backend) => backend.name(),
        };
        match self {
            Self::Kill(part) => format!("kill {}", of(part)),
            Self::Term(part) => format!("term {}", of(part)),
            Self::Freeze(part, _) => format!("freeze {}", of(part)),
            Self::Link(wire, link, _) => {
                let how = match link {
                    Link::Cut => "cut",
                    Link::Stalled => "stall",
                    Link::Slow(_) => "delay",
                    Link::Whole => "mend",
                };
                format!("{how} {}→{}", wire.from.as_ref().map_or("clients", of), of(&wire.to))
            }
            Self::Flush => "flush redis".to_owned(),
            Self::Sockets(_) => "cut sockets".to_owned(),
            Self::Slow(..) => "slow readers".to_owned(),
            Self::Disk(_) => "disk full".to_owned(),
            Self::Reserve(..) => "log full".to_owned(),
        }
    }

    /// What this fault is to the core of one partition, in the words of the simulation in `processors/src/simulation`;
    /// `None`: it does not reach that far.
    pub fn to_core(self) -> Option<&'static str> {
        let is_backend = |part, wanted| part == Part::Backend(wanted);
        let decides = |part| matches!(part, Part::Natter(Role::Processor | Role::Up, _));
        let projects = |part| matches!(part, Part::Natter(Role::Projector | Role::Up, _));
        match self {
            Self::Kill(part) | Self::Term(part) if decides(part) => Some("kill"),
            // The lease moves on while the frozen worker knows nothing of it.
            Self::Freeze(part, time) if decides(part) && time > Duration::from_secs(3) => Some("double"),
            Self::Kill(part) | Self::Term(part) | Self::Freeze(part, _) if is_backend(part, Backend::Nats) => {
                Some("lost-ack")
            }
            Self::Link(Wire { from: Some(from), to }, ..) if decides(from) && is_backend(to, Backend::Nats) => {
                Some("lost-ack")
            }
            Self::Disk(_) | Self::Reserve(..) => Some("lost-ack"),
            Self::Flush => Some("flush"),
            Self::Kill(part) if is_backend(part, Backend::Redis) => Some("fall-back"),
            Self::Kill(part) | Self::Freeze(part, _) if projects(part) => Some("stand"),
            Self::Term(part) | Self::Freeze(part, _) if is_backend(part, Backend::Redis) => Some("redis-away"),
            Self::Link(Wire { to, .. }, ..) if is_backend(to, Backend::Redis) => Some("redis-away"),
            Self::Kill(part) | Self::Term(part) | Self::Freeze(part, _) if is_backend(part, Backend::ClickHouse) => {
                Some("history-away")
            }
            Self::Link(Wire { to, .. }, ..) if is_backend(to, Backend::ClickHouse) => Some("history-away"),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.3} s  ", self.at.as_secs_f64())?;
        let ms = |time: &Duration| time.as_millis();
        match &self.fault {
            Fault::Kill(part) => write!(f, "kill {part}"),
            Fault::Term(part) => write!(f, "term {part}"),
            Fault::Freeze(part, time) => write!(f, "freeze {part} for {} ms", ms(time)),
            Fault::Link(wire, Link::Slow(delay), time) => {
                write!(f, "delay {wire} by {} ms for {} ms", ms(delay), ms(time))
            }
            Fault::Link(wire, Link::Stalled, time) => write!(f, "stall {wire} for {} ms", ms(time)),
            Fault::Link(wire, _, time) => write!(f, "cut {wire} for {} ms", ms(time)),
            Fault::Flush => f.write_str("flush redis"),
            Fault::Sockets(percent) => write!(f, "cut the sockets of {percent} % of the clients"),
            Fault::Slow(percent, time) => write!(f, "{percent} % of the clients do not read for {} ms", ms(time)),
            Fault::Disk(time) => write!(f, "the disk of nats is full for {} ms", ms(time)),
            Fault::Reserve(partition, time) => {
                write!(f, "the log of partition {partition} is full for {} ms", ms(time))
            }
        }
    }
}

/// The same schedule for the core of a partition: steps of a simulation that has `steps` of them, such as
/// `12 kill; 40 flush`.
pub fn core_schedule(schedule: &[Step], lasts: Duration, steps: u32) -> String {
    let core = schedule.iter().filter_map(|step| {
        let at = step.at.as_secs_f64() / lasts.as_secs_f64().max(1.0) * f64::from(steps);
        step.fault.to_core().map(|event| format!("{at:.0} {event}"))
    });
    core.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64, shape: Shape) -> Plan {
        Plan { seed, shape, kinds: Kind::USUAL.to_vec(), lasts: Duration::from_secs(300), count: None }
    }

    #[test]
    fn a_seed_repeats_its_schedule() {
        assert_eq!(schedule(&plan(7, Shape::Apart)), schedule(&plan(7, Shape::Apart)));
        assert_ne!(schedule(&plan(7, Shape::Apart)), schedule(&plan(8, Shape::Apart)));
    }

    #[test]
    fn every_kind_and_every_part_has_its_turn() {
        for shape in [Shape::One, Shape::Apart] {
            let plan = Plan { lasts: Duration::from_secs(3000), ..plan(1, shape) };
            let labels: std::collections::BTreeSet<String> =
                schedule(&plan).iter().map(|step| step.fault.label()).collect();
            let own: &[&str] = match shape {
                Shape::One => &["natter"],
                Shape::Apart => &["gateway", "processor", "projector"],
            };
            for part in own.iter().chain(&["nats", "redis", "clickhouse", "s3"]) {
                for kind in ["kill", "term", "freeze"] {
                    assert!(labels.contains(&format!("{kind} {part}")), "{kind} {part} in {labels:?}");
                }
            }
            for label in ["flush redis", "cut sockets", "slow readers", "log full"] {
                assert!(labels.contains(label), "{label}");
            }
        }
    }

    #[test]
    fn kills_are_counted_and_no_backend_is_killed_until_it_is_given_up() {
        let kills = Plan { kinds: vec![Kind::Kill], count: Some(1000), ..plan(3, Shape::Apart) };
        let steps = schedule(&kills);
        assert_eq!(steps.len(), 1000);
        for backend in Backend::ALL {
            let of = |step: &&Step| step.fault == Fault::Kill(Part::Backend(backend));
            let times: Vec<Duration> = steps.iter().filter(of).map(|step| step.at).collect();
            assert!(times.windows(2).all(|pair| pair[0] + BACKEND_REST <= pair[1]));
        }
    }

    #[test]
    fn a_schedule_becomes_one_of_the_core() {
        let at = Duration::from_secs;
        let steps = [
            Step { at: at(1), fault: Fault::Kill(Part::Natter(Role::Processor, 1)) },
            Step { at: at(2), fault: Fault::Sockets(9) },
            Step { at: at(5), fault: Fault::Flush },
            Step { at: at(9), fault: Fault::Freeze(Part::Natter(Role::Up, 0), at(4)) },
        ];
        assert_eq!(core_schedule(&steps, at(10), 400), "40 kill; 200 flush; 360 double");
    }
}
