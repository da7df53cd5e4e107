//! What a statement of an analyst of one tenant may be, beside what holds for everybody who only reads ([`super::limits`]).
//!
//! Rows are fenced in by the engine's row policies ([`super::policies`]). This is about the ways past them, tried against the library: `mergeTreeIndex()`
//! shows keys of every row, tables of `system` what others ask and how many rows there are, `EXPLAIN` how many were read, `SETTINGS` in a sub-query
//! lifts what the connection was given. So only what is known to be harmless may be named: the analysts' views, a few tables that describe the engine,
//! table functions that make up numbers. It is looked for twice: in the text as ClickHouse's own parser writes it back, and in the tree that it makes of
//! it, in which the tables of a statement are told from everything else.

use natter_projections::clickhouse::archive_store;
use natter_projections::clickhouse::generations::stores;

use super::errors::{EngineError, code};
use super::lexer::{Kind, Lexed, Lexer};
use super::library::Connection;
use super::limits::{canonical, refused};

/// Tables of `system` that say the same to everybody, or are under a row policy; drivers ask some of them when they connect.
const SYSTEM_TABLES: [&str; 17] = [
    "aggregate_function_combinators",
    "collations",
    "columns",
    "data_type_families",
    "databases",
    "formats",
    "functions",
    "keywords",
    "numbers",
    "numbers_mt",
    "one",
    "settings",
    "table_engines",
    "table_functions",
    "tables",
    "time_zones",
    "zeros",
];
/// Table functions that read nothing.
const TABLE_FUNCTIONS: [&str; 7] =
    ["numbers", "numbers_mt", "zeros", "zeros_mt", "generateSeries", "generate_series", "values"];
/// How functions begin that read what is no argument of theirs, ask the network, or write into the server's log. In lower case; it is looked for them wherever
/// they are named, because they can be named without being called.
const FUNCTIONS: [&str; 24] = [
    "__",
    "addressto",
    "aiclassify",
    "aiembed",
    "aiextract",
    "aigenerate",
    "aitranslate",
    "dictget",
    "dicthas",
    "dictisin",
    "evalmlmethod",
    "filesystem",
    "generateserialid",
    "getclient",
    "getmacro",
    "getmergetree",
    "getserver",
    "getsetting",
    "hascolumnintable",
    "joinget",
    "logtrace",
    "mergetree",
    "naivebayes",
    "zookeeper",
];
/// Databases that are there without anybody making them, but for `system`.
const FOREIGN: [&str; 2] = ["information_schema", "default"];
/// What a tree begins with.
const ROOTS: [&str; 4] = ["SelectWithUnionQuery (", "SelectIntersectExceptQuery (", "DescribeQuery (", "Show"];
/// Statements that only say something of the views themselves.
const SHOWS: [&str; 2] = ["TABLES", "DATABASES"];

/// Refuses a statement that names anything but `views` and what is harmless, and gives back the text that was looked at: only that is to be run.
///
/// # Errors
/// `READONLY` (164), or what ClickHouse's parser says.
pub fn check(
    connection: &mut Connection<'_>,
    sql: &[u8],
    named: &[(String, String)],
    views: &str,
) -> Result<String, EngineError> {
    let text = String::from_utf8(canonical(connection, sql)?).map_err(|_| refused("a text that is not UTF-8"))?;
    refuse_text(&text, views)?;
    refuse_tree(&tree(connection, &text, named)?, views)?;
    Ok(text)
}

/// Whether a text may be about the engine's table of settings.
pub fn mentions_settings(sql: &[u8]) -> bool {
    let table = b"settings";
    sql.windows(table.len()).any(|window| window.eq_ignore_ascii_case(table))
}

