//! A connection made ready for one request: its database, its settings, what it may do.

use super::access::Role;
use super::errors::{EngineError, code};
use super::library::{Connection, Engine};
use super::policies::RowPolicies;
use super::request::{Parameters, TIMEZONE};

/// What a request gets that asks for nothing else. Ids of messages are larger than JavaScript's numbers are exact. A view with a
/// PREWHERE does not go together with reading words out of their index alone (tried with 26.7: a column is missed).
pub const DEFAULTS: [(&str, &str); 3] = [
    (TIMEZONE, "UTC"),
    ("output_format_json_quote_64bit_integers", "1"),
    ("query_plan_direct_read_from_text_index", "0"),
];

/// What a request's connection is told before its statement. Every request has a connection of its own, so that nothing of one is seen by the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Statements to run first, in this order.
    preparation: Vec<String>,
    /// The value of `readonly`, after which nothing can be set.
    level: Option<String>,
    /// Who asks.
    pub role: Role,
    /// The analysts' database.
    pub views: String,
    /// The engine refuses writes into tables by itself then, but not into `INSERT INTO FUNCTION file(…)`: the front has to.
    pub read_only: bool,
    /// Values of `{name:Type}`.
    pub named: Vec<(String, String)>,
}

impl Session {
    /// The session of a request; `read_only` as for every `GET`: it reads and may change settings for itself, but nothing else.
    ///
    /// # Errors
    /// `UNKNOWN_DATABASE` (81): an analyst of one tenant has the views only.
    pub fn new(
        parameters: &Parameters,
        role: &Role,
        policies: &RowPolicies,
        read_only: bool,
    ) -> Result<Self, EngineError> {
        let mut preparation = Vec::new();
        if let Some(database) = database(parameters, role, policies.views())? {
            preparation.push(format!("USE {}", quote(database, '`')));
        }
        let asked = parameters.settings.iter().filter(|(name, value)| name != TIMEZONE || !value.is_empty());
        let defaults = DEFAULTS.iter().filter(|(name, _)| asked.clone().all(|(asked, _)| asked != name));
        let defaults = defaults.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let allowed = defaults.chain(asked.clone().filter(|(name, value)| role.may_set(name, value)).cloned());
        let (last, mut settings): (Vec<_>, Vec<_>) = allowed.partition(|(name, _)| name == "readonly");
        let own = role.settings().into_iter().filter(|(own, _)| settings.iter().all(|(name, _)| name != own));
        let own: Vec<_> = own.chain([("log_comment".to_owned(), policies.comment(role.tenant()))]).collect();
        settings.retain(|(name, _)| name != "log_comment");
        settings.extend(own);
        let level = match last.into_iter().next() {
            Some((_, stricter)) if stricter != "0" || !read_only => Some(stricter),
            // 1 refuses to change settings as well, which for a limited role means: by the statement itself.
            _ if read_only => Some(if role.is_limited() { "1" } else { "2" }.to_owned()),
            _ => None,
        };
        let assignments: Vec<String> =
            settings.iter().map(|(name, value)| format!("{name} = {}", quote(value, '\''))).collect();
        preparation.push(format!("SET {}", assignments.join(", ")));
        let views = policies.views().to_owned();
        Ok(Self { preparation, level, role: role.clone(), views, read_only, named: parameters.named.clone() })
    }

    /// Opens the session's connection, on which nothing can be set any more where the session only reads.
    ///
    /// # Errors
    /// An unknown database or setting, a value that the setting refuses.
    pub fn open<'engine>(&self, engine: &'engine Engine) -> Result<Connection<'engine>, EngineError> {
        let mut connection = self.open_to_changes(engine)?;
        self.hold(&mut connection, false)?;
        Ok(connection)
    }

    /// Holds a connection to reading. One that only `shows_settings` may be told which of them can be set: in the URL, for the next statement. (It is the
    /// only kind for which 2 instead of 1 makes no difference, because it has no table function.)
    ///
    /// # Errors
    /// The engine refuses.
    pub fn hold(&self, connection: &mut Connection<'_>, shows_settings: bool) -> Result<(), EngineError> {
        let Some(level) = &self.level else { return Ok(()) };
        let level = if shows_settings { "2" } else { level };
        connection.query(format!("SET readonly = {}", quote(level, '\'')).as_bytes(), "Null", &[]).map(|_| ())
    }

    /// Opens the session's connection, to be held by [`hold`](Self::hold).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_to_changes<'engine>(&self, engine: &'engine Engine) -> Result<Connection<'engine>, EngineError> {
        let mut connection = engine.connect()?;
        for statement in &self.preparation {
            connection.query(statement.as_bytes(), "Null", &[])?;
        }
        Ok(connection)
    }
}

