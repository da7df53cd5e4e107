//! Who may ask: credentials and what they allow.
//!
//! The library knows one user only, `default`, so the front holds everybody to their role: what a reader's statement may be says [`super::limits`], and its
//! connection is `readonly` besides.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::Context;
use axum::http::HeaderMap;
use base64::Engine as _;
use natter_schemas::names::Tenant;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::errors::{EngineError, code};
use crate::analysts::Quota;

/// What a credential allows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// All of ClickHouse, as its `default` user.
    Admin,
    /// Reads, and inserts rows into the tables of some databases.
    Writer {
        /// The databases.
        databases: Vec<String>,
    },
    /// Reads, for chat or for an operator's tools.
    Reader,
    /// Reads as well; people with SQL, who take no place that chat needs.
    Analyst,
    /// Reads one tenant's rows in the analysts' views, and so much of them.
    Tenant {
        /// Whose.
        tenant: Tenant,
        /// How much at once.
        quota: Quota,
    },
}

/// Settings that change nothing but one's own result or insert: how it is written, and how much may be read for it. (`log_comment` is not among them: row
/// policies go by it.)
const HARMLESS: [&str; 9] = [
    "extremes",
    "limit",
    "offset",
    "optimize_on_insert",
    "read_overflow_mode",
    "result_overflow_mode",
    "session_timezone",
    "timeout_overflow_mode",
    "insert_deduplication_token",
];
/// Settings of these families that name a file, which the engine then writes (tried), whoever asks.
const REACHING: [&str; 2] = ["output_format_schema", "input_format_record_errors_file_path"];
/// Limits of one's own that say nothing of how many rows others have; the rest of that family a tenant's analyst may not set.
const LIMITS_OF_TENANTS: [&str; 6] =
    ["max_block_size", "max_execution_time", "max_memory_usage", "max_result_bytes", "max_result_rows", "max_threads"];
/// Counts in a result of rows that were read for it, other tenants' among them.
const STATISTICS: [&str; 1] = ["output_format_write_statistics"];
const HARMLESS_PREFIXES: [&str; 6] = ["output_format_", "input_format_", "date_time_", "max_", "join_", "group_by_"];

impl Role {
    /// Whether a request of this role may give the setting this value. What it may not change is dropped, because drivers send settings by habit.
    pub fn may_set(&self, setting: &str, value: &str) -> bool {
        let harmless = || {
            let is_known =
                HARMLESS.contains(&setting) || HARMLESS_PREFIXES.iter().any(|prefix| setting.starts_with(prefix));
            is_known && !REACHING.contains(&setting)
        };
        match self {
            Self::Admin => true,
            Self::Writer { .. } | Self::Reader | Self::Analyst => harmless(),
            Self::Tenant { quota, .. } => {
                let is_own = !setting.starts_with("max_") || LIMITS_OF_TENANTS.contains(&setting);
                harmless() && is_own && !STATISTICS.contains(&setting) && quota.allows(setting, value)
            }
        }
    }

    /// What the front sets for this role, whatever the request says.
    pub fn settings(&self) -> Vec<(String, String)> {
        let Self::Tenant { quota, .. } = self else { return Vec::new() };
        let own = quota.settings().map(|(name, most)| (name.to_owned(), most.to_string()));
        own.into_iter().chain(STATISTICS.map(|name| (name.to_owned(), "0".to_owned()))).collect()
    }

    /// The tenant whose rows are all that this role sees.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Tenant { tenant, .. } => Some(tenant.as_str()),
            _ => None,
        }
    }

    /// How many bytes a result of this role may have.
    pub fn result_bytes_max(&self) -> Option<u64> {
        match self {
            Self::Tenant { quota, .. } => Some(quota.result_mib << 20),
            _ => None,
        }
    }

    /// Whether statements of this role are held to [`super::limits`].
    pub fn is_limited(&self) -> bool {
        *self != Self::Admin
    }
}

/// The users of a file, which is read again when it has changed: analysts come and go while the engine runs. Passwords are kept as digests only.
#[derive(Debug)]
pub struct AccessControl {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    users: Vec<User>,
    /// Of the file that they are from.
    version: Version,
}

