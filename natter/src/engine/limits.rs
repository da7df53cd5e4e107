//! What a statement of a user who is no administrator may be.
//!
//! Tried against the library: a connection with `readonly = 1` still runs the function `file('/any/path')`, writes by `INTO OUTFILE`, infers the columns of any
//! URL or file by `DESCRIBE`, and takes `KILL QUERY`. So the front allows kinds of statements only, and looks for those names itself. It looks at the text as
//! ClickHouse's own parser writes it back, in which a name has no escape, no comment and no odd blank left to hide behind.

use super::errors::{EngineError, code};
use super::lexer::{Kind, Lexed, Lexer, Token};
use super::library::Connection;

/// Names that reach beyond the databases, whatever they are called for: functions can be named without being called (`arrayMap(file, …)`).
const FORBIDDEN: [&str; 4] = ["file", "eval", "catboostEvaluate", "OUTFILE"];
/// What a name may be hidden in: an escape, or a parameter.
const DISGUISES: [&[u8]; 2] = [b"\\", b"identifier"];
/// How statements begin that only look.
const LOOKS: [&str; 8] = ["SELECT", "WITH", "FROM", "SHOW", "EXISTS", "EXPLAIN", "DESCRIBE", "DESC"];

/// Refuses a statement that does not only look at tables.
///
/// # Errors
/// `READONLY` (164), or what ClickHouse's parser says.
pub fn check(connection: &mut Connection<'_>, sql: &[u8], named: &[(String, String)]) -> Result<(), EngineError> {
    if !needs_a_look(sql) {
        return Ok(());
    }
    refuse(&canonical(connection, sql)?, named)
}

/// A statement as ClickHouse's own parser writes it back.
///
/// # Errors
/// What that parser says.
pub fn canonical(connection: &mut Connection<'_>, sql: &[u8]) -> Result<Vec<u8>, EngineError> {
    let text = std::str::from_utf8(sql).map_err(|_| refused("a text that is not UTF-8"))?;
    // As a parameter, so that it is as long to the parser as the statement itself.
    let parameter = [("sql".to_owned(), escaped(text))];
    let written = connection.query(b"SELECT formatQuery({sql:String})", "RawBLOB", &parameter);
    Ok(written.map_err(of_the_statement)?.bytes)
}

/// The parser's words, without the question that was put around the statement.
fn of_the_statement(mut error: EngineError) -> EngineError {
    let (begins, ends) = (error.message.find(": In scope SELECT formatQuery("), error.message.rfind("). ("));
    if let (Some(begins), Some(ends)) = (begins, ends)
        && begins < ends
    {
        error.message.replace_range(begins..=ends, "");
    }
    error
}

/// A text as a parameter's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

/// Whether there is anything in the text that the engine's own `readonly` may not refuse.
fn needs_a_look(sql: &[u8]) -> bool {
    let holds = |name: &[u8]| sql.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name));
    let begins = first_word(sql);
    begins.is_none_or(|word| !["SELECT", "WITH", "FROM"].contains(&&*word))
        || FORBIDDEN.iter().any(|name| holds(name.as_bytes()))
        || DISGUISES.iter().any(|disguise| holds(disguise))
}

fn first_word(sql: &[u8]) -> Option<String> {
    let mut lexer = Lexer::new(sql);
    loop {
        match lexer.advance() {
            Lexed::Token(token) if token.kind == Kind::Symbol(b'(') => {}
            Lexed::Token(Token { start, end, .. }) => {
                return Some(String::from_utf8_lossy(&sql[start..end]).to_uppercase());
            }
            _ => return None,
        }
    }
}

