//! Chats as WhatsApp exports them: text, whose form follows the phone's system and language.
//!
//! ```text
//! Android   12/31/20, 11:59 PM - Ada: text        31.12.20, 23:59 - Ada: text
//! iOS       [31.12.20, 23:59:59] Ada: text        [12/31/20, 11:59:59 PM] Ada: text
//! ```
//!
//! A line that does not begin so belongs to the message before it.

use anyhow::bail;

use super::{Input, Losses, Sink};
use crate::import::draft::{At, Draft, DraftWhat};
use crate::import::line::Refusal;
use crate::import::lines::Lines;
use crate::import::people::People;
use crate::import::times::{Dates, Guess, Triple, hour_of};

/// No more of a message is held: it is refused as too long anyway.
const MESSAGE_BYTES_MAX: usize = 1 << 16;
/// How what WhatsApp itself says begins.
const NOTICES: [&str; 3] = [
    "Messages and calls are end-to-end encrypted",
    "Messages to this chat and calls",
    "Messages to this group are now secured",
];
const DELETED: [&str; 2] = ["This message was deleted", "You deleted this message"];
const EDITED: &str = "<This message was edited>";

/// How a message begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'t> {
    pub date: Triple,
    hour: i8,
    minute: i8,
    second: i8,
    /// Who, and the first line of what; `None`: WhatsApp itself says something.
    said: Option<(&'t str, &'t str)>,
}

struct Pending {
    number: u64,
    draft: Result<Draft, Refusal>,
}

/// Tells the messages of a chat.
pub fn tell(input: &Input, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
    let dates = match input.dates {
        Some(dates) => dates,
        None => order_of_dates(input)?,
    };
    let (room, mut people) = (input.room(), People::default());
    let mut lines = Lines::open(&input.path, input.encoding)?;
    let mut pending: Option<Pending> = None;
    // What WhatsApp itself says may have several lines too.
    let mut in_notice = false;
    while let Some((number, line)) = lines.next()? {
        let line = match line {
            Ok(line) => line,
            Err(refusal) => {
                // The message that has this line is not whole without it.
                let number = pending.take().map_or(number, |pending| pending.number);
                pending = Some(Pending { number, draft: Err(refusal) });
                continue;
            }
        };
        let Some(head) = head(&line) else {
            match &mut pending {
                Some(Pending { draft: Ok(Draft { what: DraftWhat::Message(Some(text)), .. }), .. }) => {
                    if text.len() + line.len() < MESSAGE_BYTES_MAX {
                        text.push('\n');
                        text.push_str(&line);
                    }
                }
                Some(_) => {}
                None if in_notice || line.trim().is_empty() => {}
                None => {
                    sink(number, Err(Refusal::field("no message begins here: a date, a time, a name and a colon")))?;
                }
            }
            continue;
        };
        finish(pending.take(), losses, sink)?;
        let said = head.said.filter(|(_, text)| !NOTICES.iter().any(|notice| unmarked(text).starts_with(notice)));
        in_notice = said.is_none();
        let Some((name, text)) = said else {
            losses.add("notices of WhatsApp (who came and went, encryption)", 1);
            continue;
        };
        let draft =
            match dates.day(head.date).and_then(|day| input.zone.at_ms(day, head.hour, head.minute, head.second)) {
                Some(at_ms) => Ok(Draft {
                    room: Some(room.clone()),
                    user: people.id(name, name),
                    called: Some(name.to_owned()),
                    at: At::Ms(at_ms),
                    id: None,
                    what: DraftWhat::Message(Some(text.to_owned())),
                    is_cleaned: false,
                }),
                None => Err(Refusal::field(format!(
                    "`at` is no time: {:?} as day, month and year in the order {dates:?}",
                    head.date
                ))),
            };
        pending = Some(Pending { number, draft });
    }
    finish(pending, losses, sink)
}

/// Hands a message on that has all its lines.
fn finish(pending: Option<Pending>, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
    let Some(Pending { number, mut draft }) = pending else { return Ok(()) };
    if let Ok(Draft { what: DraftWhat::Message(Some(text)), .. }) = &mut draft {
        let whole = text.trim_end();
        let unedited = whole.strip_suffix(EDITED);
        losses.add("marks of edited messages", u64::from(unedited.is_some()));
        let whole = unedited.map_or(whole, |text| text.trim_end_matches('\u{200e}').trim_end());
        if DELETED.iter().any(|deleted| unmarked(whole).trim_end_matches('.') == *deleted) {
            losses.add("deleted messages", 1);
            return Ok(());
        }
        let (first, rest) = whole.split_once('\n').unwrap_or((whole, ""));
        let has_media = is_media(unmarked(first));
        losses.add("media", u64::from(has_media));
        let kept = if has_media { rest } else { whole };
        if kept.trim().is_empty() {
            return Ok(());
        }
        *text = kept.to_owned();
    }
    sink(number, draft)
}