/// When a file was written and as which: whoever writes it puts a new one in its place.
type Version = (Option<SystemTime>, u64);

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
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        Ok(Self { known: Mutex::new(Known::read(file, version(file)?)?), file: file.to_owned() })
    }

    /// The users as they are now; as they were where the file cannot be read.
    fn users(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let read = version(&self.file)
            .and_then(|version| (version != known.version).then(|| Known::read(&self.file, version)).transpose());
        match read {
            Ok(Some(now)) => *known = now,
            Ok(None) => {}
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the users stay as they were"),
        }
        known
    }

    /// The role of these credentials.
    ///
    /// # Errors
    /// `AUTHENTICATION_FAILED` (516), the same for an unknown user and a wrong password.
    pub fn authenticate(&self, credentials: &Credentials) -> Result<Role, EngineError> {
        let name = credentials.user.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        let password = digest(credentials.password.as_deref().unwrap_or_default());
        // Digests are compared, so the time that it takes says nothing about the password.
        let known = self.users();
        let user = known.users.iter().find(|user| user.name == name && user.password_sha256 == password);
        user.map(|user| user.role.clone()).ok_or_else(|| {
            EngineError::new(
                code::AUTHENTICATION_FAILED,
                "AUTHENTICATION_FAILED",
                format!("{name}: Authentication failed: password is incorrect, or there is no user with such name"),
            )
        })
    }
}

impl Known {
    fn read(file: &Path, version: Version) -> anyhow::Result<Self> {
        let name = file.display();
        let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
        let users = serde_json::from_slice(&bytes).with_context(|| format!("{name} is no file of users"))?;
        Ok(Self { users, version })
    }
}

fn version(file: &Path) -> anyhow::Result<Version> {
    let seen = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((seen.modified().ok(), seen.ino()))
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
    use crate::analysts::quota;

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
                {{"name":"projector","password_sha256":"{}","role":{{"writer":{{"databases":["d"]}}}}}}]"#,
            digest("secret"),
            digest("other")
        );
        let path = tempfile::NamedTempFile::new().expect("a file");
        fs::write(path.path(), file).expect("written");
        let access = AccessControl::open(path.path()).expect("users");
        let writer = Role::Writer { databases: vec!["d".to_owned()] };
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
    fn who_comes_into_the_file_is_known_and_who_leaves_it_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users.json");
        let write = |names: &[&str]| {
            let users: Vec<_> = names
                .iter()
                .map(|name| serde_json::json!({ "name": name, "password_sha256": digest("x"), "role": "reader" }))
                .collect();
            fs::write(file.with_extension("new"), serde_json::to_vec(&users).expect("json")).expect("written");
            fs::rename(file.with_extension("new"), &file).expect("put in its place");
        };
        write(&["a"]);
        let access = AccessControl::open(&file).expect("users");
        let known = |name: &str| access.authenticate(&credentials(name, "x")).is_ok();
        assert!(known("a") && !known("b"));
        write(&["a", "b"]);
        assert!(known("a") && known("b"));
        write(&["b"]);
        assert!(!known("a") && known("b"));
        fs::write(&file, "broken").expect("written");
        fs::rename(&file, file.with_extension("gone")).expect("renamed");
        assert!(known("b"), "as they were");
    }

    #[test]
    fn who_is_limited_sets_nothing_but_the_looks_of_a_result() {
        let writer = Role::Writer { databases: vec!["d".to_owned()] };
        for setting in ["max_threads", "output_format_json_quote_64bit_integers", "insert_deduplication_token"] {
            assert!(
                [&Role::Reader, &Role::Analyst, &writer].iter().all(|role| role.may_set(setting, "1")),
                "{setting}"
            );
        }
        for setting in [
            "readonly",
            "log_comment",
            "allow_ddl",
            "dialect",
            "additional_table_filters",
            "format_schema",
            "output_format_schema",
            "input_format_record_errors_file_path",
        ] {
            assert!(
                ![&Role::Reader, &Role::Analyst, &writer].iter().any(|role| role.may_set(setting, "1")),
                "{setting}"
            );
            assert!(Role::Admin.may_set(setting, "1"), "{setting}");
        }
        let tenant = Role::Tenant { tenant: "acme".try_into().expect("a name"), quota: quota::EXAMPLE };
        assert!(tenant.may_set("max_threads", "1") && tenant.may_set("max_execution_time", "1"));
        assert!(!tenant.may_set("max_rows_to_read", "1") && !tenant.may_set("max_bytes_to_read", "1"));
        assert!(!tenant.may_set("max_execution_time", "0") && !tenant.may_set("output_format_write_statistics", "1"));
    }
}
