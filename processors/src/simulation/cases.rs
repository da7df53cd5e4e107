//! The worst schedules so far, each by name: what broke something once, or could.
//!
//! A schedule that fails in `natter soak` is printed for the core at the end of its report; it belongs here.

use super::schedule::parse;
use super::{Simulation, check, run};

/// Name, seed, schedule.
const CASES: &[(&str, u64, &str)] = &[
    (
        "a worker dies between storing and hearing of it, again and again",
        1,
        "20 lost-ack; 24 kill; 60 lost-ack; 61 kill; 62 lost-ack; 63 kill; 200 lost-ack; 201 double; 202 kill",
    ),
    (
        "redis is flushed under two workers, and again while it fills",
        2,
        "40 double; 45 flush; 50 flush; 55 kill; 56 flush; 120 double; 121 flush; 122 lost-ack",
    ),
    (
        "the view stands, is away and falls back while workers change",
        3,
        "30 stand; 40 kill; 50 redis-away; 60 fall-back; 62 double; 70 stand; 90 kill; 91 flush; 150 fall-back; 151 fall-back; 152 fall-back",
    ),
    (
        "the broker's clock goes back a day, forth a week, and back",
        4,
        "40 clock -86400000; 80 clock 604800000; 81 kill; 120 clock -700000; 121 double; 160 clock 90000000; 200 flush; 240 clock -5000",
    ),
    (
        "resends while the history is away and the view is empty",
        5,
        "50 history-away; 51 flush; 60 kill; 100 history-away; 101 flush; 102 stand; 150 history-away; 151 double; 152 lost-ack",
    ),
    (
        "soak 40, one: natter is killed between freezes of nats, then redis is flushed; a wait of 8.2 s",
        40,
        "20 lost-ack; 80 kill; 253 lost-ack; 291 lost-ack; 361 flush",
    ),
    (
        "soak 41, apart: redis is flushed four times while the history and the view stand",
        41,
        "20 history-away; 39 flush; 76 stand; 122 history-away; 139 lost-ack; 171 flush; 256 flush; 279 flush",
    ),
];

fn play(seed: u64, schedule: &str) {
    run(async {
        let mut simulation = Simulation::calm(seed, 3, 48);
        let events = parse(schedule);
        for step in 0..400 {
            for (_, event) in events.iter().filter(|(at, _)| *at == step) {
                simulation.happens(*event).await;
            }
            simulation.step().await;
        }
        check(simulation).await
    });
}

/// Invariants 1 to 5 and 12, beside whatever has happened.
#[test]
fn the_worst_schedules_do_no_harm() {
    for (name, seed, schedule) in CASES {
        let played = std::panic::catch_unwind(|| play(*seed, schedule));
        if let Err(panic) = played {
            eprintln!("{name}: seed {seed}, {schedule}");
            std::panic::resume_unwind(panic);
        }
    }
}
