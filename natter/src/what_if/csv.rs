//! Changed decisions as CSV (RFC 4180): one header, a row each, in the order of the log.

use std::borrow::Cow;
use std::io::{self, Write};

use natter_schemas::wire::times::rfc3339;

use super::report::Row;

pub(super) fn head(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"position,message,conversation,sender,at,before,after,lists_before,lists_after\r\n")
}

pub(super) fn write(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let message = row.message.map(|id| id.to_string()).unwrap_or_default();
    write!(
        out,
        "{},{message},{},{},{},{},{},{},{}\r\n",
        row.position,
        field(&row.conversation),
        field(row.sender.as_str()),
        rfc3339(row.at_ms),
        row.before.name(),
        row.after.name(),
        field(&row.lists_before),
        field(&row.lists_after)
    )
}

/// Names are other people's: they may have commas, quotes and line feeds in them.
fn field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use natter_schemas::id::MessageId;
    use natter_schemas::names::UserId;
    use natter_schemas::position::Position;

    use super::super::report::Kind;
    use super::*;

    #[test]
    fn whatever_is_in_a_name_stays_in_its_field() {
        let row = Row {
            position: Position::outcome(2, 501, 7),
            message: Some(MessageId::from_raw(77)),
            conversation: "ext:a\"b".to_owned(),
            sender: UserId::trusted("ada, of London"),
            at_ms: 1_735_689_600_007,
            before: Kind::Accepted,
            after: Kind::Masked,
            lists_before: String::new(),
            lists_after: "en, de".to_owned(),
        };
        let mut out = Vec::new();
        write(&mut out, &row).unwrap();
        let wanted =
            "2:501:7,77,\"ext:a\"\"b\",\"ada, of London\",2025-01-01T00:00:00.007Z,accepted,masked,,\"en, de\"\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
