//! Logs of IRC clients, one channel a file, in the clock of who wrote them.
//!
//! ```text
//! irssi     --- Log opened Thu Jan 01 00:00:05 2020
//!           12:34 <@ada> text
//!           12:35  * ada waves
//!           12:36 -!- bob [b@example.org] has joined #tea
//!           --- Day changed Fri Jan 02 2020
//! WeeChat   2020-01-01 12:34:00<tab>@ada<tab>text
//!           2020-01-01 12:35:00<tab> *<tab>ada waves
//!           2020-01-01 12:36:00<tab>--><tab>bob (b@example.org) has joined #tea
//! ```

use jiff::civil::Date;

use super::{Input, Losses, Sink};
use crate::import::draft::{At, Draft, DraftWhat};
use crate::import::line::Refusal;
use crate::import::lines::Lines;
use crate::import::people::People;

const NOTICES: &str = "notices of the server (who came and went, modes, topics)";
const NICKS: &str = "changes of nick (the new nick is another user)";
const CODES: &str = "codes of colour and style";
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What stands in a line.
#[derive(Debug, PartialEq, Eq)]
enum Said<'t> {
    /// The day that the next lines are of.
    Day(Date),
    /// Somebody said something at this time of the day: hour, minute, second.
    Message { time: [i8; 3], nick: &'t str, text: String },
    /// The client or the server said something.
    Notice(&'static str),
}

/// Tells what was said in a channel.
pub fn tell(input: &Input, losses: &mut Losses, sink: Sink<'_>) -> anyhow::Result<()> {
    let (room, mut people) = (input.room(), People::default());
    let mut lines = Lines::open(&input.path, input.encoding)?;
    let mut today = None;
    while let Some((number, line)) = lines.next()? {
        let line = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => line,
            Err(refusal) => {
                sink(number, Err(refusal))?;
                continue;
            }
        };
        let (time, nick, text) = match weechat(&line, &mut today).or_else(|| irssi(&line)) {
            Some(Said::Message { time, nick, text }) => (time, nick, text),
            Some(Said::Day(day)) => {
                today = Some(day);
                continue;
            }
            Some(Said::Notice(what)) => {
                losses.add(what, 1);
                continue;
            }
            None => {
                sink(number, Err(Refusal::field("neither a line of irssi nor of WeeChat")))?;
                continue;
            }
        };
        let Some(day) = today else {
            sink(number, Err(Refusal::field("`at` is missing: no line before it says which day it is")))?;
            continue;
        };
        let [hour, minute, second] = time;
        let Some(at_ms) = input.zone.at_ms(day, hour, minute, second) else {
            sink(number, Err(Refusal::field(format!("`at` is no time: {hour}:{minute}:{second}"))))?;
            continue;
        };
        let plain = without_codes(&text);
        losses.add(CODES, (text.chars().count() - plain.chars().count()) as u64);
        if plain.is_empty() {
            continue;
        }
        let draft = Draft {
            room: Some(room.clone()),
            // Nicks in small and capital letters are the same.
            user: people.id(&nick.to_lowercase(), nick),
            called: Some(nick.to_owned()),
            at: At::Ms(at_ms),
            id: None,
            what: DraftWhat::Message(Some(plain)),
            is_cleaned: false,
        };
        sink(number, Ok(draft))?;
    }
    Ok(())
}

/// A line of WeeChat: each has its day, which is put into `today`.
fn weechat<'t>(line: &'t str, today: &mut Option<Date>) -> Option<Said<'t>> {
    let (when, rest) = line.split_once('\t')?;
    let (nick, text) = rest.split_once('\t')?;
    let (day, time) = when.split_once(' ')?;
    let day: Date = day.parse().ok()?;
    let time = clock(time)?;
    *today = Some(day);
    Some(match nick.trim() {
        "--" if text.contains(" is now known as ") => Said::Notice(NICKS),
        "--" | "-->" | "<--" | "" | "=!=" => Said::Notice(NOTICES),
        "*" => {
            let (nick, does) = text.split_once(' ').unwrap_or((text, ""));
            Said::Message { time, nick: plain_nick(nick)?, text: format!("* {nick} {does}") }
        }
        nick => Said::Message { time, nick: plain_nick(nick)?, text: text.to_owned() },
    })
}

