//! Answers to questions of the guide, counted plainly over the generated data.

#![expect(clippy::cast_precision_loss, reason = "a few thousand messages")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use natter_schemas::wire::times::rfc3339;
use serde_json::{Value, json};

use super::data::{Data, Message};

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

/// What the question with this number is answered with; `None`: it is not counted here.
pub fn answer(question: usize, data: &Data) -> Option<Vec<Value>> {
    Some(match question {
        1 => by(data, |message| rfc3339(message.at_ms)[..10].to_owned())
            .into_iter()
            .map(|(day, messages)| json!({ "day": day, "messages": messages.len() }))
            .collect(),
        2 => most_active(data),
        3 => vec![most(&by(data, |message| message.at_ms / HOUR % 24), |hour| ("hour", json!(hour)))],
        6 => newcomers(data),
        5 => by(data, |message| format!("{}-01", &rfc3339(message.at_ms)[..7]))
            .into_iter()
            .map(|(month, messages)| json!({ "month": month, "people": people(&messages), "messages": messages.len() }))
            .collect(),
        4 => by(data, |message| (weekday(message.at_ms), message.at_ms / HOUR % 24))
            .into_iter()
            .map(|((weekday, hour), messages)| json!({ "weekday": weekday, "hour_of_day": hour, "messages": messages.len() }))
            .collect(),
        8 => vec![answers(data)],
        10 => vec![silences(data)],
        12 => {
            let masked = data.messages.iter().filter(|message| message.masked).count();
            let percent = round(100.0 * ratio(masked, data.messages.len()), 3);
            vec![json!({ "messages": data.messages.len(), "masked_messages": masked, "percent": number(percent) })]
        }
        13 => touched(data),
        14 => Data::refused()
            .into_iter()
            .map(|(code, _, times)| json!({ "command": "message.send", "code": code, "times": times, "people": 3 }))
            .collect(),
        15 => behind(data),
        16 => searched(data),
        17 => vec![lengths(data)],
        18 => {
            let minutes = by(data, |message| rfc3339(message.at_ms)[..16].replace('T', " ") + ":00");
            vec![most(&minutes, |minute| ("minute", json!(minute)))]
        }
        19 => vec![parts(data)],
        _ => return None,
    })
}

fn by<K: Ord>(data: &Data, key: impl Fn(&Message) -> K) -> BTreeMap<K, Vec<&Message>> {
    let mut groups = BTreeMap::<K, Vec<&Message>>::new();
    for message in &data.messages {
        groups.entry(key(message)).or_default().push(message);
    }
    groups
}

fn people(messages: &[&Message]) -> usize {
    messages.iter().map(|message| &message.sender).collect::<BTreeSet<_>>().len()
}

