//! A connection made ready for one request: its database, its settings, what it may do.

use super::access::Role;
use super::errors::EngineError;
use super::library::{Connection, Engine};
use super::request::Parameters;

/// What a request's connection is told before its statement. Every request has a connection of its own, so that nothing of one is seen by the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Statements to run first, in this order.
    preparation: Vec<String>,
    /// Who asks.
    pub role: Role,
    /// The engine refuses writes into tables by itself then, but not into `INSERT INTO FUNCTION file(…)`: the front has to.
    pub read_only: bool,
    /// Values of `{name:Type}`.
    pub named: Vec<(String, String)>,
}

impl Session {
    /// The session of a request; `read_only` as for every `GET`: it reads and may change settings for itself, but nothing else.
    pub fn new(parameters: &Parameters, role: &Role, read_only: bool) -> Self {
        let mut preparation = Vec::new();
        if let Some(database) = &parameters.database {
            preparation.push(format!("USE {}", quote(database, '`')));
        }
        // `readonly` comes last, because nothing can be set after it.
        let allowed = parameters.settings.iter().filter(|(name, _)| role.may_set(name)).cloned();
        let (last, mut settings): (Vec<_>, Vec<_>) = allowed.partition(|(name, _)| name == "readonly");
        match last.into_iter().next() {
            Some(stricter) if stricter.1 != "0" || !read_only => settings.push(stricter),
            // 1 refuses to change settings as well, which for a limited role means: by the statement itself.
            _ if read_only => {
                let level = if role.is_limited() { "1" } else { "2" };
                settings.push(("readonly".to_owned(), level.to_owned()));
            }
            _ => {}
        }
        if !settings.is_empty() {
            let assignments: Vec<String> =
                settings.iter().map(|(name, value)| format!("{name} = {}", quote(value, '\''))).collect();
            preparation.push(format!("SET {}", assignments.join(", ")));
        }
        Self { preparation, role: role.clone(), read_only, named: parameters.named.clone() }
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

    fn preparation(database: Option<&str>, settings: &[(&str, &str)], read_only: bool) -> Vec<String> {
        let parameters = Parameters {
            database: database.map(str::to_owned),
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Parameters::default()
        };
        Session::new(&parameters, &Role::Admin, read_only).preparation
    }

    #[test]
    fn names_and_values_are_quoted() {
        assert_eq!(preparation(Some("a`b"), &[("x", "it's \\ 1")], false), ["USE `a\\`b`", "SET x = 'it\\'s \\\\ 1'"]);
        assert!(preparation(None, &[], false).is_empty());
    }

    #[test]
    fn a_get_cannot_lift_its_readonly() {
        assert_eq!(preparation(None, &[("readonly", "0"), ("x", "1")], true), ["SET x = '1', readonly = '2'"]);
        assert_eq!(preparation(None, &[("readonly", "1"), ("x", "1")], true), ["SET x = '1', readonly = '1'"]);
        assert_eq!(preparation(None, &[], true), ["SET readonly = '2'"]);
        assert_eq!(preparation(None, &[("readonly", "0")], false), ["SET readonly = '0'"]);
    }

    #[test]
    fn a_limited_role_cannot_lift_anything() {
        let settings = [("readonly", "2"), ("log_comment", "another"), ("max_threads", "1")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let parameters = Parameters { settings, ..Parameters::default() };
        let session = Session::new(&parameters, &Role::Reader, true);
        assert_eq!(session.preparation, ["SET max_threads = '1', readonly = '1'"]);
    }
}