fn is_media(line: &str) -> bool {
    let line = line.trim();
    line == "<Media omitted>"
        || line.ends_with("(file attached)")
        || (line.starts_with("<attached: ") && line.ends_with('>'))
        || ["image", "video", "audio", "sticker", "GIF", "document", "Contact card", "video note"].iter().any(|kind| {
            line.strip_suffix(" omitted")
                .is_some_and(|left| left == *kind || left.ends_with(&format!("\u{200e}{kind}")))
        })
}

/// Without the marks of direction that WhatsApp puts before names and its own words.
fn unmarked(text: &str) -> &str {
    text.trim_start_matches(['\u{200e}', '\u{200f}', '\u{202a}', '\u{202c}', '\u{feff}'])
}

fn order_of_dates(input: &Input) -> anyhow::Result<Dates> {
    let (mut guess, mut heads) = (Guess::default(), 0);
    let mut lines = Lines::open(&input.path, input.encoding)?;
    while let Some((_, line)) = lines.next()? {
        if let Some(head) = line.as_ref().ok().and_then(|line| head(line)) {
            guess.saw(head.date);
            heads += 1;
        }
    }
    if heads == 0 {
        bail!("{} has no line that begins like a message of WhatsApp", input.path.display());
    }
    match guess.order() {
        Some(order) => Ok(order),
        None => bail!(
            "{} does not tell whether day or month stands first in its dates: say it by --dates dmy or --dates mdy",
            input.path.display()
        ),
    }
}

/// How a message begins; `None`: it does not begin here.
pub fn head(line: &str) -> Option<Head<'_>> {
    let line = unmarked(line);
    let (line, is_bracketed) = line.strip_prefix('[').map_or((line, false), |line| (line, true));
    let (first, line) = number(line)?;
    let separator = line.chars().next().filter(|c| matches!(c, '/' | '.' | '-'))?;
    let (second, line) = number(line.strip_prefix(separator)?)?;
    let (third, line) = number(line.strip_prefix(separator)?)?;
    let line = line.strip_prefix('.').unwrap_or(line);
    let line = spaces(line.strip_prefix(',').unwrap_or(line))?;
    let (hour, line) = number(line)?;
    let (minute, mut line) = number(line.strip_prefix([':', '.'])?)?;
    let mut at_second = 0;
    if let Some((seconds, rest)) = line.strip_prefix([':', '.']).and_then(number) {
        (at_second, line) = (seconds, rest);
    }
    let mut hour = i8::try_from(hour).ok()?;
    if let Some((is_afternoon, rest)) = spaces(line).and_then(half_of_day).or_else(|| half_of_day(line)) {
        hour = hour_of(hour, is_afternoon)?;
        line = rest;
    }
    let rest = if is_bracketed {
        spaces(line.strip_prefix(']')?)?
    } else {
        spaces(line)?.strip_prefix('-').and_then(spaces)?
    };
    let said = unmarked(rest).split_once(": ").or_else(|| Some((unmarked(rest).strip_suffix(':')?, "")));
    let said = said.map(|(name, text)| (unmarked(name).trim(), text)).filter(|(name, _)| !name.is_empty());
    let (minute, at_second) = (i8::try_from(minute).ok()?, i8::try_from(at_second).ok()?);
    Some(Head { date: [first, second, third], hour, minute, second: at_second, said })
}

