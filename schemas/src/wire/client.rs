//! What clients send: one JSON object a frame, parsed into a [`crate::command::Command`]'s body or a signal. Past this point nobody
//! checks lengths again.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::command::{Address, Body, Follows, ImportLine, Kind, Visibility};
use crate::error::ErrorCode;
use crate::limits::{COMMAND_MEMBERS_MAX, FRAME_BYTES_MAX, FRAME_ID_BYTES_MAX, IMPORT_AT_MS_MAX};
use crate::names::{DisplayName, ExternalId, MessageText, NameError, Ref, UserId};
use crate::wire::times::{parse_rfc3339, rfc3339};

/// Of the parser's words, which repeat the client's.
const REASON_SCALARS_MAX: usize = 300;

/// A frame that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// A command, to be answered under `id`.
    Command(ClientCommand),
    /// A signal: no answer.
    Signal {
        /// Which conversation it concerns.
        conversation: Address,
        /// What is signalled.
        signal: Signal,
    },
}

/// Changes no state, at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Signal {
    /// The user is typing.
    Typing,
}

impl Signal {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Typing => "typing",
        }
    }
}

/// A command as a client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCommand {
    /// The client's name of this request; echoed in the reply.
    pub id: String,
    /// The client's name of the wish; empty only for `conversation.read`, which is idempotent by itself.
    pub reference: Option<Ref>,
    /// The client has sent it before and does not know the outcome.
    pub resend: bool,
    /// On whose behalf; service tokens only.
    pub sender: Option<UserId>,
    /// Which imported line it is; service tokens only.
    pub import: Option<ImportLine>,
    /// What is wished.
    pub body: Body,
}

/// Why a frame was refused, and the request's `id` where it could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct FrameError {
    /// The request's id.
    pub id: Option<String>,
    /// Which refusal.
    pub code: ErrorCode,
    /// What exactly; names the field and the limit.
    pub message: String,
}

/// All fields of all commands: one flat pass, whatever the order. Which of them a command takes is checked after.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFrame<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cmd: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    signal: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<Cow<'a, str>>,
    #[serde(default)]
    resend: Option<bool>,
    #[serde(borrow, default)]
    conversation: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    members: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    visibility: Option<Visibility>,
    #[serde(borrow, default)]
    external: Option<Cow<'a, str>>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default)]
    sender: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    import: Option<RawImport<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImport<'a> {
    source: Cow<'a, str>,
    line: u64,
    previous: u64,
    at: Cow<'a, str>,
    #[serde(default)]
    introduces: bool,
    #[serde(borrow, default)]
    follows: Option<RawFollows<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFollows<'a> {
    source: Cow<'a, str>,
    line: u64,
}

/// The commands, for messages and for the documentation.
pub const COMMANDS: [&str; 8] = [
    "conversation.create",
    "conversation.add",
    "conversation.join",
    "conversation.leave",
    "conversation.rename",
    "conversation.read",
    "message.send",
    "user.update",
];

/// Parses one frame (or one HTTP command's body).
///
/// # Errors
/// A [`FrameError`] that names the field and the limit, and carries the request's `id` wherever the frame is JSON.
pub fn parse(bytes: &[u8]) -> Result<ClientFrame, FrameError> {
    let refuse = |code, message: String| FrameError { id: None, code, message };
    if bytes.len() > FRAME_BYTES_MAX {
        let message = format!("the frame has {} bytes, at most {FRAME_BYTES_MAX} are allowed", bytes.len());
        return Err(refuse(ErrorCode::TooLarge, message));
    }
    if !bytes.trim_ascii_start().starts_with(b"{") {
        // serde would take a list for the fields in their order.
        let error = serde_json::from_slice::<IgnoredAny>(bytes).err();
        let message = error.map_or_else(|| "a frame is one JSON object".to_owned(), |error| error.to_string());
        return Err(refuse(ErrorCode::InvalidFrame, message));
    }
    let mut raw: RawFrame<'_> = serde_json::from_slice(bytes).map_err(|error| json_error(bytes, &error))?;
    let id = raw.id.take();
    raw.build(id.as_deref()).map_err(|mut error| {
        error.id = id.as_deref().filter(|id| id.len() <= FRAME_ID_BYTES_MAX).map(str::to_owned);
        error
    })
}