/// Refuses a text in ClickHouse's own spelling.
fn refuse(canonical: &[u8], named: &[(String, String)]) -> Result<(), EngineError> {
    let begins = first_word(canonical).unwrap_or_default();
    if !LOOKS.contains(&&*begins) {
        return Err(refused(&begins));
    }
    // Columns of a table that is there are no secret; those of a function, the function would be run for.
    let only_tables = ["DESCRIBE", "DESC"].contains(&&*begins);
    let mut lexer = Lexer::new(canonical);
    let mut before = None;
    while let Lexed::Token(token) = lexer.advance() {
        let word = match token.kind {
            Kind::Word => &canonical[token.start..token.end],
            Kind::Quoted if canonical[token.start] != b'\'' => &canonical[token.start + 1..token.end - 1],
            Kind::Symbol(b'(') if only_tables => return Err(refused("DESCRIBE of anything but a table")),
            _ => continue,
        };
        if is_forbidden(word) {
            return Err(refused(&String::from_utf8_lossy(word)));
        }
        // `EXPLAIN TABLE OVERRIDE` asks a foreign server.
        if before.replace(token).is_some_and(|before| lexer.is(before, "TABLE")) && lexer.is(token, "OVERRIDE") {
            return Err(refused("TABLE OVERRIDE"));
        }
    }
    match named.iter().find(|(_, value)| is_forbidden(value.as_bytes()) || value.contains('\\')) {
        Some((name, _)) if canonical.windows(10).any(|window| window.eq_ignore_ascii_case(b"identifier")) => {
            Err(refused(&format!("the value of {{{name}}}")))
        }
        _ => Ok(()),
    }
}

fn is_forbidden(word: &[u8]) -> bool {
    FORBIDDEN.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// A refusal that names what for.
pub fn refused(what: &str) -> EngineError {
    EngineError::new(code::READONLY, "READONLY", format!("this user may only read tables, and not use: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parser_says_is_of_the_statement_alone() {
        let said = "Syntax error: failed at position 7 (1): 1. Expected FROM: In scope SELECT formatQuery('SELEC (1)'). (SYNTAX_ERROR)";
        let error = of_the_statement(EngineError { code: 62, message: said.to_owned() });
        assert_eq!(error.message, "Syntax error: failed at position 7 (1): 1. Expected FROM. (SYNTAX_ERROR)");
    }

    #[test]
    fn most_statements_need_no_second_look() {
        for sql in ["SELECT 1", " (select a from b)", "WITH 1 AS x SELECT x", "SELECT 'it''s' /* fine */ FROM t"] {
            assert!(!needs_a_look(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "SELECT file('x')",
            "SELECT `FI\\x4ce`('x')",
            "SELECT 1 INTO OUTFILE 'x'",
            "SELECT {a:Identifier}",
            "KILL QUERY WHERE 1",
            "DESCRIBE TABLE t",
            "SHOW TABLES",
            "",
        ] {
            assert!(needs_a_look(sql.as_bytes()), "{sql}");
        }
    }

    #[test]
    fn what_reaches_beyond_the_tables_is_refused() {
        let refused = |sql: &str| refuse(sql.as_bytes(), &[]).is_err();
        for sql in [
            "SELECT file('x')",
            "SELECT arrayMap(file, ['x'])",
            "SELECT * APPLY `file`",
            "SELECT 1 INTO OUTFILE 'x'",
            "SELECT * FROM eval('SELECT 1')",
            "SHOW TABLES WHERE file('x') = 'y'",
            "DESCRIBE TABLE url('http://a')",
            "DESCRIBE TABLE (SELECT 1)",
            "EXPLAIN TABLE OVERRIDE mysql('a:1', 'b', 'c', 'd', 'e') PARTITION BY x",
            "KILL QUERY WHERE 1",
            "SET max_threads = 1",
            "SYSTEM RELOAD CONFIG",
            "USE system",
            "",
        ] {
            assert!(refused(sql), "{sql}");
        }
        for sql in [
            "SELECT 'file' AS x, files, \"a\\\\b\" FROM t",
            "DESCRIBE TABLE a.`b`",
            "SHOW TABLES FROM natter",
            "EXPLAIN SELECT 1",
            "(SELECT 1) UNION ALL SELECT 2",
        ] {
            assert!(!refused(sql), "{sql}");
        }
    }

    #[test]
    fn a_name_may_not_come_by_a_parameter() {
        let with = |sql: &str, value: &str| refuse(sql.as_bytes(), &[("a".to_owned(), value.to_owned())]).is_ok();
        assert!(!with("SELECT arrayMap({a:Identifier}, ['x'])", "file"));
        assert!(!with("SELECT arrayMap({a:Identifier}, ['x'])", "fi\\x6ce"));
        assert!(with("SELECT {a:String}", "file"));
        assert!(with("SELECT * FROM {a:Identifier}", "messages"));
    }
}
