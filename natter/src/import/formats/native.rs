//! Natter's own format: one JSON object a line.

use natter_schemas::error::ErrorCode;
use serde::Deserialize;

use super::{DROPPED, Input, Losses, Sink};
use crate::import::draft::{At, Draft, DraftWhat};
use crate::import::line::Refusal;
use crate::import::lines::Lines;

#[derive(Deserialize)]
#[serde(expecting = "an object with `room`, `user`, `at` and `text`")]
struct Raw {
    #[serde(default)]
    room: Option<String>,
    user: String,
    at: String,
    #[serde(default = "message")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    id: Option<serde_json::Value>,
}

fn message() -> String {
    "message".to_owned()
}

/// Tells the lines of a file.
pub fn tell(input: &Input, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
    let mut lines = Lines::open(&input.path, input.encoding)?;
    while let Some((number, line)) = lines.next()? {
        match line {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) if input.clean && line.contains(is_dropped) => {
                let kept: String = line.chars().filter(|c| !is_dropped(*c)).collect();
                losses.add(DROPPED, (line.len() - kept.len()) as u64);
                sink(number, draft(&kept).map(|draft| Draft { is_cleaned: true, ..draft }))?;
            }
            line => sink(number, line.and_then(|line| draft(&line)))?,
        }
    }
    Ok(())
}

/// What may not stand in a line of JSON, whatever it means.
fn is_dropped(c: char) -> bool {
    c < ' ' && c != '\t'
}

/// `{"room","user","at","text"}` or `{"user","at","kind":"rename","to"}`, with an `id` where the line has one. Other fields are
/// passed over, as exports of other systems have many.
fn draft(text: &str) -> Result<Draft, Refusal> {
    let raw: Raw = serde_json::from_str(text).map_err(|error| {
        // Its number among the file's lines is said already.
        let said = error.to_string();
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        if error.is_data() {
            Refusal::field(said)
        } else {
            let message = format!("not JSON: {said} at character {}", error.column());
            Refusal { code: ErrorCode::InvalidFrame, message }
        }
    })?;
    let what = match raw.kind.as_str() {
        "message" => DraftWhat::Message(raw.text),
        "rename" => DraftWhat::Rename(raw.to),
        other => {
            let kind: String = other.chars().take(40).collect();
            return Err(Refusal::field(format!("`kind` is `{kind}`; there are message and rename")));
        }
    };
    let id = match raw.id {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(id)) => Some(id),
        Some(serde_json::Value::Number(id)) => Some(id.to_string()),
        Some(_) => return Err(Refusal::field("`id` is neither a string nor a number")),
    };
    Ok(Draft { room: raw.room, user: raw.user, called: None, at: At::Written(raw.at), id, what, is_cleaned: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::draft::Drafting;
    use crate::import::identity::Identifier;
    use crate::import::line::{Line, What};

    fn line(number: u64, text: &str) -> Result<Line, Refusal> {
        Drafting::new(false, Identifier::new(None, [0; 16])).line(number, draft(text)?)
    }

    #[test]
    fn messages_and_renames() {
        let told = line(7, r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","text":"hi","x":1}"#).unwrap();
        assert!(matches!(told.what, What::Message { .. }) && told.number == 7 && told.identity.is_none());
        let told = line(8, r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","kind":"rename","to":"v"}"#);
        assert!(matches!(told.unwrap().what, What::Rename { .. }));
        let [text, number] = [r#""7""#, "7"].map(|id| {
            let told =
                line(8, &format!(r#"{{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","text":"x","id":{id}}}"#));
            told.unwrap().identity.unwrap()
        });
        assert_eq!(text, number);
    }

    #[test]
    fn refusals_name_the_field() {
        for (text, part) in [
            ("not json", "not JSON: expected ident at character 2"),
            ("7", "invalid type: integer `7`, expected an object with `room`, `user`, `at` and `text`"),
            (r#"{"at":"2004-12-25T09:14:00Z","user":"u","text":"hi"}"#, "`room` is missing"),
            (r#"{"room":"a","at":"yesterday","user":"u","text":"hi"}"#, "`at`"),
            (
                r#"{"room":"a","at":"2300-01-01T00:00:00Z","user":"u","text":"hi"}"#,
                "`at` is after 2299-12-31T23:59:59.999Z",
            ),
            (r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","text":""}"#, "`text` is empty"),
            (r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","kind":"poke"}"#, "`kind` is `poke`"),
            (r#"{"room":"a","at":"2004-12-25T09:14:00Z","user":"u","text":"a","id":[1]}"#, "`id` is neither"),
        ] {
            let refusal = line(1, text).unwrap_err();
            assert!(refusal.message.contains(part), "{refusal:?}");
        }
    }
}
