//! The commands of an import as they go to the gateway.

use natter_schemas::command::Follows;
use serde::Serialize;

use super::line::Line;

/// A command for a line; all but the line's place is for the caller to fill in.
#[derive(Debug, Serialize)]
pub struct Frame<'a> {
    /// The line's number, and a letter for what only prepares it.
    id: String,
    pub cmd: &'static str,
    r#ref: String,
    sender: &'a str,
    pub import: Import<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<&'a str>,
}

/// Where a line stands.
#[derive(Debug, Serialize)]
pub struct Import<'a> {
    source: String,
    line: u64,
    pub previous: u64,
    at: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub introduces: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<After>,
}

/// The line of another source that must be there.
#[derive(Debug, Serialize)]
pub struct After {
    source: String,
    line: u64,
}

impl From<Follows> for After {
    fn from(follows: Follows) -> Self {
        Self { source: hex::encode(follows.source), line: follows.line }
    }
}

impl<'a> Frame<'a> {
    /// A `user.update` of the line's user, who stands at `place`; `suffix` tells it from the line's other commands.
    pub fn new(line: &'a Line, place: Follows, suffix: &str) -> Self {
        let source = hex::encode(place.source);
        Self {
            id: format!("{}{suffix}", line.number),
            cmd: "user.update",
            r#ref: format!("{source}:{}{suffix}", place.line),
            sender: line.user.as_str(),
            import: Import { source, line: place.line, previous: 0, at: &line.at, introduces: false, follows: None },
            conversation: None,
            text: None,
            name: None,
            kind: None,
            visibility: None,
            external: None,
        }
    }

    /// The frame's JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain texts and numbers")
    }
}