/// Whether a statement reads the engine's settings and has nothing in it that `readonly` would have to refuse: no table function, no setting, and nothing
/// that the tree does not show.
///
/// # Errors
/// What ClickHouse's parser says.
pub fn shows_settings(
    connection: &mut Connection<'_>,
    sql: &[u8],
    named: &[(String, String)],
) -> Result<bool, EngineError> {
    let text = String::from_utf8(canonical(connection, sql)?).map_err(|_| refused("a text that is not UTF-8"))?;
    Ok(reads_settings(&tree(connection, &text, named)?))
}

fn tree(connection: &mut Connection<'_>, canonical: &str, named: &[(String, String)]) -> Result<String, EngineError> {
    let explain = format!("EXPLAIN AST {}", without_format(canonical));
    let tree = connection.query(explain.as_bytes(), "TSVRaw", named)?;
    Ok(String::from_utf8_lossy(&tree.bytes).into_owned())
}

/// A failure as a tenant's analyst is told of it: how many rows would be read is not said, because others' are among them.
pub fn told(error: EngineError) -> EngineError {
    match error.code {
        code::TOO_MANY_ROWS | code::TOO_MANY_BYTES => EngineError::new(
            error.code,
            "TOO_MANY_ROWS",
            "the statement reads more than the quota of this analyst allows",
        ),
        _ => error,
    }
}

/// The tree is to come as lines. Keywords of the parser's are upper case; names are as they were given, and none begins a line so.
fn without_format(canonical: &str) -> &str {
    match canonical.trim_end().rsplit_once("\nFORMAT ") {
        Some((text, format)) if format.bytes().all(|byte| byte.is_ascii_alphanumeric()) => text,
        _ => canonical,
    }
}

/// A name, keyword or symbol; a text between single quotes is a value, and says nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece<'text> {
    Keyword(&'text str),
    Name(&'text str),
    Symbol(u8),
    Value,
}

impl<'text> Piece<'text> {
    /// `None`: the text does not end as it should.
    fn all_of(canonical: &'text str) -> Option<Vec<Self>> {
        let mut lexer = Lexer::new(canonical.as_bytes());
        let mut pieces = Vec::new();
        loop {
            let token = match lexer.advance() {
                Lexed::Token(token) => token,
                Lexed::End => return Some(pieces),
                Lexed::Unterminated => return None,
            };
            pieces.push(match token.kind {
                Kind::Word => Self::Keyword(&canonical[token.start..token.end]),
                Kind::Quoted if canonical[token.start..].starts_with('\'') => Self::Value,
                Kind::Quoted => Self::Name(&canonical[token.start + 1..token.end - 1]),
                Kind::Symbol(symbol) => Self::Symbol(symbol),
            });
        }
    }

    fn word(self) -> Option<&'text str> {
        match self {
            Self::Keyword(word) | Self::Name(word) => Some(word),
            Self::Symbol(_) | Self::Value => None,
        }
    }
}

/// Looks at the names of a text in ClickHouse's own spelling.
fn refuse_text(canonical: &str, views: &str) -> Result<(), EngineError> {
    let pieces = Piece::all_of(canonical).ok_or_else(|| refused("a text that does not end"))?;
    for (index, piece) in pieces.iter().enumerate() {
        let Some(word) = piece.word() else { continue };
        let lower = word.to_ascii_lowercase();
        let before = index.checked_sub(1).map(|before| pieces[before]);
        let after = pieces.get(index + 1);
        let begins = before != Some(Piece::Symbol(b'.'));
        if FUNCTIONS.iter().any(|name| lower.starts_with(name)) {
            return Err(refused(word));
        }
        match (piece, &*lower) {
            // A table may be called so.
            (Piece::Keyword(_), "settings") if begins => {
                return Err(refused("SETTINGS in a statement: give them in the URL"));
            }
            // What it applies is not in the tree.
            (Piece::Keyword(_), "apply") => return Err(refused("APPLY")),
            (Piece::Keyword(_), "identifier") if before == Some(Piece::Symbol(b':')) => {
                return Err(refused("a name as a parameter"));
            }
            (_, database) if begins && after == Some(&Piece::Symbol(b'.')) => {
                let table = pieces.get(index + 2).and_then(|table| table.word()).unwrap_or_default();
                let is_foreign = is_of_tables(database, views)
                    || FOREIGN.contains(&database)
                    || database == "system" && !SYSTEM_TABLES.contains(&table);
                if is_foreign {
                    return Err(refused(&format!("{word}.{table}")));
                }
            }
            _ => {}
        }
    }
    let word = |index: usize| pieces.get(index).and_then(|piece| piece.word()).unwrap_or_default().to_ascii_uppercase();
    match &*word(0) {
        "SHOW" if SHOWS.contains(&&*word(1)) => Ok(()),
        other @ ("SHOW" | "EXISTS" | "EXPLAIN") => Err(refused(other)),
        _ => Ok(()),
    }
}

