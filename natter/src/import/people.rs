//! Ids and names that this system takes, made of those that other systems have.

use std::collections::HashMap;
use std::fmt::Write;

use natter_schemas::limits::{EXTERNAL_BYTES_MAX, USER_BYTES_MAX};
use sha2::{Digest, Sha256};

/// Hex digits of a hash that tells apart what would be the same.
const SUFFIX_DIGITS: usize = 8;

/// The people of a source: each gets an id that says the name, and no two get the same.
#[derive(Debug, Default)]
pub struct People {
    ids: HashMap<String, String>,
    keys: HashMap<String, String>,
}

impl People {
    /// The user id of somebody whom the source knows by `key`, and calls `name`: in small letters, `-` for spaces and `_` for
    /// what is neither letter nor digit. Who would get an id that somebody has already gets a part of the key's hash behind it.
    pub fn id(&mut self, key: &str, name: &str) -> String {
        if let Some(id) = self.ids.get(key) {
            return id.clone();
        }
        let mut id = written(name);
        if self.keys.contains_key(&id) {
            id = with_suffix(&id, key, USER_BYTES_MAX);
        }
        self.keys.insert(id.clone(), key.to_owned());
        self.ids.insert(key.to_owned(), id.clone());
        id
    }
}

fn written(name: &str) -> String {
    let mut id = String::new();
    for c in name.trim().chars() {
        match c {
            c if c.is_alphanumeric() => id.extend(c.to_lowercase()),
            '-' | '.' | '+' | '@' => id.push(c),
            c if c.is_whitespace() => id.push('-'),
            // Marks that turn or join letters are not seen.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {}
            _ => id.push('_'),
        }
    }
    match id.len() {
        0 => "nobody".to_owned(),
        long if long > USER_BYTES_MAX => with_suffix(&id, name, USER_BYTES_MAX),
        _ => id,
    }
}

/// A room's name, which is cut, with a part of its hash behind it, where it is longer than such names may be.
pub fn room(name: &str) -> String {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.len() > EXTERNAL_BYTES_MAX { with_suffix(&name, &name, EXTERNAL_BYTES_MAX) } else { name }
}

fn with_suffix(name: &str, key: &str, bytes_max: usize) -> String {
    let mut cut = name.floor_char_boundary(bytes_max - SUFFIX_DIGITS - 1);
    cut = cut.min(name.len());
    let mut id = format!("{}-", &name[..cut]);
    for byte in &Sha256::digest(key.as_bytes())[..SUFFIX_DIGITS / 2] {
        write!(id, "{byte:02x}").ok();
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_the_name() {
        let mut people = People::default();
        for (name, id) in [
            ("Ada Lovelace", "ada-lovelace"),
            ("René / Ops", "rené-_-ops"),
            ("+49 171 1234567", "+49-171-1234567"),
            ("\u{200e}~\u{a0}Bob", "_-bob"),
            ("\u{200e}", "nobody"),
            ("李雷", "李雷"),
        ] {
            assert_eq!(people.id(name, name), id);
            assert_eq!(people.id(name, name), id, "and the same again");
        }
    }

    #[test]
    fn no_two_have_one_id() {
        let mut people = People::default();
        assert_eq!(people.id("U1", "Ann Lee"), "ann-lee");
        let other = people.id("U2", "ann lee");
        assert!(other.starts_with("ann-lee-") && other.len() == "ann-lee".len() + 9, "{other}");
        assert_eq!(people.id("U2", "ann lee"), other);
        let long = people.id("U3", &"é".repeat(100));
        assert!(natter_schemas::names::UserId::try_from(long.as_str()).is_ok() && long.len() > 100, "{long}");
        assert!(natter_schemas::names::ExternalId::try_from(room(&"語".repeat(90)).as_str()).is_ok());
    }
}
