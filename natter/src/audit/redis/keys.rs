//! One key of Redis against what it must hold.

use std::collections::HashMap;

use natter_projections::redis::mirror::{Element, Held, Mirror};
use natter_projections::redis::whole::Page;

use crate::audit::report::{Differences, Kind, Store};

/// All of a key.
pub(super) fn compare(mirror: &Mirror, page: &Page, found: &mut Differences) {
    let key = page.key.as_str();
    let mut differs = |kind, detail: String| found.add(Store::Redis, kind, key, detail);
    match (mirror.held(key), page.kind.as_str()) {
        (None, "none") => {}
        (None, kind) => differs(Kind::Unexpected, format!("a {kind} that the log does not come to")),
        (Some(held), "none") => {
            let items = held.fields.len() + held.elements.len();
            differs(Kind::Missing, format!("a {} of {items} is not there", held.kind));
        }
        (Some(held), kind) if kind != held.kind => {
            differs(Kind::Altered, format!("it is a {kind} and must be a {}", held.kind));
        }
        (Some(held), "list") => list(mirror, page, held, found),
        (Some(held), _) => {
            let mut fields = HashMap::new();
            compare_part(mirror, page, &mut fields, found);
            missing(mirror, key, held.fields.keys(), |field| fields.contains_key(field), found);
        }
    }
}

/// Some fields of a key; those that came are noted in `came`, with how often.
pub(super) fn compare_part(mirror: &Mirror, page: &Page, came: &mut HashMap<Box<[u8]>, u32>, found: &mut Differences) {
    let held = mirror.held(&page.key);
    let mut wrong: HashMap<&[u8], (Kind, String)> = HashMap::new();
    for (field, value) in &page.fields {
        let times = came.entry(field.as_slice().into()).or_default();
        *times += 1;
        // Of a hash or a set, the pages of a scan may give a field twice; users lie in a set by all that is said of them.
        if *times > 1 && page.kind == "zset" && held.is_some_and(|held| held.fields.contains_key(field.as_slice())) {
            wrong.insert(field, (Kind::Doubled, "it is there more than once".into()));
            continue;
        }
        match held.and_then(|held| held.fields.get(field.as_slice())) {
            None => drop(wrong.insert(field, (Kind::Unexpected, format!("{} is not in the log", shown(value))))),
            Some(due) if **due != **value => {
                wrong.insert(field, (Kind::Altered, format!("it is {}, the log says {}", shown(value), shown(due))));
            }
            Some(_) => {}
        }
    }
    for (field, (kind, detail)) in wrong {
        found.add(Store::Redis, kind, place(&page.key, field), detail);
    }
}

/// Fields that must be there and did not come.
pub(super) fn missing<'f>(
    mirror: &Mirror,
    key: &str,
    fields: impl Iterator<Item = &'f Box<[u8]>>,
    came: impl Fn(&[u8]) -> bool,
    found: &mut Differences,
) {
    let Some(held) = mirror.held(key) else { return };
    for field in fields {
        if let (Some(due), false) = (held.fields.get(field), came(field)) {
            found.add(Store::Redis, Kind::Missing, place(key, field), format!("the log says {}", shown(due)));
        }
    }
}

/// A list: what is visible of it must be there, each once and in order. What is older may still lie there.
fn list(mirror: &Mirror, page: &Page, held: &Held, found: &mut Differences) {
    let key = &page.key;
    let visible: Vec<Element> = held.elements.iter().skip(mirror.invisible(key, held)).copied().collect();
    let Some(first) = visible.first() else { return };
    let there: Vec<Element> = page.elements.iter().map(|bytes| Element::of(bytes)).collect();
    let mut by_order: HashMap<u64, Vec<u64>> = HashMap::new();
    for element in there.iter().filter(|element| element.order >= first.order) {
        by_order.entry(element.order).or_default().push(element.digest);
    }
    let before = found.total;
    let name = if key.starts_with("l:") { "seq" } else { "version" };
    let mut differs =
        |kind, order: u64, detail: &str| found.add(Store::Redis, kind, format!("{key} {name} {order}"), detail);
    for due in &visible {
        match by_order.remove(&due.order).as_deref() {
            None => differs(Kind::Missing, due.order, "it is not in the list"),
            Some([digest]) if *digest == due.digest => {}
            Some([_]) => differs(Kind::Altered, due.order, "it is not what the log says"),
            Some(_) => differs(Kind::Doubled, due.order, "it is in the list more than once"),
        }
    }
    let mut others: Vec<u64> = by_order.into_keys().collect();
    others.sort_unstable();
    for order in others {
        differs(Kind::Unexpected, order, "it is not in the log");
    }
    if found.total == before
        && let Some(pair) = there.windows(2).find(|pair| pair[0].order >= pair[1].order)
    {
        let detail = format!("it stands behind {} {}", name, pair[0].order);
        found.add(Store::Redis, Kind::Reordered, format!("{key} {name} {}", pair[1].order), detail);
    }
}

fn place(key: &str, field: &[u8]) -> String {
    format!("{key} {}", shown(field))
}

/// A value for people: text as it is, else its bytes, and neither too long.
fn shown(value: &[u8]) -> String {
    const SHOWN_MAX: usize = 80;
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= SHOWN_MAX && !text.is_empty() && !text.contains(char::is_control) => text.to_owned(),
        Ok("") => "present".to_owned(),
        _ if value.len() <= SHOWN_MAX / 2 => format!("0x{}", hex::encode(value)),
        _ => format!("0x{}… ({} bytes)", hex::encode(&value[..SHOWN_MAX / 4]), value.len()),
    }
}
