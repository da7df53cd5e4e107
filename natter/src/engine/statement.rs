//! What the front has to know about a statement before the engine gets it: where an `INSERT` ends and its rows begin, and a result's format.

use super::lexer::{Kind, Lexed, Lexer, Token};

/// How a text is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// An `INSERT` whose rows follow its text.
    Insert(Insert),
    /// A `SELECT`, whose result may be fetched in parts.
    Select,
    /// Anything else, run as a whole.
    Other,
    /// Reads or writes a file of the client's, which over HTTP would be the server's: `INTO OUTFILE`, `FROM INFILE`.
    ClientFile,
}

/// An `INSERT` taken apart, as the library wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// `INSERT INTO t (a, b) SETTINGS …`, without `FORMAT` or `VALUES`.
    pub head: Vec<u8>,
    pub format: String,
    /// Where in the text the rows begin.
    pub rows_at: usize,
}

impl Insert {
    /// Whether this is `INSERT INTO [TABLE] database.table [(columns)]` for this database, and nothing else: no function, no setting, no expression.
    pub fn is_plainly_into(&self, database: &str) -> bool {
        let mut lexer = Lexer::new(&self.head);
        let mut tokens = Vec::new();
        while let Lexed::Token(token) = lexer.advance() {
            tokens.push(token);
        }
        let keyword = |at: usize, keyword| tokens.get(at).is_some_and(|token| lexer.is(*token, keyword));
        let target = if keyword(2, "TABLE") { 3 } else { 2 };
        let [of, dot, table, columns @ ..] = tokens.get(target..).unwrap_or_default() else { return false };
        let is_name = |token: &Token| match token.kind {
            // ClickHouse's words are ASCII: what is not may be a blank to it.
            Kind::Word => self.head[token.start..token.end].is_ascii(),
            Kind::Quoted => self.head[token.start] != b'\'' && !self.head[token.start..token.end].contains(&b'\\'),
            Kind::Symbol(_) => false,
        };
        let plain_columns = match columns {
            [] => true,
            [open, names @ .., close] => {
                (open.kind, close.kind) == (Kind::Symbol(b'('), Kind::Symbol(b')'))
                    && names.iter().all(|token| is_name(token) || token.kind == Kind::Symbol(b','))
            }
            _ => false,
        };
        let of = &self.head[of.start..of.end];
        keyword(0, "INSERT")
            && keyword(1, "INTO")
            && [database.to_owned(), format!("`{database}`")].iter().any(|name| name.as_bytes() == of)
            && dot.kind == Kind::Symbol(b'.')
            && is_name(table)
            && plain_columns
    }
}

/// Reads the beginning of a request's text. `complete` says that no more bytes will follow; `None` that more are needed to tell.
pub fn read_statement(text: &[u8], complete: bool) -> Option<Statement> {
    let mut reader = Reader { lexer: Lexer::new(text), text, complete };
    match reader.insert() {
        Ok(insert) => Some(Statement::Insert(insert)),
        // Only an insert can be told from its beginning; anything else is read to its end.
        Err(Stop::NoInsert) if complete => Some(read_whole(text)),
        Err(_) => None,
    }
}

/// The format that a `SELECT … FORMAT name` names itself.
pub fn output_format(sql: &[u8]) -> Option<String> {
    let mut lexer = Lexer::new(sql);
    let (mut after_format, mut name) = (false, None);
    while let Lexed::Token(token) = lexer.advance() {
        // A column may be called `format` as well: the clause is the one that ends the statement, but for settings.
        let ends = token.kind == Kind::Symbol(b';') || lexer.is(token, "SETTINGS");
        if ends && name.is_some() {
            break;
        }
        name = (after_format && token.kind == Kind::Word).then_some(&sql[token.start..token.end]);
        after_format = lexer.is(token, "FORMAT");
    }
    name.map(|name| String::from_utf8_lossy(name).into_owned())
}

