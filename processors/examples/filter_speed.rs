//! Measures the abuse filter on one core.
//!
//!     cargo run --release -p natter-processors --example filter_speed -- [MESSAGES.txt [LIST.txt]...]
//!
//! Messages and words are one a line. Without files: seeded made-up chat of the usual lengths (median 43 bytes), and
//! 2,000 made-up words. The last lines are texts made to be slow, at the longest that a message may be.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "figures for a reader")]

use std::io::{Write, stdout};
use std::time::Instant;

use natter_processors::filter::{Action, Filter, Verdict, WordList};

const MESSAGES: usize = 200_000;
const WORDS: usize = 2_000;
const SEED: u64 = 0x6e61_7474_6572;

fn main() -> std::io::Result<()> {
    let mut paths = std::env::args().skip(1);
    let mut random = Random(SEED);
    let messages = match paths.next() {
        Some(path) => lines(&path)?,
        None => (0..MESSAGES).map(|_| message(&mut random)).collect(),
    };
    let mut lists = Vec::new();
    for path in paths {
        lists.push(WordList { words: lines(&path)?, name: path, action: Action::Mask });
    }
    if lists.is_empty() {
        let words = (0..WORDS).map(|_| word(&mut random, 5)).collect();
        lists.push(WordList { name: "made-up".to_owned(), action: Action::Mask, words });
    }

    let started = Instant::now();
    let filter = Filter::compile(&lists).map_err(std::io::Error::other)?;
    let mut out = stdout();
    writeln!(
        out,
        "compiled {} words in {:.1?}",
        lists.iter().map(|list| list.words.len()).sum::<usize>(),
        started.elapsed()
    )?;

    let median = {
        let mut lengths: Vec<usize> = messages.iter().map(String::len).collect();
        lengths.sort_unstable();
        lengths.get(lengths.len() / 2).copied().unwrap_or_default()
    };
    measure(&mut out, &filter, &format!("chat, median {median} bytes"), &messages)?;
    for (name, piece) in [
        ("letters", "ab"),
        ("spelled", "a "),
        ("dashes", "a-1"),
        ("leet", "a1!"),
        ("marks", "u\u{308}"),
        ("marks out of order", "u\u{302}\u{323}"),
        ("flags", "🇹🇼"),
        ("Han", "笨"),
    ] {
        let slow: String = piece.chars().cycle().take(4_096).collect();
        measure(&mut out, &filter, &format!("4,096 scalars of {name}"), &vec![slow; 500])?;
    }
    Ok(())
}

fn measure(out: &mut impl Write, filter: &Filter, name: &str, messages: &[String]) -> std::io::Result<()> {
    let started = Instant::now();
    let hits = messages.iter().filter(|text| filter.check(text) != Verdict::Clean).count();
    let seconds = started.elapsed().as_secs_f64();
    let bytes: usize = messages.iter().map(String::len).sum();
    let rate = messages.len() as f64 / seconds;
    let megabytes = bytes as f64 / seconds / 1e6;
    writeln!(out, "{name}: {rate:.0} messages/s, {megabytes:.0} MB/s, {hits} of {} not clean", messages.len())
}

fn lines(path: &str) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Words of chat lengths, now and then with a number, a dash, a capital, or beyond ASCII.
fn message(random: &mut Random) -> String {
    let words = 1 + random.below(8) + random.below(8);
    let mut text = String::new();
    for at in 0..words {
        let length = 1 + random.below(4) + random.below(4);
        match random.below(40) {
            0 => text += &random.below(2_000).to_string(),
            1 => text += &[word(random, length), word(random, length)].join("-"),
            2 => text += &word(random, length).to_uppercase(),
            3 => text += "schön",
            _ => text += &word(random, length),
        }
        text.push_str(if at + 1 == words { "" } else { [" ", " ", " ", ", "][random.below(4)] });
    }
    text
}

fn word(random: &mut Random, length: usize) -> String {
    (0..length).map(|_| char::from(b"etaoinshrdlucmfwyp"[random.below(18)])).collect()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
