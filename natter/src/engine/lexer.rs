//! Tokens of a ClickHouse statement, as far as its front needs them: where words, quoted texts and brackets begin and end.

/// A token, as a range of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A keyword, a plain name or a number.
    Word,
    /// `'text'`, `"name"` or `` `name` ``.
    Quoted,
    /// Any other byte.
    Symbol(u8),
}

/// What comes next in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lexed {
    Token(Token),
    End,
    /// A quoted text or a comment that does not end within the text.
    Unterminated,
}

/// Reads tokens one by one, so that the rows behind an `INSERT` are never looked at.
pub struct Lexer<'text> {
    text: &'text [u8],
    at: usize,
}

impl<'text> Lexer<'text> {
    pub fn new(text: &'text [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next token is looked for.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes back to a position that was read before.
    pub fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// Whether `token` is this keyword, in any case.
    pub fn is(&self, token: Token, keyword: &str) -> bool {
        token.kind == Kind::Word && self.text[token.start..token.end].eq_ignore_ascii_case(keyword.as_bytes())
    }

    /// Steps over white space and comments to the next token.
    pub fn advance(&mut self) -> Lexed {
        if !self.skip_blank() {
            return Lexed::Unterminated;
        }
        let start = self.at;
        let Some(&first) = self.text.get(start) else { return Lexed::End };
        let kind = match first {
            b'\'' | b'"' | b'`' => {
                if !self.skip_quoted(first) {
                    return Lexed::Unterminated;
                }
                Kind::Quoted
            }
            byte if is_word(byte) => {
                self.skip_while(is_word);
                Kind::Word
            }
            byte => {
                self.at += 1;
                Kind::Symbol(byte)
            }
        };
        Lexed::Token(Token { kind, start, end: self.at })
    }

    fn skip_blank(&mut self) -> bool {
        loop {
            self.skip_while(|byte| byte.is_ascii_whitespace() || byte == 0x0b);
            let rest = &self.text[self.at..];
            if rest.starts_with(b"--") || rest.starts_with(b"#!") || rest.starts_with(b"# ") {
                self.skip_while(|byte| byte != b'\n');
            } else if rest.starts_with(b"/*") {
                let Some(end) = rest[2..].windows(2).position(|pair| pair == b"*/") else { return false };
                self.at += end + 4;
            } else {
                return true;
            }
        }
    }

    /// A backslash escapes the next byte; a doubled quote reads as the end of one text and the start of another, which is the same for us.
    fn skip_quoted(&mut self, quote: u8) -> bool {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == quote {
                return true;
            }
        }
        self.at = self.text.len();
        false
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.text.get(self.at).is_some_and(|byte| accept(*byte)) {
            self.at += 1;
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> (Vec<String>, Lexed) {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut found = Vec::new();
        loop {
            match lexer.advance() {
                Lexed::Token(token) => found.push(text[token.start..token.end].to_owned()),
                end => return (found, end),
            }
        }
    }

    #[test]
    fn words_texts_and_symbols_are_told_apart() {
        let (found, end) = tokens("/* a ' */ INSERT into `a``b`.\"c\" -- x\n ('it\\'s; ''y''', 1.5)");
        assert_eq!(
            found,
            ["INSERT", "into", "`a`", "`b`", ".", "\"c\"", "(", "'it\\'s; '", "'y'", "''", ",", "1", ".", "5", ")"]
        );
        assert_eq!(end, Lexed::End);
    }

    #[test]
    fn what_does_not_end_is_said() {
        assert_eq!(tokens("SELECT 'a").1, Lexed::Unterminated);
        assert_eq!(tokens("SELECT /* a").1, Lexed::Unterminated);
        assert_eq!(tokens("SELECT 'a\\").1, Lexed::Unterminated);
    }
}
