//! Frames that are text and yet no command that can be taken.

use natter_schemas::error::ErrorCode;
use natter_schemas::error::ErrorCode::{
    Conflict, Forbidden, InvalidField, InvalidFrame, NotFound, NotMember, RateLimited, SeqBeyondEnd, UnknownCommand,
};

use super::case::{Act, Case, FOREIGN, Told};
use crate::raw_socket::text;

pub const ABOUT: &str = "Text frames on a session, which goes on after each. `POST /v1/commands` answers the same with the status of \
                         [protocol.md](protocol.md).";

pub fn cases() -> Vec<Case> {
    [no_frame(), wrong_fields(), wrong_lengths(), wrong_characters(), wrong_numbers(), not_allowed()].concat_cases()
}

trait Concat {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> Concat for [Vec<Case>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

fn case(sent: &'static str, command: impl Into<String>, code: ErrorCode, says: &'static str) -> Case {
    Case { sent, act: Act::Command(command.into()), told: Told::Error(code, says) }
}

/// A message to `ext:mine` with other fields over it, as they stand in JSON.
fn message(fields: &str) -> String {
    format!(r#"{{"id":"1","cmd":"message.send","ref":"r","conversation":"ext:mine",{fields}}}"#)
}

fn create(fields: &str) -> String {
    format!(r#"{{"id":"1","cmd":"conversation.create","ref":"r","kind":"group",{fields}}}"#)
}

fn read(seq: &str) -> String {
    format!(r#"{{"id":"1","cmd":"conversation.read","conversation":"ext:mine","seq":{seq}}}"#)
}

fn long(name: &str, count: usize) -> String {
    format!(r#""{name}":"{}""#, "a".repeat(count))
}

fn no_frame() -> Vec<Case> {
    let deep = "[".repeat(10_000);
    vec![
        case("nothing: an empty message", "", InvalidFrame, "EOF while parsing"),
        case("half an object: `{`", "{", InvalidFrame, "EOF while parsing an object at line 1 column 1"),
        case("a text that is no JSON", "hello", InvalidFrame, "expected value at line 1 column 1"),
        case("a list: `[]`", "[]", InvalidFrame, "a frame is one JSON object"),
        case("`null`", "null", InvalidFrame, "a frame is one JSON object"),
        case("two objects: `{}{}`", "{}{}", InvalidFrame, "trailing characters"),
        case("a comma too many", r#"{"id":"1",}"#, InvalidFrame, "trailing comma"),
        case("10,000 brackets", deep.clone(), InvalidFrame, ""),
        case(
            "10,000 brackets within a field",
            format!(r#"{{"id":"1","cmd":{deep}"#),
            InvalidField,
            "`cmd`: invalid type: sequence",
        ),
        case("half of a surrogate pair (`\\ud800`)", message(r#""text":"\ud800""#), InvalidFrame, "hex escape"),
        case("a number that none can hold: `1e999`", read("1e999"), InvalidFrame, "number out of range"),
    ]
}

fn wrong_fields() -> Vec<Case> {
    vec![
        case(
            "an unknown command",
            r#"{"id":"1","cmd":"message.sned","ref":"r"}"#,
            UnknownCommand,
            "no command `message.sned`; there are",
        ),
        case(
            "an unknown signal",
            r#"{"signal":"dance","conversation":"1"}"#,
            UnknownCommand,
            "no signal `dance`; there is `typing`",
        ),
        case("an unknown field", message(r#""txt":"hi""#), InvalidField, "unknown field `txt`"),
        case(
            "a field of another command",
            message(r#""text":"hi","seq":1"#),
            InvalidField,
            "`seq` is not a field of `message.send`",
        ),
        case("a field twice", message(r#""text":"hi","text":"hi""#), InvalidField, "duplicate field `text`"),
        case(
            "a field's name of 60,000 characters",
            message(&format!(r#""{}":1"#, "x".repeat(60_000))),
            InvalidField,
            "unknown field `xxx",
        ),
        case("no `id`", r#"{"cmd":"message.send"}"#, InvalidField, "`id` is missing"),
        case("no `cmd`", r#"{"id":"1"}"#, InvalidField, "`cmd` is missing"),
        case("no `ref`", r#"{"id":"1","cmd":"user.update","name":"Eve"}"#, InvalidField, "`ref` is missing"),
        case(
            "no `text`",
            r#"{"id":"1","cmd":"message.send","ref":"r","conversation":"ext:mine"}"#,
            InvalidField,
            "`text` is missing",
        ),
        case(
            "a number for an `id`",
            r#"{"id":1,"cmd":"user.update"}"#,
            InvalidField,
            "`id`: invalid type: integer `1`, expected a string",
        ),
        case(
            "a number for a text",
            message(r#""text":7"#),
            InvalidField,
            "`text`: invalid type: integer `7`, expected a string",
        ),
        case(
            "a text for a list",
            create(r#""members":"bob""#),
            InvalidField,
            "`members`: invalid type: string \"bob\"",
        ),
        case(
            "a number in a list of users",
            create(r#""members":["bob",7]"#),
            InvalidField,
            "`members[1]`: invalid type: integer `7`",
        ),
        case(
            "a text for a truth",
            message(r#""text":"hi","resend":"yes""#),
            InvalidField,
            "`resend`: invalid type: string \"yes\"",
        ),
        case(
            "a kind that there is not",
            r#"{"id":"1","cmd":"conversation.create","ref":"r","kind":"herd"}"#,
            InvalidField,
            "`kind`: unknown variant `herd`",
        ),
        case(
            "a conversation that is no id",
            r#"{"id":"1","cmd":"conversation.join","ref":"r","conversation":"lobby"}"#,
            InvalidField,
            "`conversation` is",
        ),
    ]
}

fn wrong_lengths() -> Vec<Case> {
    let users: Vec<String> = (0..101).map(|count| format!("\"u{count}\"")).collect();
    vec![
        case("an empty text", message(r#""text":"""#), InvalidField, "`text` is empty"),
        case(
            "a text of 4,097 characters",
            message(&long("text", 4097)),
            InvalidField,
            "`text` has 4097 characters, at most 4096 are allowed",
        ),
        case("an empty name", create(r#""name":"""#), InvalidField, "`name` is empty"),
        case(
            "a name of 129 characters",
            create(&long("name", 129)),
            InvalidField,
            "`name` has 129 characters, at most 128 are allowed",
        ),
        case(
            "an `external` of 129 bytes",
            create(&long("external", 129)),
            InvalidField,
            "`external` has 129 bytes, at most 128 are allowed",
        ),
        case(
            "a user's id of 129 bytes",
            create(&format!(r#""members":["{}"]"#, "a".repeat(129))),
            InvalidField,
            "`members` has 129 bytes, at most 128 are allowed",
        ),
        case(
            "101 members",
            create(&format!(r#""members":[{}]"#, users.join(","))),
            InvalidField,
            "`members` has 101 users, at most 100 are allowed",
        ),
        case(
            "a `ref` of 65 bytes",
            format!(r#"{{"id":"1","cmd":"user.update","name":"Eve",{}}}"#, long("ref", 65)),
            InvalidField,
            "`ref` has 65 bytes, at most 64 are allowed",
        ),
        case(
            "an `id` of 65 bytes",
            format!(r#"{{"cmd":"user.update","ref":"r","name":"Eve",{}}}"#, long("id", 65)),
            InvalidField,
            "`id` has 65 bytes, at most 64 are allowed",
        ),
    ]
}

fn wrong_characters() -> Vec<Case> {
    vec![
        case(
            "NUL in a text",
            message(r#""text":"a\u0000b""#),
            InvalidField,
            "`text` contains '\\0', which is not allowed",
        ),
        case(
            "an escape character in a text",
            message(r#""text":"\u001b[2J""#),
            InvalidField,
            "`text` contains '\\u{1b}', which is not allowed",
        ),
        case(
            "a new line in a name",
            create(r#""name":"a\nb""#),
            InvalidField,
            "`name` contains '\\n', which is not allowed",
        ),
        case(
            "NUL in an `external`",
            create(r#""external":"a\u0000""#),
            InvalidField,
            "`external` contains '\\0', which is not allowed",
        ),
        case(
            "a blank in a `ref`",
            r#"{"id":"1","cmd":"user.update","name":"Eve","ref":"a b"}"#,
            InvalidField,
            "`ref` contains ' ', which is not allowed",
        ),
    ]
}

fn wrong_numbers() -> Vec<Case> {
    vec![
        case("a `seq` of 2^53 + 1", read("9007199254740993"), SeqBeyondEnd, ""),
        case("a `seq` of 2^64", read("18446744073709551616"), InvalidField, "`seq`: invalid type: floating point"),
        case("a `seq` below zero", read("-1"), InvalidField, "`seq`: invalid value: integer `-1`, expected u64"),
        case("a `seq` of 1.5", read("1.5"), InvalidField, "`seq`: invalid type: floating point `1.5`, expected u64"),
        case(
            "a message id beyond 63 bits",
            r#"{"id":"1","cmd":"conversation.join","ref":"r","conversation":"9223372036854775808"}"#,
            InvalidField,
            "`conversation` is",
        ),
    ]
}

fn not_allowed() -> Vec<Case> {
    let to = |conversation: &str| {
        format!(r#"{{"id":"1","cmd":"message.send","ref":"r","conversation":"{conversation}","text":"hi"}}"#)
    };
    let again = [
        text(message(r#""text":"first""#).replace("\"r\"", "\"same\"")),
        text(message(r#""text":"second""#).replace("\"r\"", "\"same\"")),
    ];
    let flood: Vec<u8> = (0..500)
        .flat_map(|count| text(format!(r#"{{"id":"1","cmd":"user.update","ref":"flood-{count}","name":"Eve"}}"#)))
        .collect();
    let session = |sent, bytes, code, says| Case { sent, act: Act::Session(bytes), told: Told::Error(code, says) };
    vec![
        case("a conversation that there is not", to("4611686018427387904"), NotFound, ""),
        case("a private conversation of others", to("ext:private"), NotFound, ""),
        case("a public conversation without having joined", to("ext:public"), NotMember, ""),
        case("another tenant's conversation, by its id", to(FOREIGN), NotFound, ""),
        case("another tenant's conversation, by its name", to("ext:foreign"), NotFound, ""),
        case(
            "`sender` without a service's token",
            message(r#""text":"hi","sender":"ada""#),
            Forbidden,
            "only a service's token may set `sender`",
        ),
        case(
            "`import` without a service's token",
            message(
                r#""text":"hi","import":{"source":"00000000000000000000000000000000","line":1,"previous":0,"at":"2020-01-01T00:00:00Z"}"#,
            ),
            Forbidden,
            "only a service's token may set",
        ),
        case(
            "an imported line of the year 2300",
            message(
                r#""text":"hi","import":{"source":"00000000000000000000000000000000","line":1,"previous":0,"at":"2300-01-01T00:00:00Z"}"#,
            ),
            InvalidField,
            "`import.at` is after 2299-12-31T23:59:59.999Z",
        ),
        session("the same `ref` with another text", again.concat(), Conflict, ""),
        session("500 commands at once", flood, RateLimited, ""),
    ]
}