/// The largest group, of equal ones the first.
fn most<K: Ord>(groups: &BTreeMap<K, Vec<&Message>>, name: impl Fn(&K) -> (&'static str, Value)) -> Value {
    let (key, messages) = groups.iter().min_by_key(|(key, messages)| (Reverse(messages.len()), *key)).unwrap();
    let (column, value) = name(key);
    json!({ column: value, "messages": messages.len() })
}

fn newcomers(data: &Data) -> Vec<Value> {
    let mut known = BTreeSet::new();
    let mut months = BTreeMap::<String, u64>::new();
    for message in &data.messages {
        if known.insert(&message.sender) {
            *months.entry(format!("{}-01", &rfc3339(message.at_ms)[..7])).or_default() += 1;
        }
    }
    months.into_iter().map(|(month, newcomers)| json!({ "month": month, "newcomers": newcomers })).collect()
}

fn most_active(data: &Data) -> Vec<Value> {
    let mut rooms: Vec<_> = data.rooms().into_iter().map(|(room, messages)| (data.room_name(room), messages)).collect();
    rooms.sort_by_key(|(room, messages)| (Reverse(messages.len()), room.clone()));
    let row = |(room, messages): (String, Vec<&Message>)| json!({ "room": room, "messages": messages.len(), "people": people(&messages) });
    rooms.into_iter().take(10).map(row).collect()
}

/// Each message with the one before it in its room.
fn pairs(data: &Data) -> Vec<(&Message, &Message)> {
    let rooms = data.rooms();
    rooms.values().flat_map(|messages| messages.windows(2).map(|two| (two[0], two[1])).collect::<Vec<_>>()).collect()
}

/// As `dateDiff('second', …)`: seconds that have begun in between.
fn seconds(before: &Message, message: &Message) -> u64 {
    message.at_ms / SECOND - before.at_ms / SECOND
}

fn answers(data: &Data) -> Value {
    let answers = pairs(data).into_iter().filter(|(before, message)| before.sender != message.sender);
    let mut waits: Vec<u64> = answers.map(|(before, message)| message.at_ms - before.at_ms).collect();
    waits.sort_unstable();
    let seconds = |share, of| number(quantile(&waits, share, of) as f64 / 1000.0);
    json!({ "answers": waits.len(), "median": seconds(1, 2), "nine_of_ten": seconds(9, 10) })
}

/// Monday is 1; the first day of 1970 was a Thursday.
fn weekday(at_ms: u64) -> u64 {
    (at_ms / (24 * HOUR) + 3) % 7 + 1
}

fn searched(data: &Data) -> Vec<Value> {
    let has = |message: &Message| {
        let words: Vec<String> = message.text.split([' ', '-']).map(str::to_lowercase).collect();
        ["kernel", "panic"].iter().all(|word| words.iter().any(|other| other == word))
    };
    let found = by(data, |message| (!has(message), format!("{}-01", &rfc3339(message.at_ms)[..7])));
    let found = found.into_iter().filter(|((lacks, _), _)| !lacks);
    found
        .map(
            |((_, month), messages)| json!({ "month": month, "messages": messages.len(), "people": people(&messages) }),
        )
        .collect()
}

/// As ClickHouse writes one: a whole number has no point.
fn number(value: f64) -> Value {
    serde_json::from_str(&value.to_string()).unwrap()
}

/// As `quantileExact(share / of)`.
fn quantile(sorted: &[u64], share: usize, of: usize) -> u64 {
    sorted[(sorted.len() * share / of).min(sorted.len() - 1)]
}

fn silences(data: &Data) -> Value {
    let waits: Vec<u64> = pairs(data).into_iter().map(|(before, message)| seconds(before, message)).collect();
    let mean = waits.iter().sum::<u64>() as f64 / waits.len() as f64;
    json!({ "longest_seconds": waits.iter().max(), "mean_seconds": number(round(mean, 2)) })
}

/// Every list by itself, whether its words were masked, flagged or refused.
fn touched(data: &Data) -> Vec<Value> {
    let mut times = BTreeMap::<(&str, &str), u64>::new();
    for message in &data.messages {
        for list in message.lists() {
            *times.entry((list, if message.masked { "masked" } else { "flagged" })).or_default() += 1;
        }
    }
    for (code, lists, refused) in Data::refused() {
        for list in lists {
            *times.entry((list, code)).or_default() += refused;
        }
    }
    let mut rows: Vec<_> = times.into_iter().collect();
    rows.sort_by_key(|(key, times)| (Reverse(*times), *key));
    rows.into_iter()
        .map(|((list, outcome), times)| json!({ "list": list, "outcome": outcome, "times": times }))
        .collect()
}

fn behind(data: &Data) -> Vec<Value> {
    let rooms = data.rooms();
    let mut rows: Vec<(usize, String, usize, u64)> = rooms
        .iter()
        .map(|(room, messages)| {
            let last = messages.len() as u64;
            let members: Vec<u64> = data.members.iter().filter(|(of, ..)| of == room).map(|(.., read)| *read).collect();
            let behind = members.iter().filter(|read| **read < last).count();
            (behind, data.room_name(*room), members.len(), members.iter().map(|read| last - read).sum())
        })
        .collect();
    rows.sort_by_key(|(behind, room, members, _)| (Reverse(*behind), Reverse(*members), room.clone()));
    let row = |(behind, room, members, unread)| json!({ "room": room, "members": members, "behind": behind, "unread": unread });
    rows.into_iter().take(10).map(row).collect()
}

fn lengths(data: &Data) -> Value {
    let mut lengths: Vec<u64> = data.messages.iter().map(|message| message.text.chars().count() as u64).collect();
    lengths.sort_unstable();
    let quantiles = [quantile(&lengths, 1, 2), quantile(&lengths, 9, 10), quantile(&lengths, 99, 100)];
    json!({ "characters": quantiles, "longest": lengths.last() })
}

fn parts(data: &Data) -> Value {
    let mut parts: Vec<usize> = Vec::new();
    for messages in data.rooms().values() {
        for (index, message) in messages.iter().enumerate() {
            match index.checked_sub(1).map(|before| seconds(messages[before], message)) {
                Some(silence) if silence <= 1800 => *parts.last_mut().unwrap() += 1,
                _ => parts.push(1),
            }
        }
    }
    let mean = round(ratio(parts.iter().sum(), parts.len()), 2);
    json!({ "conversations": parts.len(), "mean_messages": number(mean), "longest": parts.iter().max() })
}

fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
