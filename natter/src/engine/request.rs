//! A request's URL and form parameters, sorted into what they mean.

use super::errors::{EngineError, code};

/// Parameters of ClickHouse's HTTP interface that Natter's front takes and has no use for: sessions (every request is its own), HTTP compression
/// (answers go over loopback), ids and quotas that the library does not know.
const WITHOUT_EFFECT: [&str; 15] = [
    "async_insert",
    "buffer_size",
    "close_session",
    "enable_http_compression",
    "http_zlib_compression_level",
    "password",
    "quota_key",
    "role",
    "send_progress_in_http_headers",
    "session_check",
    "session_id",
    "session_timeout",
    "stacktrace",
    "user",
    "wait_for_async_insert",
];

/// What a request asks for, apart from its body.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Parameters {
    pub query: Option<String>,
    pub query_id: Option<String>,
    pub database: Option<String>,
    pub default_format: Option<String>,
    /// The answer is to be sent in compressed blocks.
    pub compress: bool,
    /// The body comes in compressed blocks.
    pub decompress: bool,
    /// The revision of the Native format that the client reads (`client_protocol_version`).
    pub revision: u64,
    /// Nothing is to be sent before the whole result is there.
    pub wait_end_of_query: bool,
    /// Values of `{name:Type}`, without `param_`.
    pub named: Vec<(String, String)>,
    /// Everything else: ClickHouse's settings.
    pub settings: Vec<(String, String)>,
}

impl Parameters {
    /// Sorts the pairs of a URL's query.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn read(pairs: Vec<(String, String)>) -> Result<Self, EngineError> {
        let mut parameters = Self::default();
        for (name, value) in pairs {
            parameters.add(name, value)?;
        }
        Ok(parameters)
    }

    /// Adds one pair; a later one of the same name wins.
    ///
    /// # Errors
    /// A setting whose name cannot be one; a `client_protocol_version` that is no number.
    pub fn add(&mut self, name: String, value: String) -> Result<(), EngineError> {
        let given = |value: String| Some(value).filter(|value| !value.is_empty());
        match name.as_str() {
            "query" => self.query = given(value),
            "query_id" => self.query_id = given(value),
            "database" => self.database = given(value),
            "default_format" => self.default_format = given(value),
            "compress" => self.compress = is_on(&value),
            "decompress" => self.decompress = is_on(&value),
            "client_protocol_version" => {
                self.revision = value.parse().map_err(|_| {
                    EngineError::new(
                        code::INCORRECT_DATA,
                        "INCORRECT_DATA",
                        format!("client_protocol_version is no number: '{value}'"),
                    )
                })?;
            }
            "wait_end_of_query" => self.wait_end_of_query = is_on(&value),
            _ if WITHOUT_EFFECT.contains(&name.as_str()) => {}
            _ => match name.strip_prefix("param_") {
                Some(named) => replace(&mut self.named, named.to_owned(), value),
                None if is_setting_name(&name) => replace(&mut self.settings, name, value),
                None => {
                    return Err(EngineError::new(
                        code::UNKNOWN_SETTING,
                        "UNKNOWN_SETTING",
                        format!("Unknown setting '{name}'"),
                    ));
                }
            },
        }
        Ok(())
    }

    /// Gives a setting this value, whatever the client gave it.
    pub fn set(&mut self, name: &str, value: &str) {
        replace(&mut self.settings, name.to_owned(), value.to_owned());
    }

    /// The time zone in which times without one of their own are read and written.
    pub fn timezone(&self) -> &str {
        let named = self.settings.iter().find(|(name, value)| name == TIMEZONE && !value.is_empty());
        named.map_or("UTC", |(_, value)| value)
    }
}

/// The setting that names a session's time zone.
pub const TIMEZONE: &str = "session_timezone";

fn replace(pairs: &mut Vec<(String, String)>, name: String, value: String) {
    pairs.retain(|(known, _)| *known != name);
    pairs.push((name, value));
}

fn is_on(value: &str) -> bool {
    !matches!(value, "" | "0" | "false")
}

fn is_setting_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Parameters, EngineError> {
        Parameters::read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn parameters_are_sorted() {
        let found = read(&[
            ("query", "SELECT 1"),
            ("database", ""),
            ("decompress", "1"),
            ("compress", "0"),
            ("param_a", "x"),
            ("max_threads", "1"),
            ("max_threads", "2"),
            ("session_id", "s"),
            ("password", "p"),
        ]);
        let expected = Parameters {
            query: Some("SELECT 1".to_owned()),
            decompress: true,
            named: vec![("a".to_owned(), "x".to_owned())],
            settings: vec![("max_threads".to_owned(), "2".to_owned())],
            ..Parameters::default()
        };
        assert_eq!(found.expect("parameters"), expected);
    }

    #[test]
    fn a_name_that_is_no_setting_is_refused() {
        for name in ["a b", "", "max_threads=1, readonly", "1a", "a'"] {
            assert_eq!(read(&[(name, "1")]).expect_err(name).code, code::UNKNOWN_SETTING);
        }
    }
}
