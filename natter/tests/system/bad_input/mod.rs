//! Bad input, over real sockets, against a whole system in a process of its own: each case is told so by an error or a close code
//! of the one table, is counted, costs the others nothing, and leaves no memory behind.
//!
//! The cases are data. The table in `docs/bad-input.md` is rendered from them:
//! `NATTER_WRITE_DOCS=1 cargo test -p natter --test system bad_input` writes it anew.

mod bystander;
mod case;
mod commands;
mod frames;
mod http;
mod scenes;
mod system;
mod table;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bystander::Bystander;
use case::Group;
use system::System;
use tokio::time::timeout;

/// Below the deadline of each step, so that a case that hangs is named and the others go on.
const CASE_DEADLINE: Duration = Duration::from_secs(15);

/// What the process may have gained when all is over, for allocators do not give everything back at once.
const GAINED_BYTES_MAX: u64 = 128 << 20;

fn groups() -> Vec<Group> {
    vec![
        Group { name: "Commands", about: commands::ABOUT, cases: commands::cases() },
        Group { name: "WebSocket frames", about: frames::ABOUT, cases: frames::cases() },
        Group { name: "HTTP requests", about: http::ABOUT, cases: http::cases() },
        Group { name: "Tokens and handshakes", about: tokens::ABOUT, cases: tokens::cases() },
        Group { name: "Time and numbers", about: scenes::ABOUT, cases: scenes::cases() },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_and_counted_and_costs_nobody_anything() {
    let system = System::start().await;
    let before = system.resident_bytes();
    let bystander = Bystander::start(&system).await;
    let mut wrong = Vec::new();
    for case in groups().into_iter().flat_map(|group| group.cases) {
        let ran = timeout(CASE_DEADLINE, case.run(&system)).await;
        if let Err(reason) = ran.unwrap_or_else(|_| Err("nothing came of it in time".to_owned())) {
            wrong.push(format!("{}: {reason}", case.sent));
        }
    }
    let seen = bystander.stop().await;
    let after = system.resident_bytes();
    println!("the bystander's {seen}; resident {} MiB before and {} MiB after", before >> 20, after >> 20);
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}\n{}", wrong.len(), wrong.join("\n"), system.log());
    assert!(after < before + GAINED_BYTES_MAX, "{before} bytes became {after}");
}

#[test]
fn the_documentation_is_what_the_tests_hold() {
    let path = documentation();
    let written = std::fs::read_to_string(&path).expect("docs/bad-input.md");
    let (rendered, is_write) = (table::render(&written, &groups()), std::env::var_os("NATTER_WRITE_DOCS").is_some());
    if is_write {
        std::fs::write(&path, &rendered).expect("docs/bad-input.md can be written");
    }
    assert!(is_write || written == rendered, "docs/bad-input.md is not what the tests hold; see the head of this file");
}

fn documentation() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bad-input.md")
}