fn read_whole(text: &[u8]) -> Statement {
    let mut lexer = Lexer::new(text);
    let (mut first, mut before) = (None, None);
    while let Lexed::Token(token) = lexer.advance() {
        if token.kind != Kind::Symbol(b'(') {
            first.get_or_insert(token);
        }
        let follows = |keyword| before.is_some_and(|before| lexer.is(before, keyword));
        if (lexer.is(token, "OUTFILE") && follows("INTO")) || (lexer.is(token, "INFILE") && follows("FROM")) {
            return Statement::ClientFile;
        }
        before = Some(token);
    }
    match first {
        Some(first) if ["SELECT", "WITH", "FROM"].iter().any(|keyword| lexer.is(first, keyword)) => Statement::Select,
        _ => Statement::Other,
    }
}

enum Stop {
    NeedsMore,
    NoInsert,
}

struct Reader<'text> {
    lexer: Lexer<'text>,
    text: &'text [u8],
    complete: bool,
}

impl<'text> Reader<'text> {
    /// The next token, or `None` at the end of a complete text.
    fn next(&mut self) -> Result<Option<Token>, Stop> {
        match self.lexer.advance() {
            // A token that touches the end may go on in the next bytes.
            Lexed::Token(token) if token.end < self.text.len() || self.complete => Ok(Some(token)),
            Lexed::End if self.complete => Ok(None),
            Lexed::Unterminated if self.complete => Err(Stop::NoInsert),
            _ => Err(Stop::NeedsMore),
        }
    }

    fn expect(&mut self) -> Result<Token, Stop> {
        self.next()?.ok_or(Stop::NoInsert)
    }

    fn insert(&mut self) -> Result<Insert, Stop> {
        let first = self.expect()?;
        if !self.lexer.is(first, "INSERT") {
            return Err(Stop::NoInsert);
        }
        self.skip_target()?;
        let (mut depth, mut opened) = (0_usize, false);
        while let Some(token) = self.next()? {
            let select = self.lexer.is(token, "SELECT") || self.lexer.is(token, "WITH");
            if select && (depth == 0 || opened)
                || depth == 0 && (self.lexer.is(token, "FROM") || self.lexer.is(token, "WATCH"))
            {
                return Err(Stop::NoInsert);
            }
            opened = token.kind == Kind::Symbol(b'(');
            match token.kind {
                Kind::Symbol(b'(') => depth += 1,
                Kind::Symbol(b')') => depth = depth.saturating_sub(1),
                // Nothing behind it is a row, however much of it is still to come.
                Kind::Symbol(b';') if depth == 0 && !self.complete => return Err(Stop::NeedsMore),
                Kind::Symbol(b';') if depth == 0 => break,
                Kind::Word if depth == 0 && self.lexer.is(token, "VALUES") => {
                    return Ok(self.parts(token.start, b"", "Values", token.end));
                }
                Kind::Word if depth == 0 && self.lexer.is(token, "FORMAT") => return self.formatted(token.start),
                _ => {}
            }
        }
        Ok(self.parts(self.lexer.position(), b"", "Values", self.text.len()))
    }

    /// Steps over `INTO TABLE a.b` or `INTO FUNCTION f`, so that a table may be called like a keyword.
    fn skip_target(&mut self) -> Result<(), Stop> {
        let mut token = self.expect()?;
        for keyword in ["INTO", "TABLE", "FUNCTION"] {
            if self.lexer.is(token, keyword) {
                token = self.expect()?;
            }
        }
        loop {
            let before = self.lexer.position();
            if self.next()?.is_none_or(|token| token.kind != Kind::Symbol(b'.')) {
                self.lexer.rewind(before);
                return Ok(());
            }
            self.expect()?;
        }
    }

