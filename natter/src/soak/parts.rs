//! The parts of a system that can be broken, and the links between them.

use std::fmt;

use crate::backends::Backend;

/// How the system is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// `natter up`: all roles in one process, which starts the backends.
    One,
    /// Each role in processes of its own: three gateways, two processors, two projectors.
    Apart,
}

impl Shape {
    /// In reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Apart => "apart",
        }
    }
}

/// What a process of natter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everything: `natter up`.
    Up,
    /// The edge.
    Gateway,
    /// Decides.
    Processor,
    /// Keeps the views.
    Projector,
}

impl Role {
    /// The subcommand.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Gateway => "gateway",
            Self::Processor => "processor",
            Self::Projector => "projector",
        }
    }
}

/// One process of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One of natter's, by role and number.
    Natter(Role, u8),
    /// A server that natter stands on.
    Backend(Backend),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Natter(Role::Up, _) => f.write_str("natter"),
            Self::Natter(role, number) => write!(f, "{}-{number}", role.name()),
            Self::Backend(backend) => f.write_str(backend.name()),
        }
    }
}

/// A link that a proxy lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// Who connects; `None`: the clients.
    pub from: Option<Part>,
    /// To whom.
    pub to: Part,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(from) => write!(f, "{from}→{}", self.to),
            None => write!(f, "clients→{}", self.to),
        }
    }
}

/// Natter's own processes in a system of this shape.
pub fn processes(shape: Shape) -> Vec<Part> {
    let counts: &[(Role, u8)] = match shape {
        Shape::One => &[(Role::Up, 1)],
        Shape::Apart => &[(Role::Gateway, 3), (Role::Processor, 2), (Role::Projector, 2)],
    };
    counts.iter().flat_map(|(role, count)| (0..*count).map(|number| Part::Natter(*role, number))).collect()
}

/// Every process in a system of this shape.
pub fn parts(shape: Shape) -> Vec<Part> {
    processes(shape).into_iter().chain(Backend::ALL.map(Part::Backend)).collect()
}

/// Every link in a system of this shape that has a proxy. What `natter up` starts it reaches directly.
pub fn wires(shape: Shape) -> Vec<Wire> {
    let mut wires = Vec::new();
    for part in processes(shape) {
        let Part::Natter(role, _) = part else { continue };
        if matches!(role, Role::Up | Role::Gateway) {
            wires.push(Wire { from: None, to: part });
        }
        if role != Role::Up {
            let to = [Backend::Nats, Backend::Redis, Backend::ClickHouse];
            wires.extend(to.map(|to| Wire { from: Some(part), to: Part::Backend(to) }));
        }
    }
    wires
}
