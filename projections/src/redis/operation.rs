//! What one step asks of Redis: a handful of operations, each on one key, each folding to the same end when it is
//! applied twice.

use super::connection::Args;

/// Fields of a hash with their values.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// One write. Keys are without their prefix (`{p}:<generation>:`), which the script adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Fields of a hash get these values.
    Set { key: String, fields: Fields },
    /// Fields of a hash go.
    Unset { key: String, fields: Vec<Vec<u8>> },
    /// Members of a set come.
    Include { key: String, items: Vec<String> },
    /// Members of a set go.
    Exclude { key: String, items: Vec<String> },
    /// Users of an ordered list of users come, or change: (user, the rest).
    Enrol { key: String, items: Vec<(String, String)> },
    /// Users of such a list go.
    Strike { key: String, users: Vec<String> },
    /// A list's newer messages: 8 bytes of seq (big endian), the rest.
    Messages { key: String, items: Vec<Vec<u8>> },
    /// A list's newer refs, which puts the list into the queue of those to be forgotten: 8 bytes of version, 8 bytes of log time (big endian), the rest.
    Refs { key: String, items: Vec<Vec<u8>> },
    /// One newer ref for each of many lists: (key, ref).
    Ref { items: Vec<(String, Vec<u8>)> },
}

impl Operation {
    /// Appends it in the form that `apply.lua` reads. An operation without items is left out.
    pub(crate) fn encode(&self, args: &mut Args) {
        match self {
            Self::Set { key, fields } => {
                let items = fields.iter().flat_map(|(field, value)| [field, value]);
                encode(args, "set", key, 2 * fields.len(), items);
            }
            Self::Unset { key, fields } => encode(args, "unset", key, fields.len(), fields),
            Self::Include { key, items } => encode(args, "include", key, items.len(), items),
            Self::Exclude { key, items } => encode(args, "exclude", key, items.len(), items),
            Self::Enrol { key, items } => {
                encode(args, "enrol", key, 2 * items.len(), items.iter().flat_map(|(user, rest)| [user, rest]));
            }
            Self::Strike { key, users } => encode(args, "strike", key, users.len(), users),
            Self::Messages { key, items } => encode(args, "messages", key, items.len(), items),
            Self::Refs { key, items } => encode(args, "refs", key, items.len(), items),
            Self::Ref { items } => {
                let pairs = items.iter().flat_map(|(key, item)| [key.as_bytes(), item]);
                encode(args, "ref", "", 2 * items.len(), pairs);
            }
        }
    }
}

fn encode<T: AsRef<[u8]>>(args: &mut Args, name: &str, key: &str, count: usize, items: impl IntoIterator<Item = T>) {
    if count == 0 {
        return;
    }
    args.push(name);
    args.push(key);
    args.number(count);
    for item in items {
        args.push(item);
    }
}