fn irssi(line: &str) -> Option<Said<'_>> {
    if let Some(said) = line.strip_prefix("--- ") {
        let day = said.strip_prefix("Log opened ").or_else(|| said.strip_prefix("Day changed "));
        return Some(day.and_then(written_day).map_or(Said::Notice(NOTICES), Said::Day));
    }
    let (time, rest) = line.split_once(' ')?;
    let time = clock(time)?;
    if let Some(notice) = rest.strip_prefix("-!- ") {
        return Some(Said::Notice(if notice.contains(" is now known as ") { NICKS } else { NOTICES }));
    }
    if let Some(action) = rest.strip_prefix(" * ") {
        let (nick, does) = action.split_once(' ').unwrap_or((action, ""));
        return Some(Said::Message { time, nick: plain_nick(nick)?, text: format!("* {nick} {does}") });
    }
    if let Some(said) = rest.strip_prefix('<') {
        let (nick, text) = said.split_once('>')?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        return Some(Said::Message { time, nick: plain_nick(nick)?, text: text.to_owned() });
    }
    // `-nick:#tea- text`, and what the client says to itself.
    rest.starts_with(['-', '!', '[']).then_some(Said::Notice(NOTICES))
}

/// `Thu Jan 01 00:00:05 2020`, `Thu Jan 01 2020`.
fn written_day(text: &str) -> Option<Date> {
    let words: Vec<_> = text.split_whitespace().collect();
    let [_, month, day, .., year] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    Date::new(year.parse().ok()?, month.try_into().ok()?, day.parse().ok()?).ok()
}

/// `12:34` or `12:34:56`, also in brackets.
fn clock(text: &str) -> Option<[i8; 3]> {
    let mut numbers = text.trim_matches(['[', ']']).split(':').map(|number| number.parse::<i8>().ok());
    let time = [numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?];
    (numbers.next().is_none() && time.iter().all(|number| (0..60).contains(number))).then_some(time)
}

/// Without the sign of what the nick may do in the channel.
fn plain_nick(nick: &str) -> Option<&str> {
    let nick = nick.trim();
    let nick = nick.strip_prefix(['@', '+', '%', '~', '&', '!']).unwrap_or(nick);
    (!nick.is_empty()).then_some(nick)
}

/// Without the control characters that mean bold, colour and so on, and the numbers of colours.
fn without_codes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{2}' | '\u{f}' | '\u{11}' | '\u{16}' | '\u{1d}' | '\u{1e}' | '\u{1f}' => {}
            '\u{3}' => {
                let digits = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
                    (0..2).filter(|_| rest.next_if(char::is_ascii_digit).is_some()).count()
                };
                if digits(&mut rest) > 0 {
                    let mut behind = rest.clone();
                    if behind.next() == Some(',') && behind.next().is_some_and(|c| c.is_ascii_digit()) {
                        rest.next();
                        digits(&mut rest);
                    }
                }
            }
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::told::of_text;
    use super::*;

    const IRSSI: &str = "\
--- Log opened Wed Jan 01 23:50:00 2020
23:50 -!- Ada [ada@example.org] has joined #tea
23:50 < Ada> hello \u{2}all\u{2}
23:51 <@bob> \u{3}04,01red\u{3} hi > there
23:52  * Ada waves
23:53 -!- Ada is now known as ada_
--- Day changed Thu Jan 02 2020
00:01:07 <ada> and on
nonsense
--- Log closed Thu Jan 02 00:02:00 2020
";

    #[test]
    fn logs_of_irssi() {
        let told = of_text(Format::Irc, "#tea.log", IRSSI, |_| {}).unwrap();
        assert_eq!(
            told.lines(),
            [
                "3 #tea ada 2020-01-01T23:50:00.000Z: hello all",
                "4 #tea bob 2020-01-01T23:51:00.000Z: red hi > there",
                "5 #tea ada 2020-01-01T23:52:00.000Z: * Ada waves",
                "8 #tea ada 2020-01-02T00:01:07.000Z: and on",
                "9 refused: neither a line of irssi nor of WeeChat",
            ]
        );
        assert_eq!(told.lost(), [(NICKS, 1), (CODES, 9), (NOTICES, 2)]);
    }

    #[test]
    fn logs_of_weechat() {
        let log = "2020-01-01 12:34:00\t@Ada\ttabs\tstay\n2020-01-01 12:35:00\t-->\tbob (b@x) has joined #tea\n\
            2020-01-01 12:36:00\t *\tbob waves\n2020-01-01 12:37:00\t--\tbob is now known as bo\n2020-13-01 12:38:00\tbo\tnever\n";
        let told = of_text(Format::Irc, "irc.libera.#tea.weechatlog", log, |_| {}).unwrap();
        assert_eq!(
            told.lines(),
            [
                "1 #tea ada 2020-01-01T12:34:00.000Z: tabs\tstay",
                "3 #tea bob 2020-01-01T12:36:00.000Z: * bob waves",
                "5 refused: neither a line of irssi nor of WeeChat",
            ]
        );
        assert_eq!(told.lost(), [(NICKS, 1), (NOTICES, 1)]);
    }

    #[test]
    fn a_day_that_nobody_named_is_not_made_up() {
        let told = of_text(Format::Irc, "tea.log", "12:00 <ada> hi\n", |_| {}).unwrap();
        assert_eq!(told.lines(), ["1 refused: `at` is missing: no line before it says which day it is"]);
    }
}
