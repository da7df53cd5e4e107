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
    ("clickhouse", "database", Type::Text),
    ("s3", "endpoint", Type::Text),
    ("s3", "region", Type::Text),
    ("s3", "bucket", Type::Text),
    ("s3", "access_key", Type::Text),
    ("s3", "secret_key", Type::Text),
    ("tenants", "master", Type::Text),
    ("tenants", "keys", Type::Texts),
    ("tenants", "audience", Type::Text),
    ("tenants", "audiences", Type::Texts),
    ("gateway", "listen", Type::Text),
    ("gateway", "origins", Type::List),
    ("gateway", "commands_per_second", Type::Number),
    ("gateway", "commands_burst", Type::Number),
    ("gateway", "reads_per_second", Type::Number),
    ("gateway", "reads_burst", Type::Number),
    ("gateway", "connections_max", Type::Number),
    ("gateway", "user_sessions_max", Type::Number),
    ("gateway", "request_seconds_max", Type::Number),
    ("gateway", "ping_seconds", Type::Number),
    ("projector", "views", Type::List),
    ("archive", "segment_bytes", Type::Number),
    ("archive", "segment_seconds", Type::Number),
    ("archive", "keep_seconds", Type::Number),
    ("telemetry", "listen", Type::Text),
];

/// Names what is unknown or of the wrong type, and takes it out: the rest is still worth checking.
pub(super) fn check(table: &mut Table, problems: &mut Vec<String>) {
    table.retain(|section, value| {
        if !sections().contains(&section) {
            problems.push(format!("unknown section `{section}`; there are {}", sections().join(", ")));
            return false;
        }
        let Value::Table(keys) = value else {
            problems.push(format!("`{section}` is a section, not a value"));
            return false;
        };
        keys.retain(|key, value| {
            let problem = match KEYS.iter().find(|(known, name, _)| *known == section && *name == key) {
                None => Some(format!("unknown key `{section}.{key}`; there are {}", keys_of(section).join(", "))),
                Some((.., kind)) => mismatch(*kind, value).map(|is| format!("{section}.{key} {is}")),
            };
            let is_fine = problem.is_none();
            problems.extend(problem);
            is_fine
        });
        true
    });
}

/// Puts `NATTER_<SECTION>_<KEY>` over what the file says.
pub(super) fn take_environment(
    table: &mut Table,
    environment: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<String>,
) {
    // An empty one is one that a compose file passes on and nobody set.
    for (variable, text) in environment.into_iter().filter(|(_, text)| !text.is_empty()) {
        let Some((section, key, kind)) = KEYS.iter().find(|(section, key, _)| variable == name(section, key)) else {
            if variable.starts_with("NATTER_") && !is_of_others(&variable, &text) {
                problems.push(unknown(&variable));
            }
            continue;
        };
        let value = match kind {
            Type::Text => Value::String(text),
            Type::List => Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()),
            Type::Number => {
                let Ok(number) = text.parse() else {
                    problems.push(format!("{variable} is `{text}`, not a number"));
                    continue;
                };
                Value::Integer(number)
            }
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

/// Not for a running natter: its own tests', and what Kubernetes makes of the names of services, such as `NATTER_GATEWAY_SERVICE_HOST` and
/// `NATTER_GATEWAY_PORT=tcp://10.0.0.1:80`.
fn is_of_others(variable: &str, text: &str) -> bool {
    let (_, end) = variable.split_at("NATTER_".len());
    let tests = end.starts_with("WRITE_") || end.starts_with("TEST_");
    let service = variable.contains("_SERVICE_HOST") || variable.contains("_SERVICE_PORT");
    let port = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    tests
        || service
        || port && variable.contains("_PORT")
        || ["_ADDR", "_PROTO", "_PORT"].iter().any(|part| {
            variable.ends_with(part) && ["_TCP", "_UDP", "_SCTP"].iter().any(|kind| variable.contains(kind))
        })
}

/// Says which are known of the section that is nearest.
fn unknown(variable: &str) -> String {
    let of = sections().into_iter().find(|section| variable.starts_with(&name(section, "")));
    let known: Vec<_> = match of {
        Some(section) => keys_of(section).iter().map(|key| name(section, key)).collect(),
        None => sections().iter().map(|section| format!("{}…", name(section, ""))).collect(),
    };
    format!("unknown variable {variable}; there are {}", known.join(", "))
}

fn name(section: &str, key: &str) -> String {
    format!("NATTER_{section}_{key}").to_uppercase()
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|(section, ..)| *section).collect();
    sections.dedup();
    sections
}

fn keys_of(section: &str) -> Vec<&'static str> {
    KEYS.iter().filter(|(of, ..)| *of == section).map(|(_, key, _)| *key).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The keys that serde names when it meets one that it does not know.
    fn taken(text: &str) -> Vec<String> {
        let refused = text.parse::<Table>().unwrap().try_into::<Config>().unwrap_err().to_string();
        let (_, expected) = refused.lines().find_map(|line| line.split_once("expected")).unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_table_of_keys_is_what_the_structs_take() {
        assert_eq!(taken("nothing = 1"), sections());
        for section in sections() {
            assert_eq!(taken(&format!("[{section}]\nnothing = 1")), keys_of(section), "{section}");
        }
    }
}