/// Looks at the nodes of `EXPLAIN AST`, one a line, each indented deeper than what it belongs to.
fn refuse_tree(tree: &str, views: &str) -> Result<(), EngineError> {
    // Anything else is no statement that is known here, or no tree.
    if !ROOTS.iter().any(|root| tree.starts_with(root)) {
        return Err(refused("this kind of statement"));
    }
    let mut before = "";
    for line in tree.lines().map(str::trim_start) {
        let (node, name) = node(line);
        let is_harmless = match node {
            hidden if HIDING.contains(&hidden) => false,
            "TableIdentifier" => may_name(name, views),
            // A table as the right side of IN.
            "Identifier" => !name.contains('.') || may_begin(name, views),
            "Function" if before == "TableExpression" => {
                TABLE_FUNCTIONS.iter().any(|known| name.eq_ignore_ascii_case(known))
            }
            _ => true,
        };
        if !is_harmless {
            return Err(refused(line));
        }
        before = node;
    }
    Ok(())
}

/// Nodes that change a setting, or hold what the tree does not show.
const HIDING: [&str; 3] = ["Set", "ColumnsApplyTransformer", "QueryParameter"];

/// The kind and the name of a line of the tree.
fn node(line: &str) -> (&str, &str) {
    let (node, name) = line.split_once(' ').unwrap_or((line, ""));
    let tails = ["(alias ", "(children "];
    let name = tails.iter().fold(name, |name, tail| name.split_once(tail).map_or(name, |(name, _)| name));
    (node, name.trim_end())
}

fn reads_settings(tree: &str) -> bool {
    let nodes: Vec<_> = tree.lines().map(|line| node(line.trim_start())).collect();
    let is_function = |two: &[(&str, &str)]| two[0].0 == "TableExpression" && two[1].0 == "Function";
    tree.starts_with(ROOTS[0])
        && nodes.contains(&("TableIdentifier", "system.settings"))
        && !nodes.iter().any(|(node, _)| HIDING.contains(node))
        && !nodes.windows(2).any(is_function)
}

/// Whether tables behind the views lie there.
fn is_of_tables(database: &str, views: &str) -> bool {
    stores(views).iter().any(|store| store == database) || archive_store(views) == database
}

/// Without a database it is one of `views`, in which every statement starts, or of a WITH.
fn may_name(table: &str, views: &str) -> bool {
    match table.split_once('.') {
        None => true,
        Some(("system", table)) => SYSTEM_TABLES.contains(&table),
        Some((database, _)) => database == views,
    }
}