/// JSON that is no frame: say whether it is no JSON at all or a field that is off and which, and find the `id` if it can be
/// had.
fn json_error(bytes: &[u8], error: &serde_json::Error) -> FrameError {
    #[derive(Deserialize)]
    struct IdOnly {
        id: Option<String>,
    }
    let id = serde_json::from_slice::<IdOnly>(bytes).ok().and_then(|frame| frame.id);
    let id = id.filter(|id| id.len() <= FRAME_ID_BYTES_MAX);
    let reason: String = error.to_string().chars().take(REASON_SCALARS_MAX).collect();
    if !error.is_data() {
        return FrameError { id, code: ErrorCode::InvalidFrame, message: reason };
    }
    // Read once more, slowly, for the way to the field.
    let field = serde_path_to_error::deserialize::<_, RawFrame<'_>>(&mut serde_json::Deserializer::from_slice(bytes));
    let field = field.err().map(|error| error.path().to_string()).filter(|field| field != ".");
    let message = match field {
        Some(field) => format!("`{}`: {reason}", clip(&field)),
        None => reason,
    };
    FrameError { id, code: ErrorCode::InvalidField, message }
}

fn invalid(field: &str, reason: impl std::fmt::Display) -> FrameError {
    FrameError { id: None, code: ErrorCode::InvalidField, message: format!("`{field}` {reason}") }
}

fn checked<'t, T>(field: &str, text: &'t str) -> Result<T, FrameError>
where
    T: TryFrom<&'t str, Error = NameError>,
{
    T::try_from(text).map_err(|error| invalid(field, error))
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, FrameError> {
    value.ok_or_else(|| invalid(field, "is missing"))
}

/// A conversation's address as it stands on the wire: a decimal id, or `ext:` and the host application's name.
///
/// # Errors
/// [`ErrorCode::InvalidField`] naming `field`.
pub fn parse_address(field: &str, text: &str) -> Result<Address, FrameError> {
    match text.strip_prefix("ext:") {
        Some(external) => checked(field, external).map(Address::External),
        None => text.parse().map(Address::Id).map_err(|error| invalid(field, format!("is {error}"))),
    }
}

impl RawFrame<'_> {
    fn build(mut self, id: Option<&str>) -> Result<ClientFrame, FrameError> {
        if let Some(signal) = self.signal.take() {
            return self.build_signal(&signal);
        }
        let id = required("id", id)?;
        if id.len() > FRAME_ID_BYTES_MAX {
            return Err(invalid("id", format!("has {} bytes, at most {FRAME_ID_BYTES_MAX} are allowed", id.len())));
        }
        let cmd = required("cmd", self.cmd.take())?;
        let reference = self.reference.take().map(|text| checked("ref", &text)).transpose()?;
        let resend = self.resend.take().unwrap_or(false);
        let sender = self.sender.take().map(|text| checked("sender", &text)).transpose()?;
        let import = self.import.take().map(RawImport::build).transpose()?;
        let body = self.build_body(&cmd)?;
        if import.as_ref().is_some_and(|line| line.introduces) && !matches!(body, Body::UpdateUser { .. }) {
            return Err(invalid("import.introduces", format!("is not a field of `{}`", clip(&cmd))));
        }
        if reference.is_none() && !matches!(body, Body::Read { .. }) {
            return Err(invalid("ref", "is missing"));
        }
        self.nothing_left(&cmd)?;
        Ok(ClientFrame::Command(ClientCommand { id: id.to_owned(), reference, resend, sender, import, body }))
    }

    fn build_signal(mut self, signal: &str) -> Result<ClientFrame, FrameError> {
        if signal != Signal::Typing.name() {
            return Err(FrameError {
                id: None,
                code: ErrorCode::UnknownCommand,
                message: format!("no signal `{}`; there is `typing`", clip(signal)),
            });
        }
        let conversation = self.take_address()?;
        self.nothing_left(signal)?;
        Ok(ClientFrame::Signal { conversation, signal: Signal::Typing })
    }

    fn build_body(&mut self, cmd: &str) -> Result<Body, FrameError> {
        Ok(match cmd {
            "message.send" => {
                let conversation = self.take_address()?;
                let text = required("text", self.text.take())?;
                Body::Send { conversation, text: checked::<MessageText>("text", &text)? }
            }
            "conversation.read" => {
                Body::Read { conversation: self.take_address()?, seq: required("seq", self.seq.take())? }
            }
            "conversation.create" => self.build_create()?,
            "conversation.add" => {
                let conversation = self.take_address()?;
                let members = required("members", self.take_members()?)?;
                if members.is_empty() {
                    return Err(invalid("members", "is empty"));
                }
                Body::Add { conversation, members }
            }
            "conversation.join" => Body::Join { conversation: self.take_address()? },
            "conversation.leave" => Body::Leave { conversation: self.take_address()? },
            "conversation.rename" => {
                let conversation = self.take_address()?;
                Body::Rename { conversation, name: required("name", self.take_name()?)? }
            }
            "user.update" => Body::UpdateUser { name: required("name", self.take_name()?)? },
            other => {
                return Err(FrameError {
                    id: None,
                    code: ErrorCode::UnknownCommand,
                    message: format!("no command `{}`; there are {}", clip(other), COMMANDS.join(", ")),
                });
            }
        })
    }

    fn build_create(&mut self) -> Result<Body, FrameError> {
        let members = self.take_members()?.unwrap_or_default();
        if required("kind", self.kind.take())? == Kind::Group {
            let external = self.external.take();
            return Ok(Body::CreateGroup {
                visibility: self.visibility.take().unwrap_or_default(),
                name: self.take_name()?,
                members,
                external: external.map(|text| checked::<ExternalId>("external", &text)).transpose()?,
            });
        }
        let [peer] = members.as_slice() else {
            return Err(invalid("members", "of a direct chat is exactly the other user"));
        };
        Ok(Body::CreateDirect { peer: peer.clone() })
    }

    fn take_address(&mut self) -> Result<Address, FrameError> {
        parse_address("conversation", &required("conversation", self.conversation.take())?)
    }

    fn take_name(&mut self) -> Result<Option<DisplayName>, FrameError> {
        self.name.take().map(|text| checked("name", &text)).transpose()
    }

    fn take_members(&mut self) -> Result<Option<Vec<UserId>>, FrameError> {
        let Some(members) = self.members.take() else { return Ok(None) };
        if members.len() > COMMAND_MEMBERS_MAX {
            let reason = format!("has {} users, at most {COMMAND_MEMBERS_MAX} are allowed", members.len());
            return Err(invalid("members", reason));
        }
        members.iter().map(|user| checked("members", user)).collect::<Result<_, _>>().map(Some)
    }

    /// A field that the command does not take is refused: a typo must not be ignored.
    fn nothing_left(&self, cmd: &str) -> Result<(), FrameError> {
        let left = [
            ("ref", self.reference.is_some()),
            ("cmd", self.cmd.is_some()),
            ("resend", self.resend.is_some()),
            ("conversation", self.conversation.is_some()),
            ("text", self.text.is_some()),
            ("name", self.name.is_some()),
            ("members", self.members.is_some()),
            ("kind", self.kind.is_some()),
            ("visibility", self.visibility.is_some()),
            ("external", self.external.is_some()),
            ("seq", self.seq.is_some()),
            ("sender", self.sender.is_some()),
            ("import", self.import.is_some()),
        ];
        match left.iter().find(|(_, present)| *present) {
            Some((field, _)) => Err(invalid(field, format!("is not a field of `{}`", clip(cmd)))),
            None => Ok(()),
        }
    }
}

