//! The part of `message.send` that a policy decides: what becomes of a text, whoever sent it and wherever.

use natter_schemas::command::{Body, Command, Origin};
use natter_schemas::error::ErrorCode;
use natter_schemas::limits::OUTCOME_LISTS_MAX;
use natter_schemas::names::MessageText;
use natter_schemas::outcome::{Accepted, Decision, Outcome, Received, Rejection};

use crate::filter::Verdict;
use crate::policy::ContentRules;

/// How the rejection of a listed text begins; the lists' names follow.
const TOUCHES: &str = "the text touches the word lists ";

/// A text that passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// What everybody sees instead, where it was masked.
    pub replacement: Option<String>,
    /// The word lists that it touches.
    pub lists: Vec<String>,
}

/// A text with what the policy in force decided about it.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// The command.
    pub command: &'a Command,
    /// Its text.
    pub text: &'a MessageText,
    /// What was decided about it.
    pub decided: Result<Passed, Rejection>,
}

/// What `rules` say about a text; `None`: nobody can say, because the tenant's policy is lost or this binary cannot use it.
///
/// # Errors
/// It does not pass: nobody can say, it is too long, or it touches a list that rejects.
pub fn judge_by(rules: Option<&ContentRules>, text: &MessageText, origin: &Origin) -> Result<Passed, Rejection> {
    let lost = || Rejection::new(ErrorCode::PolicyUnavailable, ErrorCode::PolicyUnavailable.description());
    judge(rules.ok_or_else(lost)?, text, origin)
}

/// What `rules` say about a text.
///
/// # Errors
/// It does not pass: too long, or it touches a list that rejects.
pub fn judge(rules: &ContentRules, text: &MessageText, origin: &Origin) -> Result<Passed, Rejection> {
    within_limit(rules, text)?;
    // History that is imported was said already: it is at most flagged.
    let imported = matches!(origin, Origin::Import(_));
    match rules.check(text.as_str()) {
        Verdict::Clean => Ok(Passed::default()),
        Verdict::Masked { text, lists } if !imported => Ok(Passed { replacement: Some(text), lists: named(lists) }),
        Verdict::Rejected { lists } if !imported => {
            Err(Rejection::new(ErrorCode::Rejected, format!("{TOUCHES}{}", named(lists).join(", "))))
        }
        Verdict::Flagged { lists } | Verdict::Masked { lists, .. } | Verdict::Rejected { lists } => {
            Ok(Passed { replacement: None, lists: named(lists) })
        }
    }
}

/// What [`judge`] said when this outcome was decided; `None`: it was not asked, because the outcome is no message's or something else was against it first.
pub fn recorded(outcome: &Outcome) -> Option<Recorded<'_>> {
    let Received::Command(command) = &outcome.received else { return None };
    let Body::Send { text, .. } = &command.body else { return None };
    let decided = match &outcome.decision {
        Decision::Accepted(Accepted::Sent { replacement, lists, .. }) => {
            Ok(Passed { replacement: replacement.clone(), lists: lists.clone() })
        }
        Decision::Rejected(rejection)
            if matches!(rejection.error_code(), ErrorCode::Rejected | ErrorCode::TextTooLong) =>
        {
            Err(rejection.clone())
        }
        _ => return None,
    };
    Some(Recorded { command, text, decided })
}

/// The lists that a rejected text touches, as the rejection names them; `None`: that is not why.
pub fn rejecting_lists(rejection: &Rejection) -> Option<&str> {
    rejection.detail.strip_prefix(TOUCHES)
}

fn within_limit(rules: &ContentRules, text: &MessageText) -> Result<(), Rejection> {
    let limit = rules.text_scalars_max;
    // Bytes bound scalars, so most texts are not counted.
    if text.as_str().len() <= limit {
        return Ok(());
    }
    match text.as_str().chars().count() {
        count if count <= limit => Ok(()),
        count => {
            let detail = format!("the text has {count} characters, at most {limit} are allowed");
            Err(Rejection::new(ErrorCode::TextTooLong, detail))
        }
    }
}

/// An outcome is not made long by a policy of many lists.
fn named(mut lists: Vec<String>) -> Vec<String> {
    lists.truncate(OUTCOME_LISTS_MAX);
    lists
}
