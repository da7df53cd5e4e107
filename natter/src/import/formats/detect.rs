//! What a history is written in, as its beginning tells.

use std::path::Path;

use anyhow::bail;
use encoding_rs::Encoding;
use serde_json::Value;

use super::{Format, slack, whatsapp};
use crate::import::bytes;

/// How much of a file is looked at.
const BEGINNING_LINES: usize = 20;
const BEGINNING_BYTES: usize = 1 << 16;

/// The format of a file or folder. What nothing else claims is Natter's own, whose reader says what is wrong with it.
///
/// # Errors
/// It cannot be read, or is a folder or zip file and no export that is known.
pub fn detect(path: &Path, encoding: Option<&'static Encoding>) -> anyhow::Result<Format> {
    if path.is_dir() {
        if slack::is_export(path) {
            return Ok(Format::Slack);
        }
        bail!("{} is a folder, and no export of Slack: it has no channels.json", path.display());
    }
    let beginning = beginning(path, encoding)?;
    if beginning.starts_with("PK\u{3}\u{4}") {
        if slack::is_export(path) {
            return Ok(Format::Slack);
        }
        bail!("{} is a zip file, and no export of Slack: unpack it", path.display());
    }
    Ok(of_text(&beginning))
}

fn beginning(path: &Path, encoding: Option<&'static Encoding>) -> anyhow::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    bytes::open(path, encoding)?.take(BEGINNING_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn of_text(text: &str) -> Format {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).take(BEGINNING_LINES);
    if text.trim_start().starts_with('{') {
        return of_json(text, lines.next().unwrap_or_default());
    }
    let lines: Vec<_> = lines.collect();
    if lines.iter().any(|line| whatsapp::head(line).is_some()) {
        Format::Whatsapp
    } else if lines.iter().any(|line| is_irc(line)) {
        Format::Irc
    } else {
        Format::Natter
    }
}

fn of_json(text: &str, line: &str) -> Format {
    if let Ok(Value::Object(object)) = serde_json::from_str(line) {
        let kind = object.get("type").and_then(Value::as_str);
        if kind.is_some_and(|kind| object.contains_key(kind)) && !object.contains_key("at") {
            return Format::Mattermost;
        }
    }
    // An object over many lines, or one longer than what is looked at.
    let begins = text.trim_start().trim_start_matches('{').trim_start();
    if begins.starts_with("\"guild\"") && text.contains("\"channel\"") { Format::Discord } else { Format::Natter }
}

fn is_irc(line: &str) -> bool {
    if line.starts_with("--- Log opened ") || line.starts_with("--- Day changed ") {
        return true;
    }
    let digits =
        |text: &str| text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte }).collect::<Vec<_>>();
    let shape = digits(line.get(..20).unwrap_or(line));
    shape.starts_with(b"0000-00-00 00:00:00\t") || shape.starts_with(b"00:00 <") || shape.starts_with(b"00:00:00 <")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found() {
        for (text, format) in [
            (r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","text":"hi","type":"text"}"#, Format::Natter),
            ("no history", Format::Natter),
            ("", Format::Natter),
            ("{\"type\":\"version\",\"version\":1}\n{}", Format::Mattermost),
            ("{\n  \"guild\": {\"id\": \"1\"},\n  \"channel\": {", Format::Discord),
            (r#"{"guild":{"id":"1"},"channel":{"id":"2"},"messages":["#, Format::Discord),
            ("\u{200e}[31.12.20, 23:59:59] Ada: hi", Format::Whatsapp),
            ("12/31/20, 11:59 PM - Ada: hi", Format::Whatsapp),
            ("--- Log opened Wed Jan 01 23:50:00 2020\n", Format::Irc),
            ("2020-01-01 12:34:00\tada\thi", Format::Irc),
            ("12:34 <@ada> hi", Format::Irc),
        ] {
            assert_eq!(of_text(text), format, "{text}");
        }
    }

    #[test]
    fn folders_and_archives_of_others_are_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(detect(folder.path(), None).unwrap_err().to_string().contains("no channels.json"));
        let zip = folder.path().join("a.zip");
        std::fs::write(&zip, "PK\u{3}\u{4}rest").unwrap();
        assert!(detect(&zip, None).unwrap_err().to_string().contains("unpack it"));
    }
}
