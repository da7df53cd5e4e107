//! What makes a line the same line in any source.
//!
//! By itself a line is known by its source (a hash of the file) and its number there. One that is identified is a source of its own,
//! with one line: whichever file brings it, and whatever came before or after it, its room takes it once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::str::FromStr;

use natter_schemas::names::UserId;
use sha2::{Digest, Sha256};

use super::line::{Refusal, What};

/// First 16 bytes of the SHA-256 of what makes a line what it is.
pub type Identity = [u8; 16];

/// Fields that together are a line's identity, within its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(BTreeSet<Field>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Id,
    Room,
    User,
    At,
    Text,
}

impl FromStr for Fields {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let field = |name: &str| match name.trim() {
            "id" => Ok(Field::Id),
            "room" => Ok(Field::Room),
            "user" => Ok(Field::User),
            "at" => Ok(Field::At),
            "text" => Ok(Field::Text),
            other => {
                Err(format!("`{other}` is no field that identifies a line; there are id, room, user, at and text"))
            }
        };
        text.split(',').map(field).collect::<Result<_, _>>().map(Self)
    }
}

/// A line that is to be identified.
pub struct Identified<'a> {
    /// Its number in its source.
    pub number: u64,
    /// Who.
    pub user: &'a UserId,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// What the source calls it.
    pub id: Option<&'a str>,
    /// What.
    pub what: &'a What,
    /// Whether something was dropped from it that would have it refused.
    pub is_cleaned: bool,
}

/// Identifies the lines of a source, in their order.
#[derive(Debug)]
pub struct Identifier {
    fields: Option<Fields>,
    source: [u8; 16],
    /// Beginnings of the identities so far: 8 bytes a line, so that those which say the same are told apart by their count.
    seen: HashSet<u64>,
    /// How often those came that came twice or more.
    repeated: HashMap<u64, u32>,
}

impl Identifier {
    /// Without `fields`, a line is identified by its `id` if it has one.
    pub fn new(fields: Option<Fields>, source: [u8; 16]) -> Self {
        Self { fields, source, seen: HashSet::new(), repeated: HashMap::new() }
    }

    /// The line's identity; `None`: it is known by its source and number.
    ///
    /// # Errors
    /// It has no `id`, where this is to identify it.
    pub fn identity(&mut self, line: &Identified<'_>) -> Result<Option<Identity>, Refusal> {
        match (&self.fields, line.id) {
            (Some(fields), _) => {
                let has_id = fields.0.contains(&Field::Id);
                let hash = of_fields(fields, line)?;
                // Two lines of one id are one line; two that only say the same are two.
                Ok(Some(if has_id { hash } else { self.counted(hash) }))
            }
            (None, Some(_)) => of_fields(&Fields(BTreeSet::from([Field::Id])), line).map(Some),
            // Without --clean it was refused, and lines after it may have been taken: by its number it would be taken for a duplicate.
            (None, None) if line.is_cleaned => {
                let hash = Sha256::new_with_prefix(b"natter cleaned line\0").chain_update(self.source);
                Ok(Some(first_16(hash.chain_update(line.number.to_le_bytes()))))
            }
            (None, None) => Ok(None),
        }
    }

    /// The identity of the next line that says this.
    fn counted(&mut self, hash: Identity) -> Identity {
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = hash;
        let seen = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
        if self.seen.insert(seen) {
            return hash;
        }
        let times = self.repeated.entry(seen).or_insert(0);
        *times += 1;
        first_16(
            Sha256::new_with_prefix(b"natter repeated line\0").chain_update(hash).chain_update(times.to_le_bytes()),
        )
    }
}

fn of_fields(fields: &Fields, line: &Identified<'_>) -> Result<Identity, Refusal> {
    let (kind, room, text) = match line.what {
        What::Message { room, text } => (b'm', room.as_str(), text.as_str()),
        What::Rename { to } => (b'r', "", to.as_str()),
    };
    let mut hash = Sha256::new_with_prefix(b"natter line\0").chain_update([kind]);
    let mut part = |name: u8, value: &[u8]| {
        hash.update([name]);
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    };
    for field in &fields.0 {
        match field {
            Field::Id => {
                let missing = || Refusal::field("`id` is missing, and --identify names it");
                part(b'i', line.id.ok_or_else(missing)?.as_bytes());
            }
            // The room's own facts hold the identity, so it is one within the room in any case.
            Field::Room => part(b'r', room.as_bytes()),
            Field::User => part(b'u', line.user.as_str().as_bytes()),
            Field::At => part(b'a', &line.at_ms.to_le_bytes()),
            Field::Text => part(b't', text.as_bytes()),
        }
    }
    Ok(first_16(hash))
}

/// The identity of the line that introduces a user, whichever of an identified source it is.
pub fn of_introduction(user: &UserId) -> Identity {
    first_16(Sha256::new_with_prefix(b"natter introduction\0").chain_update(user.as_str()))
}

fn first_16(hash: Sha256) -> Identity {
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use natter_schemas::names::{ExternalId, MessageText};

    use super::*;

    fn identities(fields: Option<&str>, lines: &[(&str, u64, &str, Option<&str>)]) -> Vec<Option<Identity>> {
        let fields = fields.map(|fields| fields.parse().unwrap());
        let mut identifier = Identifier::new(fields, [7; 16]);
        let identity = |(number, (user, at_ms, text, id)): (u64, &(&str, u64, &str, Option<&str>))| {
            let what = What::Message { room: ExternalId::trusted("r"), text: MessageText::trusted(text) };
            let (user, at_ms, id) = (UserId::trusted(user), *at_ms, *id);
            let line = Identified { number, user: &user, at_ms, id, what: &what, is_cleaned: *text == "cleaned" };
            identifier.identity(&line).unwrap()
        };
        (1..).zip(lines).map(identity).collect()
    }

    #[test]
    fn what_says_the_same_is_told_apart_by_its_count() {
        let [one, other] = [("ada", 5, "hi", None), ("ada", 6, "hi", None)];
        let first = identities(Some("room,user,at,text"), &[one, one, other, one]);
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 4);
        // In another file they are the same, wherever they stand and however often they come.
        let second = identities(Some("text,at,user,room"), &[other, one, one]);
        assert_eq!(second, [first[2], first[0], first[1]]);
    }

    #[test]
    fn an_id_is_enough_and_counts_once() {
        let lines = [("ada", 5, "hi", Some("7")), ("bob", 6, "ho", Some("7")), ("bob", 6, "ho", Some("8"))];
        let by_default = identities(None, &lines);
        assert!(by_default[0] == by_default[1] && by_default[1] != by_default[2]);
        assert_eq!(by_default, identities(Some("id"), &lines));
        assert_eq!(identities(None, &[("ada", 5, "hi", None)]), [None]);
        assert!(identities(None, &[("ada", 5, "cleaned", None)])[0].is_some());
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert_eq!(
            "room,when".parse::<Fields>().unwrap_err(),
            "`when` is no field that identifies a line; there are id, room, user, at and text"
        );
        let what = What::Rename { to: natter_schemas::names::DisplayName::trusted("A") };
        let user = UserId::trusted("ada");
        let line = Identified { number: 1, user: &user, at_ms: 5, id: None, what: &what, is_cleaned: false };
        let refusal = Identifier::new(Some("id".parse().unwrap()), [0; 16]).identity(&line).unwrap_err();
        assert!(refusal.message.contains("`id` is missing"));
    }
}