/// A name of several parts begins with a table's or an alias, but not with that of another database.
fn may_begin(name: &str, views: &str) -> bool {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    let first = first.to_ascii_lowercase();
    let table = rest.split('.').next().unwrap_or_default();
    match &*first {
        "system" => SYSTEM_TABLES.contains(&table),
        first => !is_of_tables(first, views) && !FOREIGN.contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_may_name_views_and_what_is_harmless() {
        let fine = |sql: &str| refuse_text(sql, "natter").is_ok();
        for sql in [
            "SELECT 'SETTINGS system.parts' FROM natter.messages AS m WHERE m.seq IN (SELECT seq FROM messages)",
            "SELECT name FROM system.settings",
            "SELECT {tenant:String}, dictionary, air FROM numbers(10)",
            "SHOW TABLES FROM natter",
            "DESCRIBE TABLE natter.messages",
        ] {
            assert!(fine(sql), "{sql}");
        }
        for sql in [
            "SELECT 1 FROM (SELECT 1 SETTINGS log_comment = 'other')",
            "SELECT 1 FROM natter_store.messages",
            "SELECT 1 FROM natter_store_2.messages",
            "SELECT 1 FROM `natter_store`.messages",
            "SELECT 1 FROM system.parts",
            "SELECT 1 FROM SYSTEM.one, system.`query_log`",
            "SELECT 1 WHERE 1 IN (INFORMATION_SCHEMA.tables)",
            "SELECT * APPLY x -> (x IN (SELECT 1 FROM messages)) FROM messages",
            "SELECT arrayMap(getSetting, ['log_comment'])",
            "SELECT AIGenerate('x'), joinGet('a', 'b', 1)",
            "SELECT 1 FROM {x:Identifier}",
            "EXPLAIN SELECT 1",
            "SHOW PROCESSLIST",
            "EXISTS TABLE messages",
            "SELECT 'open",
        ] {
            assert!(!fine(sql), "{sql}");
        }
    }

    #[test]
    fn a_statement_shows_settings_and_does_nothing_else() {
        let shows = |nodes: &str| reads_settings(&format!("SelectWithUnionQuery (children 1)\n{nodes}"));
        let settings = " TableExpression (children 1)\n  TableIdentifier system.settings (alias s)\n";
        assert!(shows(settings));
        assert!(shows(&format!("{settings} Function like (children 1)\n")));
        assert!(!shows(" TableExpression (children 1)\n  TableIdentifier system.tables\n"));
        for more in
            [" TableExpression (children 1)\n  Function url (children 1)\n", " Set\n", " ColumnsApplyTransformer\n"]
        {
            assert!(!shows(&format!("{settings}{more}")), "{more}");
        }
        assert!(mentions_settings(b"SELECT * FROM system.`Settings`") && !mentions_settings(b"SELECT 1"));
    }

    #[test]
    fn trees_may_name_views_and_what_is_harmless() {
        let fine = |node: &str| {
            refuse_tree(
                &format!("SelectWithUnionQuery (children 1)\n TableExpression (children 1)\n  {node}"),
                "natter",
            )
        };
        for node in [
            "TableIdentifier natter.messages",
            "TableIdentifier natter.messages (alias m)",
            "TableIdentifier messages",
            "TableIdentifier system.one",
            "Identifier m.seq (alias s)",
            "Function numbers (children 1)",
            "Function VALUES (children 1)",
        ] {
            assert!(fine(node).is_ok(), "{node}");
        }
        for node in [
            "TableIdentifier natter_store.messages",
            "TableIdentifier system.parts (alias natter.messages)",
            "TableIdentifier a.b.c",
            "Identifier natter_store.messages",
            "Identifier natter_archive.objects",
            "TableIdentifier natter_archive.objects",
            "Identifier System.parts",
            "Function merge (alias numbers) (children 1)",
            "Set",
            "ColumnsApplyTransformer",
        ] {
            assert!(fine(node).is_err(), "{node}");
        }
        for no_tree in ["", "{\n", "\"SelectWithUnionQuery (children 1)\"", "KillQueryQuery"] {
            assert!(refuse_tree(no_tree, "natter").is_err(), "{no_tree}");
        }
        assert_eq!(without_format("SELECT 1\nFORMAT JSON"), "SELECT 1");
        assert_eq!(without_format("SELECT '\nFORMAT x'"), "SELECT '\nFORMAT x'");
    }
}
