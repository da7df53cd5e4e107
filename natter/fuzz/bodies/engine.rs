//! What the embedded engine's front reads of a request before the engine does: its text is told apart the same however it arrives.

use crate::engine::statement::{Statement, output_format, read_statement};
use crate::engine::{formats, multipart, request};

/// The first byte says where the others are cut.
pub fn run(data: &[u8]) {
    let Some((cut, text)) = data.split_first() else { return };
    let whole = read_statement(text, true).expect("a complete text is read");
    if let Statement::Insert(insert) = &whole {
        assert!(insert.rows_at <= text.len());
    }
    let beginning = &text[..text.len() * usize::from(*cut) / 256];
    if let Some(early) = read_statement(beginning, false) {
        assert_eq!(
            early,
            whole,
            "{:?} was told from {:?}",
            text.escape_ascii().to_string(),
            beginning.escape_ascii().to_string()
        );
    }
    output_format(text);
    if let Some(length) = formats::header_length(text) {
        assert!(length <= text.len());
    }
    let text = String::from_utf8_lossy(text);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    // An unknown setting is an error; what is taken is no more than what was given.
    let _taken = request::Parameters::read(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    if let Some(boundary) = multipart::boundary(text.lines().next().unwrap_or_default()) {
        let _fields = multipart::parse(text.as_bytes(), &boundary);
    }
    let _fields = multipart::parse(text.as_bytes(), "x");
}