/// The database in which the request's names are looked for.
fn database<'a>(parameters: &'a Parameters, role: &Role, views: &'a str) -> Result<Option<&'a str>, EngineError> {
    match parameters.database.as_deref() {
        named if role.tenant().is_none() => Ok(named),
        // What drivers name when nobody named one to them.
        None | Some("default") => Ok(Some(views)),
        Some(named) if named == views => Ok(Some(views)),
        Some(other) => Err(EngineError::new(
            code::UNKNOWN_DATABASE,
            "UNKNOWN_DATABASE",
            format!("Database {other} does not exist for an analyst of one tenant, who has {views}"),
        )),
    }
}

/// A text as ClickHouse reads it between these quotes.
fn quote(text: &str, quote: char) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for letter in text.chars() {
        if letter == quote || letter == '\\' {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysts::quota;

    fn parameters(database: Option<&str>, settings: &[(&str, &str)]) -> Parameters {
        Parameters {
            database: database.map(str::to_owned),
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Parameters::default()
        }
    }

    /// What is prepared, with `C` for the comment that sees everything.
    fn preparation(parameters: &Parameters, role: &Role, read_only: bool) -> Vec<String> {
        let policies = RowPolicies::new("natter");
        let session = Session::new(parameters, role, &policies, read_only).expect("a session");
        let comment = format!("log_comment = '{}'", policies.comment(role.tenant()));
        let held = session.level.map(|level| format!("SET readonly = '{level}'"));
        let defaults = "session_timezone = 'UTC', output_format_json_quote_64bit_integers = '1', query_plan_direct_read_from_text_index = '0', ";
        let prepared = session.preparation.into_iter().map(|text| text.replace(&comment, "C").replace(defaults, ""));
        prepared.chain(held).collect()
    }

    fn as_admin(database: Option<&str>, settings: &[(&str, &str)], read_only: bool) -> Vec<String> {
        preparation(&parameters(database, settings), &Role::Admin, read_only)
    }

    #[test]
    fn names_and_values_are_quoted() {
        let prepared = as_admin(Some("a`b"), &[("x", "it's \\ 1")], false);
        assert_eq!(prepared, ["USE `a\\`b`", "SET x = 'it\\'s \\\\ 1', C"]);
        assert_eq!(as_admin(None, &[("log_comment", "mine")], false), ["SET C"]);
    }

    #[test]
    fn a_get_cannot_lift_its_readonly() {
        let cases: [(&[_], _, &[_]); 4] = [
            (&[("readonly", "0"), ("x", "1")], true, &["SET x = '1', C", "SET readonly = '2'"]),
            (&[("readonly", "1"), ("x", "1")], true, &["SET x = '1', C", "SET readonly = '1'"]),
            (&[], true, &["SET C", "SET readonly = '2'"]),
            (&[("readonly", "0")], false, &["SET C", "SET readonly = '0'"]),
        ];
        for (settings, read_only, prepared) in cases {
            assert_eq!(as_admin(None, settings, read_only), prepared);
        }
    }

    #[test]
    fn a_limited_role_cannot_lift_anything() {
        let parameters = parameters(None, &[("readonly", "2"), ("log_comment", "another"), ("max_threads", "1")]);
        let prepared = preparation(&parameters, &Role::Reader, true);
        assert_eq!(prepared, ["SET max_threads = '1', C", "SET readonly = '1'"]);
    }

    #[test]
    fn times_are_utc_and_ids_quoted_unless_asked_otherwise() {
        let policies = RowPolicies::new("natter");
        let prepared = |settings: &[(&str, &str)]| {
            let session = Session::new(&parameters(None, settings), &Role::Reader, &policies, true);
            session.expect("a session").preparation.concat()
        };
        for settings in [&[][..], &[("session_timezone", "")]] {
            let text = prepared(settings);
            assert!(text.contains("session_timezone = 'UTC', output_format_json_quote_64bit_integers = '1'"), "{text}");
        }
        let asked = [("session_timezone", "Asia/Kolkata"), ("output_format_json_quote_64bit_integers", "0")];
        let text = prepared(&asked);
        assert!(
            text.contains("session_timezone = 'Asia/Kolkata', output_format_json_quote_64bit_integers = '0'"),
            "{text}"
        );
        assert_eq!(text.matches("session_timezone").count(), 1);
    }

    #[test]
    fn a_tenants_analyst_is_in_the_views_with_a_quota() {
        let role = Role::Tenant { tenant: "acme".try_into().expect("a name"), quota: quota::EXAMPLE };
        let asked = [("max_result_rows", "10"), ("max_execution_time", "0"), ("log_comment", "other")];
        for database in [None, Some("default"), Some("natter")] {
            let [database, settings, held] = &preparation(&parameters(database, &asked), &role, true)[..] else {
                panic!()
            };
            assert_eq!(database, "USE `natter`");
            assert!(settings.contains("max_result_rows = '10'") && settings.contains("max_execution_time = '30'"));
            assert!(settings.ends_with('C') && held == "SET readonly = '1'", "{settings}");
        }
        let policies = RowPolicies::new("natter");
        for database in ["natter_store", "system"] {
            let refused = Session::new(&parameters(Some(database), &[]), &role, &policies, true);
            assert_eq!(refused.expect_err("refused").code, 81);
        }
    }
}