fn number(text: &str) -> Option<(i32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end > 4 {
        return None;
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// What stands behind one or more spaces, of which there are several kinds.
fn spaces(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches([' ', '\u{a0}', '\u{202f}', '\u{200e}']);
    (rest.len() < text.len()).then_some(rest)
}

/// `AM`, `pm`, `p.m.`, `p. m.`: whether it is the afternoon.
fn half_of_day(text: &str) -> Option<(bool, &str)> {
    let is_afternoon = match text.chars().next()? {
        'a' | 'A' => false,
        'p' | 'P' => true,
        _ => return None,
    };
    let rest = text.get(1..)?;
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let rest = spaces(rest).unwrap_or(rest).strip_prefix(['m', 'M'])?;
    Some((is_afternoon, rest.strip_prefix('.').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::super::told::of_text;
    use super::super::{Format, Input};
    use super::*;

    fn lines(text: &str, change: impl FnOnce(&mut Input)) -> (Vec<String>, Vec<(&'static str, u64)>) {
        let told = of_text(Format::Whatsapp, "WhatsApp Chat with Tea.txt", text, change).unwrap();
        (told.lines(), told.lost())
    }

    #[test]
    fn heads_of_both_systems() {
        for (line, date, time, said) in [
            ("12/31/20, 11:59 PM - Ada L: hi: there", [12, 31, 20], (23, 59, 0), Some(("Ada L", "hi: there"))),
            ("31/12/2020, 23:59 - Ada: hi", [31, 12, 2020], (23, 59, 0), Some(("Ada", "hi"))),
            ("31.12.20, 23:59 - Ada: hi", [31, 12, 20], (23, 59, 0), Some(("Ada", "hi"))),
            ("2020-12-31, 9:05 - Ada: hi", [2020, 12, 31], (9, 5, 0), Some(("Ada", "hi"))),
            ("1/2/20, 12:05\u{202f}am - +49 171 1: hi", [1, 2, 20], (0, 5, 0), Some(("+49 171 1", "hi"))),
            ("1/2/20 1:05 p. m. - Ada: hi", [1, 2, 20], (13, 5, 0), Some(("Ada", "hi"))),
            ("[31.12.20, 23:59:58] Ada: hi", [31, 12, 20], (23, 59, 58), Some(("Ada", "hi"))),
            (
                "\u{200e}[12/31/20, 11:59:58\u{202f}PM] ~\u{a0}Ada: \u{200e}hi",
                [12, 31, 20],
                (23, 59, 58),
                Some(("~\u{a0}Ada", "\u{200e}hi")),
            ),
            ("12/31/20, 11:59 PM - Ada left", [12, 31, 20], (23, 59, 0), None),
            ("12/31/20, 11:59 PM - Ada:", [12, 31, 20], (23, 59, 0), Some(("Ada", ""))),
        ] {
            let head = head(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((head.date, (head.hour, head.minute, head.second), head.said), (date, time, said), "{line}");
        }
        for line in [
            "",
            "hello",
            "1/2/20",
            "12:30 - Ada: hi",
            "1/2/20, 25 - x",
            "1/2/20, 13:05 PM - Ada: hi",
            "[1/2/20, 1:05 Ada: hi",
        ] {
            assert_eq!(head(line), None, "{line}");
        }
    }

    #[test]
    fn messages_of_several_lines_media_and_notices() {
        let text = "\
12/31/20, 11:58 PM - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.\r
12/31/20, 11:58 PM - Ada created group \"Tea\"\r
12/31/20, 11:59 PM - Ada Lovelace: one\r
\r
two\r
12/31/20, 11:59 PM - Bob: <Media omitted>\r
12/31/20, 11:59 PM - Bob: IMG-1.jpg (file attached)\r
a caption\r
12/31/20, 11:59 PM - Bob: This message was deleted\r
1/1/21, 12:00 AM - Bob: happy new year <This message was edited>\r
";
        let (lines, lost) = lines(text, |_| {});
        assert_eq!(
            lines,
            [
                "3 Tea ada-lovelace 2020-12-31T23:59:00.000Z: one\n\ntwo",
                "7 Tea bob 2020-12-31T23:59:00.000Z: a caption",
                "10 Tea bob 2021-01-01T00:00:00.000Z: happy new year",
            ]
        );
        let notices = "notices of WhatsApp (who came and went, encryption)";
        assert_eq!(lost, [("deleted messages", 1), ("marks of edited messages", 1), ("media", 2), (notices, 2)]);
    }

    #[test]
    fn chats_of_ios_in_local_time() {
        let text = "\u{200e}[31.12.20, 23:59:59] Tea: \u{200e}Messages and calls are end-to-end encrypted.\n\
            [31.12.20, 23:59:59] Ada: hi\n\u{200e}[31.12.20, 23:59:59] Ada: \u{200e}image omitted\n";
        let (lines, lost) = lines(text, |input| {
            input.zone = "Europe/Berlin".parse().unwrap();
            input.room = Some("tea time".to_owned());
        });
        assert_eq!(lines, ["2 tea time ada 2020-12-31T22:59:59.000Z: hi"]);
        assert_eq!(lost.len(), 2);
    }

    #[test]
    fn ambiguous_dates_are_asked_for() {
        let text = "1/2/20, 11:59 - Ada: hi\n1/3/20, 11:59 - Ada: hi\n";
        let error = of_text(Format::Whatsapp, "a.txt", text, |_| {}).err().unwrap().to_string();
        assert!(error.contains("--dates dmy or --dates mdy"), "{error}");
        let (lines, _) = lines(text, |input| input.dates = Some(Dates::Mdy));
        assert!(lines[1].contains("2020-01-03T11:59"), "{lines:?}");
        assert!(of_text(Format::Whatsapp, "a.txt", "no chat\n", |_| {}).is_err());
    }

    #[test]
    fn what_is_no_message_is_refused_by_line() {
        let (lines, _) = lines("what\n31/12/20, 11:59 - Ada: hi\n40/12/20, 11:59 - Ada: hi\n", |input| {
            input.dates = Some(Dates::Dmy);
        });
        assert!(lines[0].starts_with("1 refused: no message begins here"), "{lines:?}");
        assert!(lines[2].starts_with("3 refused: `at` is no time"), "{lines:?}");
    }
}
