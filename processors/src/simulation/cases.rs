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
    (
        "soak 7, apart: 72 kills; the presences of dead processes came back with a killed broker, and two partitions had no worker",
        7,
        "1 history-away; 39 history-away; 46 kill; 53 stand; 61 stand; 75 kill; 80 history-away; 100 kill; \
         104 history-away; 109 kill; 114 kill; 119 kill; 123 stand; 127 history-away; 142 stand; 159 kill; \
         163 history-away; 166 stand; 172 stand; 190 history-away; 193 lost-ack; 196 stand; 204 kill; \
         222 lost-ack; 227 history-away; 249 kill; 262 history-away; 268 kill; 279 lost-ack; \
         290 history-away; 297 kill; 305 stand; 312 stand; 320 kill; 323 stand; 340 stand; 350 stand; \
         354 history-away; 361 stand; 373 stand; 379 fall-back; 383 stand",
    ),
    (
        "soak 1181220110, one: everything at once on a busy machine; a wait of 32 s",
        1_181_220_110,
        "12 lost-ack; 16 double; 22 kill; 34 lost-ack; 36 lost-ack; 47 lost-ack; 51 stand; 64 history-away; \
         69 flush; 74 double; 76 lost-ack; 80 history-away; 82 lost-ack; 85 flush; 89 flush; 91 stand; \
         99 kill; 106 redis-away; 111 history-away; 116 kill; 128 redis-away; 131 lost-ack; 133 flush; \
         136 fall-back; 140 flush; 148 lost-ack; 150 flush; 156 lost-ack; 163 lost-ack; 164 fall-back; \
         174 lost-ack; 178 history-away; 191 redis-away; 194 flush; 210 redis-away; 214 flush; 221 lost-ack; \
         226 kill; 238 lost-ack; 247 flush; 249 kill; 251 flush; 256 flush; 263 flush; 274 flush; \
         278 lost-ack; 280 history-away; 287 lost-ack; 311 redis-away; 314 redis-away; 318 lost-ack; \
         320 flush; 324 fall-back; 326 flush; 333 history-away; 337 lost-ack; 341 lost-ack; 346 lost-ack; \
         350 lost-ack; 352 flush; 357 flush; 359 redis-away; 368 lost-ack; 370 lost-ack; 373 lost-ack; \
         374 kill; 395 redis-away",
    ),
    (
        "soak 1181220109, apart: 202 faults in 302 s; a wait of 25 s",
        1_181_220_109,
        "8 history-away; 21 lost-ack; 25 fall-back; 29 kill; 35 flush; 40 lost-ack; 46 kill; \
         48 history-away; 49 redis-away; 53 lost-ack; 58 history-away; 59 redis-away; 62 flush; 79 stand; \
         81 lost-ack; 83 lost-ack; 86 redis-away; 89 lost-ack; 94 history-away; 99 flush; 100 lost-ack; \
         102 lost-ack; 104 flush; 107 flush; 108 stand; 114 redis-away; 122 double; 123 redis-away; \
         127 stand; 133 flush; 137 redis-away; 139 redis-away; 143 stand; 146 kill; 149 history-away; \
         150 kill; 152 lost-ack; 158 stand; 163 history-away; 164 lost-ack; 166 flush; 169 kill; 171 flush; \
         174 lost-ack; 176 stand; 181 flush; 187 lost-ack; 188 history-away; 189 stand; 194 kill; 196 flush; \
         197 lost-ack; 205 lost-ack; 217 stand; 220 kill; 223 lost-ack; 224 history-away; 226 redis-away; \
         228 flush; 232 kill; 233 redis-away; 236 flush; 239 redis-away; 240 redis-away; 242 lost-ack; \
         244 lost-ack; 247 lost-ack; 252 flush; 256 stand; 258 kill; 260 fall-back; 265 flush; 270 lost-ack; \
         283 flush; 286 lost-ack; 290 flush; 292 lost-ack; 295 stand; 298 flush; 300 kill; 304 history-away; \
         307 lost-ack; 309 lost-ack; 311 lost-ack; 325 flush; 329 lost-ack; 332 flush; 335 history-away; \
         349 flush; 356 lost-ack; 359 flush; 361 redis-away; 363 kill; 366 lost-ack; 369 flush; \
         371 history-away; 372 history-away; 376 flush; 382 lost-ack; 384 redis-away; 386 redis-away; \
         388 history-away; 392 kill; 393 lost-ack; 395 flush; 398 flush",
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