    /// Behind `FORMAT`: the name, then perhaps settings (which belong into the head), then blanks up to one line's end, then rows.
    fn formatted(&mut self, head_end: usize) -> Result<Insert, Stop> {
        let name = self.expect()?;
        let format = String::from_utf8_lossy(&self.text[name.start..name.end]).into_owned();
        let (settings, end) = self.settings(name.end)?;
        let rows = &self.text[end..];
        let blank = rows.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0x0c)).count();
        let rest = &rows[blank..];
        let line_end = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        if !self.complete && rest.len() < 2 {
            return Err(Stop::NeedsMore);
        }
        Ok(self.parts(head_end, settings, &format, end + blank + line_end))
    }

    /// `SETTINGS a = 1, b = 'x'` behind the format's name, and where it ends.
    fn settings(&mut self, from: usize) -> Result<(&'text [u8], usize), Stop> {
        let keyword = match self.lexer.advance() {
            Lexed::Token(token) if self.lexer.is(token, "SETTINGS") => token,
            Lexed::Token(token) if token.end == self.text.len() && !self.complete => return Err(Stop::NeedsMore),
            Lexed::End if !self.complete => return Err(Stop::NeedsMore),
            // A comment may end in front of them. A quote does not: rows may begin with one that nothing closes.
            Lexed::Unterminated if !self.complete && !self.is_quote_behind(from) => return Err(Stop::NeedsMore),
            _ => return Ok((b"", from)),
        };
        loop {
            self.expect()?;
            self.expect()?;
            let mut end = self.expect()?.end;
            // A number with a sign or a point is several tokens.
            while self.text.get(end).is_some_and(|byte| matches!(byte, b'.' | b'0'..=b'9'))
                || self.text[end - 1] == b'-'
            {
                end = self.expect()?.end;
            }
            let before = self.lexer.position();
            match self.lexer.advance() {
                Lexed::Token(token) if token.kind == Kind::Symbol(b',') => {}
                Lexed::End if !self.complete => return Err(Stop::NeedsMore),
                _ => {
                    self.lexer.rewind(before);
                    return Ok((&self.text[keyword.start..end], end));
                }
            }
        }
    }

    fn is_quote_behind(&self, from: usize) -> bool {
        matches!(self.text[from..].trim_ascii_start().first(), Some(b'\'' | b'"' | b'`'))
    }

    fn parts(&self, head_end: usize, settings: &[u8], format: &str, rows_at: usize) -> Insert {
        let mut head = self.text[..head_end].trim_ascii_end().to_vec();
        if !settings.is_empty() {
            head.push(b' ');
            head.extend_from_slice(settings);
        }
        while head.last() == Some(&b';') {
            head.pop();
        }
        Insert { head, format: format.to_owned(), rows_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(text: &str) -> (String, String, String) {
        match read_statement(text.as_bytes(), true) {
            Some(Statement::Insert(insert)) => {
                (String::from_utf8(insert.head).expect("text"), insert.format, text[insert.rows_at..].to_owned())
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    fn parts(head: &str, format: &str, rows: &str) -> (String, String, String) {
        (head.to_owned(), format.to_owned(), rows.to_owned())
    }

    #[test]
    fn an_insert_is_taken_apart() {
        assert_eq!(
            insert("INSERT INTO t(a, b) FORMAT RowBinary\nrows"),
            parts("INSERT INTO t(a, b)", "RowBinary", "rows")
        );
        assert_eq!(
            insert("insert into db.`t` settings x='FORMAT' format CSV 1,2"),
            parts("insert into db.`t` settings x='FORMAT'", "CSV", "1,2")
        );
        assert_eq!(insert("INSERT INTO t VALUES (1), (2);"), parts("INSERT INTO t", "Values", " (1), (2);"));
        assert_eq!(insert("INSERT INTO format FORMAT CSV\n\n1"), parts("INSERT INTO format", "CSV", "\n1"));
        assert_eq!(insert("INSERT INTO values VALUES (1)"), parts("INSERT INTO values", "Values", " (1)"));
        assert_eq!(
            insert("INSERT INTO TABLE FUNCTION null('a Int8') FORMAT TSV\r\n1"),
            parts("INSERT INTO TABLE FUNCTION null('a Int8')", "TSV", "1")
        );
        assert_eq!(
            insert("INSERT INTO t (`select`, format) FORMAT TSV "),
            parts("INSERT INTO t (`select`, format)", "TSV", "")
        );
        assert_eq!(insert("INSERT INTO t;"), parts("INSERT INTO t", "Values", ""));
    }

    #[test]
    fn settings_behind_the_format_go_into_the_head() {
        assert_eq!(
            insert("INSERT INTO t FORMAT CSV SETTINGS a = 1, b='x', c = -1.5 \n1,2"),
            parts("INSERT INTO t SETTINGS a = 1, b='x', c = -1.5", "CSV", "1,2")
        );
    }

    #[test]
    fn what_may_still_be_settings_is_waited_for() {
        let early = |text: &str| read_statement(text.as_bytes(), false).is_some();
        for text in
            ["INSERT INTO t FORMAT CSV\n\n\n", "INSERT INTO t FORMAT CSV SETT", "INSERT INTO t FORMAT CSV /* so far"]
        {
            assert!(!early(text), "{text}");
        }
        for text in
            ["INSERT INTO t FORMAT CSV\n1,2", "INSERT INTO t FORMAT CSV\n'tis,1", "INSERT INTO t FORMAT CSV\n\"a"]
        {
            assert!(early(text), "{text}");
        }
    }

    #[test]
    fn a_plain_insert_into_one_database_is_told_from_anything_else() {
        let plain = |head: &str| {
            let head = head.as_bytes().to_vec();
            Insert { head, format: "TSV".to_owned(), rows_at: 0 }.is_plainly_into("natter_store")
        };
        for head in [
            "INSERT INTO natter_store.events",
            "insert into table `natter_store`.`events` (`a`, b)",
            "INSERT INTO natter_store.events(a,b)",
        ] {
            assert!(plain(head), "{head}");
        }
        for head in [
            "INSERT INTO events",
            "INSERT INTO other.events",
            "INSERT INTO 'natter_store'.events",
            "INSERT INTO FUNCTION file('x')",
            "INSERT INTO TABLE FUNCTION natter_store.file('x')",
            "INSERT INTO natter_store.events SETTINGS x = 1",
            "INSERT INTO natter_store.events (* EXCEPT(a))",
            "INSERT INTO natter_store.events (a) SETTINGS x = (1)",
            "INSERT INTO natter_store.events.inner",
            "INSERT INTO natter_store.`ev\\x65nts`",
        ] {
            assert!(!plain(head), "{head}");
        }
    }

    #[test]
    fn what_stands_behind_a_semicolon_is_waited_for_and_is_no_row() {
        let text = b"INSERT INTO t; SELECT 1";
        assert_eq!(read_statement(&text[..15], false), None);
        assert!(matches!(read_statement(text, true), Some(Statement::Insert(insert)) if insert.rows_at == text.len()));
    }

    #[test]
    fn rows_are_found_wherever_the_text_is_cut() {
        let text = b"INSERT INTO `a b`.t (x, y) SETTINGS s = 'v' FORMAT RowBinary\r\n\x00\x01\xff";
        let whole = read_statement(text, true);
        for cut in 0..text.len() {
            if let Some(early) = read_statement(&text[..cut], false) {
                assert_eq!(Some(early), whole, "cut at {cut}");
                assert!(cut >= text.len() - 3);
            }
        }
        assert!(matches!(whole, Some(Statement::Insert(insert)) if insert.rows_at == text.len() - 3));
    }

    #[test]
    fn other_statements_are_told_apart() {
        let kind = |text: &str| read_statement(text.as_bytes(), true).expect("complete");
        assert_eq!(kind("INSERT INTO t SELECT 1"), Statement::Other);
        assert_eq!(kind("INSERT INTO t (a) (SELECT 1 FORMAT CSV)"), Statement::Other);
        assert_eq!(kind("INSERT INTO t WITH 1 AS x SELECT x"), Statement::Other);
        assert_eq!(kind("-- hello\n (SELECT 1) UNION ALL SELECT 2"), Statement::Select);
        assert_eq!(kind("WITH 1 AS x SELECT x"), Statement::Select);
        assert_eq!(kind("FROM t SELECT 1"), Statement::Select);
        assert_eq!(kind("SHOW TABLES"), Statement::Other);
        assert_eq!(kind("SELECT 1 INTO OUTFILE '/etc/x'"), Statement::ClientFile);
        assert_eq!(kind("INSERT INTO t FROM INFILE 'x' FORMAT CSV"), Statement::ClientFile);
        assert_eq!(kind(""), Statement::Other);
        assert_eq!(kind("SELECT 'open"), Statement::Select);
    }

    #[test]
    fn a_select_names_its_format() {
        assert_eq!(output_format(b"SELECT 1 FORMAT JSONCompact").as_deref(), Some("JSONCompact"));
        assert_eq!(output_format(b"SELECT 1 FORMAT CSV SETTINGS a=1;").as_deref(), Some("CSV"));
        assert_eq!(output_format(b"SELECT 'FORMAT CSV' -- FORMAT TSV"), None);
        assert_eq!(output_format(b"SELECT format FROM t"), None);
    }
}
