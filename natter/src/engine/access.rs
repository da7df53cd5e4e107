//! Who may ask: credentials and what they allow.
//!
//! The library knows one user only, `default`, so the front holds everybody to their role: what a reader's statement may be says [`super::limits`], and its
//! connection is `readonly` besides.

use axum::http::HeaderMap;
use base64::Engine as _;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::errors::{EngineError, code};

/// What a credential allows. Analysts of one tenant, whose connections the engine itself holds to row policies, join here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// All of ClickHouse, as its `default` user.
    Admin,
    /// Reads, and inserts rows into the tables of one database.
    Writer {
        /// The database.
        database: String,
    },
    /// Reads.
    Reader,
}

/// Settings that change nothing but one's own result: how it is written, and how much may be read for it. (`log_comment` is not among them: row
/// policies will go by it.)
const HARMLESS: [&str; 8] = [
    "extremes",
    "limit",
    "offset",
    "read_overflow_mode",
    "result_overflow_mode",
    "session_timezone",
    "timeout_overflow_mode",
    "insert_deduplication_token",
];
const HARMLESS_PREFIXES: [&str; 6] = ["output_format_", "input_format_", "date_time_", "max_", "join_", "group_by_"];

impl Role {
    /// Whether a request of this role may change the setting. What it may not change is dropped, because drivers send settings by habit.
    pub fn may_set(&self, setting: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::Writer { .. } | Self::Reader => {
                HARMLESS.contains(&setting) || HARMLESS_PREFIXES.iter().any(|prefix| setting.starts_with(prefix))
            }
        }
    }

    /// Whether statements of this role are held to [`super::limits`].
    pub fn is_limited(&self) -> bool {
        *self != Self::Admin
    }
}

/// The known users. Passwords are kept as digests only.
#[derive(Debug)]
pub struct AccessControl {
    users: Vec<User>,
}

/// A user as the file of users has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    name: String,
    /// Lower-case hex.
    password_sha256: String,
    role: Role,
}

/// A user's name and password as a request brings them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl AccessControl {
    /// The users of a JSON file.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(file: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self { users: serde_json::from_slice(file)? })
    }

    /// The role of these credentials.
    ///
    /// # Errors
    /// `AUTHENTICATION_FAILED` (516), the same for an unknown user and a wrong password.
    pub fn authenticate(&self, credentials: &Credentials) -> Result<Role, EngineError> {
        let name = credentials.user.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        let password = digest(credentials.password.as_deref().unwrap_or_default());
        // Digests are compared, so the time that it takes says nothing about the password.
        let user = self.users.iter().find(|user| user.name == name && user.password_sha256 == password);
        user.map(|user| user.role.clone()).ok_or_else(|| {
            EngineError::new(
                code::AUTHENTICATION_FAILED,
                "AUTHENTICATION_FAILED",
                format!("{name}: Authentication failed: password is incorrect, or there is no user with such name"),
            )
        })
    }
}

fn digest(password: &str) -> String {
    hex::encode(Sha256::digest(password.as_bytes()))
}

impl Credentials {
    /// Finds the credentials of a request: `X-ClickHouse-User` and `X-ClickHouse-Key`, else basic authentication, else `user=` and `password=`.
    pub fn find(headers: &HeaderMap, query: &[(String, String)]) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let own = Self { user: header("x-clickhouse-user"), password: header("x-clickhouse-key") };
        if own != Self::default() {
            return own;
        }
        if let Some(basic) = header("authorization").as_deref().and_then(parse_basic) {
            return basic;
        }
        let parameter = |name: &str| query.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.clone());
        Self { user: parameter("user"), password: parameter("password") }
    }

    /// Whether the request brought any.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.password.is_none()
    }
}

fn parse_basic(value: &str) -> Option<Credentials> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials { user: Some(user.to_owned()), password: Some(password.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value"))).collect()
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials { user: Some(user.to_owned()), password: Some(password.to_owned()) }
    }

    #[test]
    fn credentials_are_found_in_all_three_places() {
        let query = [("user".to_owned(), "c".to_owned()), ("password".to_owned(), "3".to_owned())];
        let basic = ("authorization", "Basic YjoyOjI="); // b:2:2
        let own = [("x-clickhouse-user", "a"), ("x-clickhouse-key", "1"), basic];
        assert_eq!(Credentials::find(&headers(&own), &query), credentials("a", "1"));
        assert_eq!(Credentials::find(&headers(&[basic]), &query), credentials("b", "2:2"));
        assert_eq!(Credentials::find(&headers(&[]), &query), credentials("c", "3"));
        assert!(Credentials::find(&headers(&[("authorization", "Bearer x")]), &[]).is_empty());
    }

    #[test]
    fn only_the_right_password_is_accepted() {
        let file = format!(
            r#"[{{"name":"default","password_sha256":"{}","role":"admin"}},
                {{"name":"projector","password_sha256":"{}","role":{{"writer":{{"database":"d"}}}}}}]"#,
            digest("secret"),
            digest("other")
        );
        let access = AccessControl::parse(file.as_bytes()).expect("users");
        let writer = Role::Writer { database: "d".to_owned() };
        assert_eq!(access.authenticate(&credentials("projector", "other")), Ok(writer));
        assert_eq!(access.authenticate(&credentials("default", "secret")), Ok(Role::Admin));
        assert_eq!(
            access.authenticate(&Credentials { user: None, password: Some("secret".to_owned()) }),
            Ok(Role::Admin)
        );
        for wrong in [
            credentials("default", "Secret"),
            credentials("other", "secret"),
            credentials("projector", "secret"),
            Credentials::default(),
        ] {
            assert_eq!(access.authenticate(&wrong).expect_err("refused").code, 516);
        }
        assert!(!format!("{access:?}").contains("secret"));
    }

    #[test]
    fn who_is_limited_sets_nothing_but_the_looks_of_a_result() {
        let writer = Role::Writer { database: "d".to_owned() };
        for setting in ["max_threads", "output_format_json_quote_64bit_integers", "insert_deduplication_token"] {
            assert!(Role::Reader.may_set(setting) && writer.may_set(setting), "{setting}");
        }
        for setting in ["readonly", "log_comment", "allow_ddl", "dialect", "additional_table_filters", "format_schema"]
        {
            assert!(!Role::Reader.may_set(setting) && !writer.may_set(setting), "{setting}");
            assert!(Role::Admin.may_set(setting), "{setting}");
        }
    }
}