impl RawImport<'_> {
    fn build(self) -> Result<ImportLine, FrameError> {
        let source = source("import.source", &self.source)?;
        let at_ms = import_time(&self.at).map_err(|error| invalid("import.at", error))?;
        if self.previous >= self.line {
            return Err(invalid("import.previous", "is not below `import.line`"));
        }
        let follows = self.follows.map(RawFollows::build).transpose()?.map(Box::new);
        let introduces = self.introduces;
        Ok(ImportLine { source, line: self.line, previous: self.previous, at_ms, introduces, follows })
    }
}

impl RawFollows<'_> {
    fn build(self) -> Result<Follows, FrameError> {
        Ok(Follows { source: source("import.follows.source", &self.source)?, line: self.line })
    }
}

fn source(field: &str, text: &str) -> Result<[u8; 16], FrameError> {
    let mut source = [0; 16];
    hex::decode_to_slice(text, &mut source).map_err(|_| invalid(field, "is not 32 hex digits"))?;
    Ok(source)
}

/// Why a time cannot be an imported line's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImportTimeError {
    /// No time, or before 1970.
    #[error("is not an RFC 3339 time since 1970")]
    Unreadable,
    /// Later than [`IMPORT_AT_MS_MAX`].
    #[error("is after {}, the last time that the history can hold", rfc3339(IMPORT_AT_MS_MAX))]
    TooLate,
}

/// The Unix milliseconds of an imported line's time.
///
/// # Errors
/// It is none, or the history's columns cannot hold it.
pub fn import_time(text: &str) -> Result<u64, ImportTimeError> {
    let at_ms = parse_rfc3339(text).ok_or(ImportTimeError::Unreadable)?;
    if at_ms > IMPORT_AT_MS_MAX { Err(ImportTimeError::TooLate) } else { Ok(at_ms) }
}

