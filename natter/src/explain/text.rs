//! An explanation for people.

use std::fmt::{self, Display, Formatter};

use natter_schemas::command::{Address, Body, Command, Origin};
use natter_schemas::evidence::Evidence;
use natter_schemas::names::UserId;
use natter_schemas::outcome::{Accepted, Decision, Received};
use natter_schemas::policy::Action;
use natter_schemas::wire::times::rfc3339;

use super::find::CommandState;
use super::{Explanation, HistoryView, RedisView, State};

/// A line: its name, then what is said.
fn line(f: &mut Formatter<'_>, name: &str, said: impl Display) -> fmt::Result {
    write!(f, "\n  {name:<11} {said}")
}

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let position = self.found.placed.position;
        match self.message() {
            Some(id) => write!(f, "message {id}, outcome {position}")?,
            None => write!(f, "outcome {position}")?,
        }
        self.command(f)?;
        self.decision(f)?;
        self.places(f)?;
        line(f, "redis", &self.redis)?;
        line(f, "clickhouse", &self.clickhouse)
    }
}

impl Explanation {
    fn command(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let command = match &self.found.placed.outcome.received {
            Received::Command(command) => command,
            Received::Undecodable(bytes) => {
                return line(f, "received", format_args!("{} bytes that are no command", bytes.len()));
            }
        };
        let Command { tenant, sender, session, received_ms, reference, origin, body, evidence } = command;
        let door = match session {
            0 => "by HTTP".to_owned(),
            session => format!("by session {session:016x}"),
        };
        line(f, "who", format_args!("{sender} of {tenant}, {door}, ref {}", reference.as_str()))?;
        line(f, "received", rfc3339(*received_ms))?;
        match origin {
            Origin::Client => {}
            Origin::Resend => line(f, "origin", "a client that sent it again")?,
            Origin::Operator => line(f, "origin", "an operator's tool")?,
            Origin::Import(of) => {
                line(f, "origin", format_args!("line {} of an import, said at {}", of.line, rfc3339(of.at_ms)))?;
            }
        }
        for Evidence::Ref { first, complete } in evidence {
            let found = match first {
                Some(first) => format!("the ref was accepted at {}:{}", first.sequence, first.index),
                None => "the ref was not accepted before".to_owned(),
            };
            line(f, "looked up", format_args!("{found} (complete up to batch {})", complete.sequence))?;
        }
        line(f, "wish", body.name())?;
        if let Some(conversation) = body.conversation() {
            match conversation {
                Address::Id(id) => write!(f, " in {id}")?,
                Address::External(external) => write!(f, " in ext:{external}")?,
            }
        }
        match body {
            Body::Send { text, .. } => write!(f, ": {:?}", text.as_str()),
            _ => Ok(()),
        }
    }

    fn decision(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.found.placed.outcome.decision {
            Decision::Rejected(rejection) => {
                line(f, "rejected", format_args!("{}: {}", rejection.error_code().name(), rejection.detail))?;
            }
            Decision::Accepted(Accepted::Sent { conversation, seq, replacement, lists, .. }) => {
                line(f, "accepted", format_args!("as seq {seq} of conversation {conversation}"))?;
                if let Some(replacement) = replacement {
                    line(f, "masked", format_args!("everybody sees {replacement:?}"))?;
                }
                if !lists.is_empty() {
                    line(f, "lists", lists.join(", "))?;
                }
            }
            Decision::Accepted(accepted) => line(f, "accepted", became(accepted))?,
        }
        let rules = &self.rules;
        match (&rules.hash, rules.is_stored) {
            (None, _) => line(f, "policy", "the default"),
            (Some(hash), true) => line(f, "policy", hash),
            (Some(hash), false) => {
                line(f, "policy", format_args!("{hash}, which is not stored: what was touched is unknown"))
            }
        }?;
        for touched in &rules.touched {
            let does = match touched.action {
                Action::Mask => "masks",
                Action::Reject => "rejects",
                Action::Flag => "flags",
            };
            line(f, "", format_args!("list {} {does}: {}", touched.list, touched.words.join(", ")))?;
        }
        Ok(())
    }

