//! A connection made ready for one request: its database, its settings, what it may do.

use super::access::Role;
use super::errors::{EngineError, code};
use super::library::{Connection, Engine};
use super::policies::RowPolicies;
use super::request::Parameters;

/// What a request's connection is told before its statement. Every request has a connection of its own, so that nothing of one is seen by the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Statements to run first, in this order.
    preparation: Vec<String>,
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
        // `readonly` comes last, because nothing can be set after it.
        let allowed = parameters.settings.iter().filter(|(name, value)| role.may_set(name, value)).cloned();
        let (last, mut settings): (Vec<_>, Vec<_>) = allowed.partition(|(name, _)| name == "readonly");
        let own = role.settings().into_iter().filter(|(own, _)| settings.iter().all(|(name, _)| name != own));
        let own: Vec<_> = own.chain([("log_comment".to_owned(), policies.comment(role.tenant()))]).collect();
        settings.retain(|(name, _)| name != "log_comment");
        settings.extend(own);
        match last.into_iter().next() {
            Some(stricter) if stricter.1 != "0" || !read_only => settings.push(stricter),
            // 1 refuses to change settings as well, which for a limited role means: by the statement itself.
            _ if read_only => {
                let level = if role.is_limited() { "1" } else { "2" };
                settings.push(("readonly".to_owned(), level.to_owned()));
            }
            _ => {}
        }
        let assignments: Vec<String> =
            settings.iter().map(|(name, value)| format!("{name} = {}", quote(value, '\''))).collect();
        preparation.push(format!("SET {}", assignments.join(", ")));
        let views = policies.views().to_owned();
        Ok(Self { preparation, role: role.clone(), views, read_only, named: parameters.named.clone() })
    }

    /// Opens the session's connection.
    ///
    /// # Errors
    /// An unknown database or setting, a value that the setting refuses.
    pub fn open<'engine>(&self, engine: &'engine Engine) -> Result<Connection<'engine>, EngineError> {
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
        session.preparation.into_iter().map(|text| text.replace(&comment, "C")).collect()
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
        let cases: [(&[_], _, _); 4] = [
            (&[("readonly", "0"), ("x", "1")], true, "SET x = '1', C, readonly = '2'"),
            (&[("readonly", "1"), ("x", "1")], true, "SET x = '1', C, readonly = '1'"),
            (&[], true, "SET C, readonly = '2'"),
            (&[("readonly", "0")], false, "SET C, readonly = '0'"),
        ];
        for (settings, read_only, prepared) in cases {
            assert_eq!(as_admin(None, settings, read_only), [prepared]);
        }
    }

    #[test]
    fn a_limited_role_cannot_lift_anything() {
        let parameters = parameters(None, &[("readonly", "2"), ("log_comment", "another"), ("max_threads", "1")]);
        assert_eq!(preparation(&parameters, &Role::Reader, true), ["SET max_threads = '1', C, readonly = '1'"]);
    }

    #[test]
    fn a_tenants_analyst_is_in_the_views_with_a_quota() {
        let role = Role::Tenant { tenant: "acme".try_into().expect("a name"), quota: quota::EXAMPLE };
        let asked = [("max_result_rows", "10"), ("max_execution_time", "0"), ("log_comment", "other")];
        for database in [None, Some("default"), Some("natter")] {
            let [database, settings] = &preparation(&parameters(database, &asked), &role, true)[..] else { panic!() };
            assert_eq!(database, "USE `natter`");
            assert!(settings.contains("max_result_rows = '10'") && settings.contains("max_execution_time = '30'"));
            assert!(settings.ends_with("C, readonly = '1'"), "{settings}");
        }
        let policies = RowPolicies::new("natter");
        for database in ["natter_store", "system"] {
            let refused = Session::new(&parameters(Some(database), &[]), &role, &policies, true);
            assert_eq!(refused.expect_err("refused").code, 81);
        }
    }
}