/// The beginning of a client's text, for an error message.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(frame: &str) -> (Option<String>, ErrorCode, String) {
        let error = parse(frame.as_bytes()).expect_err("it is refused");
        (error.id, error.code, error.message)
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        for (frame, says) in [
            (r#"{"id":"7","cmd":"message.send","text":7}"#, "`text`: invalid type: integer `7`, expected a string"),
            (r#"{"id":"7","members":["bob",7]}"#, "`members[1]`: invalid type: integer `7`"),
            (r#" {"id":"7","seq":18446744073709551616}"#, "`seq`: invalid type: floating point"),
            (r#"{"id":"7","import":{"line":"x"}}"#, "`import.line`: invalid type: string \"x\", expected u64"),
        ] {
            let (id, code, message) = refused(frame);
            assert_eq!((id.as_deref(), code), (Some("7"), ErrorCode::InvalidField), "{frame}");
            assert!(message.starts_with(says), "{message}");
        }
    }

    #[test]
    fn what_an_imported_line_follows() {
        let with = |follows: &str| {
            let import = format!(
                r#"{{"source":"{0}","line":1,"previous":0,"at":"2004-12-25T09:14:00Z","follows":{follows}}}"#,
                "0a".repeat(16)
            );
            format!(
                r#"{{"id":"1","cmd":"message.send","ref":"r","conversation":"5","text":"x\r\ny","import":{import}}}"#
            )
        };
        let frame = parse(with(&format!(r#"{{"source":"{}","line":7}}"#, "0b".repeat(16))).as_bytes());
        let Ok(ClientFrame::Command(ClientCommand { import: Some(line), body: Body::Send { text, .. }, .. })) = frame
        else {
            panic!("{frame:?}")
        };
        assert_eq!(line.follows.as_deref(), Some(&Follows { source: [0x0b; 16], line: 7 }));
        assert_eq!(text.as_str(), "x\ny");
        let (_, code, message) = refused(&with(r#"{"source":"7","line":7}"#));
        assert_eq!((code, message.as_str()), (ErrorCode::InvalidField, "`import.follows.source` is not 32 hex digits"));
        let (_, _, message) = refused(&with(r#"{"line":7}"#));
        assert!(message.starts_with("`import.follows`: missing field `source`"), "{message}");
    }

    #[test]
    fn times_that_the_history_cannot_hold_are_refused() {
        let with = |at: &str, more: &str| {
            let source = "00".repeat(16);
            let import = format!(r#"{{"source":"{source}","line":1,"previous":0,"at":"{at}"{more}}}"#);
            format!(r#"{{"id":"1","cmd":"message.send","ref":"r","conversation":"5","text":"x","import":{import}}}"#)
        };
        for (at, says) in [
            ("2300-01-01T00:00:00Z", "`import.at` is after 2299-12-31T23:59:59.999Z, the last time that"),
            ("9999-12-31T23:59:59Z", "`import.at` is after 2299-12-31T23:59:59.999Z, the last time that"),
            ("1969-12-31T23:59:59Z", "`import.at` is not an RFC 3339 time since 1970"),
            ("yesterday", "`import.at` is not an RFC 3339 time since 1970"),
        ] {
            let (id, code, message) = refused(&with(at, ""));
            assert_eq!((id.as_deref(), code), (Some("1"), ErrorCode::InvalidField), "{at}");
            assert!(message.starts_with(says), "{message}");
        }
        for at in ["2299-12-31T23:59:59.999Z", "2106-02-07T07:00:00Z", "1970-01-01T00:00:00Z"] {
            assert!(parse(with(at, "").as_bytes()).is_ok(), "{at}");
        }
        let (_, _, message) = refused(&with("2004-12-25T09:14:00Z", r#","introduces":true"#));
        assert_eq!(message, "`import.introduces` is not a field of `message.send`");
    }

    #[test]
    fn what_is_no_frame_is_told_apart_from_a_field_that_is_off() {
        for frame in [
            "",
            "{",
            "[]",
            r#"["1","user.update"]"#,
            "null",
            "\"x\"",
            r#"{"id":"1",}"#,
            r#"{"text":"\ud800"}"#,
            &"[".repeat(10_000),
        ] {
            assert_eq!(refused(frame).1, ErrorCode::InvalidFrame, "{frame:.20}");
        }
    }

    #[test]
    fn a_refusal_repeats_little_of_what_was_sent() {
        let long = "x".repeat(60_000);
        for frame in [
            format!(r#"{{"{long}":1}}"#),
            format!(r#"{{"seq":"{long}"}}"#),
            format!(r#"{{"id":"1","cmd":"{long}","ref":"r"}}"#),
            format!(r#"{{"signal":"{long}"}}"#),
            format!(r#"{{"id":"1","cmd":"user.update","ref":"r","name":"a","kind":"group","external":"{long}"}}"#),
        ] {
            let (_, _, message) = refused(&frame);
            assert!(message.len() < 500, "{} bytes", message.len());
        }
    }
}