    fn places(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let at = &found.command;
        let state = match at.state {
            CommandState::There => "",
            CommandState::Trimmed => ": trimmed since, the outcome repeats it",
            CommandState::Differs => ": something else stands there now, see `natter audit`",
            CommandState::Missing => ": the stream ends before it, see `natter audit`",
        };
        let (stream, sequence, index, records) = (&at.stream, at.sequence, at.index, at.records);
        let stored = rfc3339(at.stored_ms);
        line(f, "command", format_args!("{stream} {sequence}, record {index} of {records}, stored {stored}{state}"))?;
        let position = found.placed.position;
        let (stream, records, bytes, lease) = (&found.stream, found.records, found.bytes, found.lease);
        let archived = if found.archived { ": trimmed since, read from the archive" } else { "" };
        let (index, stored) = (position.index.unwrap_or(0), rfc3339(found.stored_ms));
        line(
            f,
            "outcome",
            format_args!(
                "{stream} {}, record {index} of {records} ({bytes} bytes), stored {stored} under lease {lease}{archived}",
                position.sequence
            ),
        )
    }
}

/// What came of an accepted command that is no message.
fn became(accepted: &Accepted) -> String {
    let names = |members: &[UserId]| members.iter().map(UserId::as_str).collect::<Vec<_>>().join(", ");
    match accepted {
        Accepted::Created { conversation, members } if members.is_empty() => {
            format!("conversation {conversation} was made")
        }
        Accepted::Created { conversation, members } => {
            format!("conversation {conversation} was made, with {} beside the sender", names(members))
        }
        Accepted::Existing { conversation } => format!("conversation {conversation} was there already"),
        Accepted::Added { conversation, members, member_count, .. } => {
            format!("{} came into conversation {conversation}, {member_count} members now", names(members))
        }
        Accepted::Joined { conversation, member_count, .. } => {
            format!("the sender joined conversation {conversation}, {member_count} members now")
        }
        Accepted::Left { conversation, member_count } => {
            format!("the sender left conversation {conversation}, {member_count} members now")
        }
        Accepted::Renamed { conversation } => format!("conversation {conversation} has another name"),
        Accepted::Read { conversation, seq, .. } => {
            format!("the sender has read conversation {conversation} up to seq {seq}")
        }
        Accepted::Sent { conversation, seq, .. } => format!("as seq {seq} of conversation {conversation}"),
        Accepted::UserUpdated => "the sender has another display name".to_owned(),
        Accepted::NameKept => "the sender keeps the display name, which is later than the line's".to_owned(),
        Accepted::PolicySet { hash: Some(hash) } => format!("policy {hash} is in force in this partition"),
        Accepted::PolicySet { hash: None } => "the default policy is in force in this partition".to_owned(),
        Accepted::Unchanged { .. } => "nothing was left to do".to_owned(),
        Accepted::Repeated(_) => "the ref was accepted before: the same answer again".to_owned(),
        Accepted::ImportedBefore { .. } => "this line of the import was taken before".to_owned(),
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "cannot be asked",
            Self::Foreign => "is of another log",
            Self::Behind => "is not so far",
            Self::Holds => "holds it",
            Self::Cold => "holds it no more, it is not hot: it lies in the history",
            Self::Missing => "should hold it and does not, see `natter audit`",
            Self::Differs => "holds something else, see `natter audit`",
            Self::NotLookedFor => "was not asked, this is no accepted message",
        })
    }
}

/// `: reason; stands at N; …`
fn tail(f: &mut Formatter<'_>, reason: Option<&str>, watermark: Option<u64>) -> fmt::Result {
    if let Some(reason) = reason {
        write!(f, ": {reason}")?;
    }
    watermark.map_or(Ok(()), |watermark| write!(f, "; shows everything up to batch {watermark}"))
}

impl Display for RedisView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)?;
        tail(f, self.reason.as_deref(), self.watermark)?;
        if let (Some(head), Some(first)) = (self.head, self.first_hot_seq) {
            write!(f, "; head {head}, hot from seq {first}")?;
        }
        match self.ref_remembered {
            Some(true) => f.write_str("; the ref is remembered"),
            Some(false) => f.write_str("; the ref is not remembered here any more"),
            None => Ok(()),
        }
    }
}

impl Display for HistoryView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)?;
        tail(f, self.reason.as_deref(), self.watermark)?;
        if self.watermark.is_some() {
            let there = |is_there| if is_there { "there" } else { "not there" };
            write!(f, "; row in events {}", there(self.event.is_some()))?;
            if self.state != State::NotLookedFor {
                write!(f, ", in messages {}", there(self.message.is_some()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use natter_schemas::id::ConversationId;

    use super::*;

    #[test]
    fn what_is_no_message_is_said_in_words() {
        let conversation = ConversationId::from_raw(7);
        let members = vec![UserId::trusted("bob"), UserId::trusted("cy")];
        let made = became(&Accepted::Created { conversation, members });
        assert_eq!(made, "conversation 7 was made, with bob, cy beside the sender");
        let left = became(&Accepted::Left { conversation, member_count: 2 });
        assert_eq!(left, "the sender left conversation 7, 2 members now");
    }
}
