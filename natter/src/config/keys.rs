//! The keys of `natter.toml`: which there are, of which type, and how the environment sets them.

use toml::{Table, Value};

#[derive(Clone, Copy)]
enum Type {
    Text,
    Number,
    List,
    Texts,
}

/// Section, key, type. A test holds that this is what the structs take.
const KEYS: &[(&str, &str, Type)] = &[
    ("log", "url", Type::Text),
    ("log", "partitions", Type::Number),
    ("log", "replicas", Type::Number),
    ("log", "command_bytes_max", Type::Number),
    ("log", "outcome_bytes_max", Type::Number),
    ("redis", "url", Type::Text),
    ("clickhouse", "url", Type::Text),
    ("clickhouse", "user", Type::Text),
    ("clickhouse", "password", Type::Text),
    ("s3", "endpoint", Type::Text),
    ("s3", "region", Type::Text),
    ("s3", "bucket", Type::Text),
    ("s3", "access_key", Type::Text),
    ("s3", "secret_key", Type::Text),
    ("tenants", "master", Type::Text),
    ("tenants", "keys", Type::Texts),
    ("gateway", "listen", Type::Text),
    ("gateway", "origins", Type::List),
    ("gateway", "commands_per_second", Type::Number),
    ("gateway", "commands_burst", Type::Number),
    ("projector", "views", Type::List),
    ("telemetry", "listen", Type::Text),
];

/// Names what is unknown or of the wrong type.
pub(super) fn check(table: &Table, problems: &mut Vec<String>) {
    for (section, value) in table {
        if !KEYS.iter().any(|(known, ..)| known == section) {
            problems.push(format!("unknown section `{section}`; there are {}", sections().join(", ")));
            continue;
        }
        let Value::Table(keys) = value else {
            problems.push(format!("`{section}` is a section, not a value"));
            continue;
        };
        for (key, value) in keys {
            match KEYS.iter().find(|(known, name, _)| known == section && name == key) {
                None => problems.push(format!("unknown key `{section}.{key}`")),
                Some((.., kind)) => problems.extend(mismatch(*kind, value).map(|is| format!("{section}.{key} {is}"))),
            }
        }
    }
}

/// Puts `NATTER_<SECTION>_<KEY>` over what the file says.
pub(super) fn take_environment(
    table: &mut Table,
    environment: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<String>,
) {
    for (variable, text) in environment {
        let Some((section, key, kind)) = KEYS.iter().find(|(section, key, _)| variable == name(section, key)) else {
            continue;
        };
        let value = match kind {
            Type::Text => Value::String(text),
            Type::List => Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()),
            Type::Number => match text.parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    problems.push(format!("{variable} is `{text}`, not a number"));
                    continue;
                }
            },
            Type::Texts => {
                problems.push(format!("{variable} cannot be set by the environment: use natter.toml"));
                continue;
            }
        };
        let section = table.entry((*section).to_owned()).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(keys) = section {
            keys.insert((*key).to_owned(), value);
        }
    }
}

fn name(section: &str, key: &str) -> String {
    format!("NATTER_{section}_{key}").to_uppercase()
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|(section, ..)| *section).collect();
    sections.dedup();
    sections
}

fn mismatch(kind: Type, value: &Value) -> Option<String> {
    let (fits, wanted) = match kind {
        Type::Text => (value.is_str(), "a text"),
        Type::Number => (value.is_integer(), "a whole number"),
        Type::List => (texts(value.as_array().into_iter().flatten()) && value.is_array(), "a list of texts"),
        Type::Texts => (value.as_table().is_some_and(|table| texts(table.values())), "a section of texts"),
    };
    (!fits).then(|| format!("is {}, not {wanted}", value.type_str()))
}

fn texts<'a>(values: impl IntoIterator<Item = &'a Value>) -> bool {
    values.into_iter().all(Value::is_str)
}
