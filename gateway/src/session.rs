//! What a session does about what it hears: pure, `step(input) -> actions`. The socket's task carries the actions out.

use std::collections::HashMap;

use bytes::Bytes;
use natter_schemas::command::{Address, Body, Command};
use natter_schemas::error::{CloseCode, ErrorCode};
use natter_schemas::limits::{SERVICE_UNANSWERED_MAX, SESSION_UNANSWERED_MAX};
use natter_schemas::wire::client::{ClientCommand, ClientFrame, Signal, parse};
use natter_schemas::wire::server::{ErrorBody, Reply};

use crate::auth::Identity;
use crate::commands;
use crate::cursors::{Cursors, Due};
use crate::frames::read::Incoming;
use crate::frames::write;
use crate::requests::{Asked, Requests};

/// A session that sent so many malformed frames one after the other is closed.
const MALFORMED_MAX: u32 = 16;
/// A typing signal is passed on once in so many milliseconds.
const SIGNAL_INTERVAL_MS: u64 = 2000;
/// Conversations whose last signal is remembered.
const SIGNALS_KEPT: usize = 64;

/// When something happens: for the log and tokens by the calendar, for intervals by a clock that no one sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Unix milliseconds.
    pub unix_ms: u64,
    /// Milliseconds since some moment; never goes back.
    pub uptime_ms: u64,
}

/// What a session hears.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent something.
    Incoming {
        /// What.
        incoming: Incoming<'a>,
        /// Whether the rate limits let it through; else in how many milliseconds it may be tried again.
        admitted: Result<(), u64>,
        /// Commands of this session on their way.
        unanswered: usize,
    },
    /// Time has passed.
    Tick {
        /// The session is not being read from at its own server's wish: silence says nothing.
        paused: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write this frame.
    Send(Bytes),
    /// Answer a command that never became one.
    Refuse(Option<String>, ErrorBody),
    /// Send a command on its way; its answer goes to these requests.
    Submit(Requests, Box<Command>),
    /// Pass a signal on to the members of a conversation.
    Signal(Address, Signal),
    /// End the session.
    Close(CloseCode),
}

/// One session's state.
#[derive(Debug)]
pub struct Session {
    id: u64,
    identity: Identity,
    ping_interval_ms: u64,
    cursors: Cursors,
    signals: HashMap<Address, u64>,
    malformed: u32,
    heard_ms: u64,
    pinged_ms: u64,
}

impl Session {
    /// A session that begins at `now`.
    pub fn new(id: u64, identity: Identity, ping_interval_ms: u64, now: Moment) -> Self {
        Self {
            id,
            identity,
            ping_interval_ms,
            cursors: Cursors::default(),
            signals: HashMap::new(),
            malformed: 0,
            heard_ms: now.uptime_ms,
            pinged_ms: now.uptime_ms,
        }
    }

    /// What `input` at `now` leads to, appended to `actions`.
    pub fn step(&mut self, input: Input<'_>, now: Moment, actions: &mut Vec<Action>) {
        match input {
            Input::Incoming { incoming, admitted, unanswered } => {
                self.heard_ms = now.uptime_ms;
                match incoming {
                    Incoming::Text(text) => self.text(text, admitted, unanswered, now, actions),
                    Incoming::Ping(payload) => actions.push(Action::Send(write::pong(payload))),
                    Incoming::Pong => {}
                    Incoming::Close(_) => actions.push(Action::Close(CloseCode::Normal)),
                }
            }
            Input::Tick { paused } => self.tick(paused, now, actions),
        }
    }

    /// When the next [`Input::Tick`] is due, in milliseconds from `now`.
    pub fn next_tick_ms(&self, now: Moment) -> u64 {
        let by_uptime = [
            Some(self.pinged_ms + self.ping_interval_ms),
            Some(self.heard_ms + 2 * self.ping_interval_ms),
            self.cursors.next_due_ms(),
        ];
        let next = by_uptime.into_iter().flatten().min().unwrap_or(u64::MAX).saturating_sub(now.uptime_ms);
        next.min(self.identity.expires_ms.saturating_sub(now.unix_ms))
    }

    /// Sends what is held back on its way: the session ends.
    pub fn flush(&mut self, now: Moment, actions: &mut Vec<Action>) {
        while let Some(due) = self.cursors.take_any() {
            self.submit_cursors(due, now, actions);
        }
    }

    fn tick(&mut self, paused: bool, now: Moment, actions: &mut Vec<Action>) {
        if now.unix_ms >= self.identity.expires_ms {
            return actions.push(Action::Close(CloseCode::TokenExpired));
        }
        if paused {
            self.heard_ms = now.uptime_ms;
        }
        if now.uptime_ms >= self.heard_ms + 2 * self.ping_interval_ms {
            return actions.push(Action::Close(CloseCode::PingTimeout));
        }
        if now.uptime_ms >= self.pinged_ms + self.ping_interval_ms {
            self.pinged_ms = now.uptime_ms;
            actions.push(Action::Send(write::ping()));
        }
        while let Some(due) = self.cursors.take_due(now.uptime_ms) {
            self.submit_cursors(due, now, actions);
        }
    }

    fn text(
        &mut self,
        text: &str,
        admitted: Result<(), u64>,
        unanswered: usize,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        match parse(text.as_bytes()) {
            Ok(frame) => {
                self.malformed = 0;
                match frame {
                    ClientFrame::Command(command) => self.command(command, admitted, unanswered, now, actions),
                    ClientFrame::Signal { conversation, signal } if admitted.is_ok() => {
                        self.signal(conversation, signal, now, actions);
                    }
                    ClientFrame::Signal { .. } => {}
                }
            }
            Err(refused) => {
                self.malformed += 1;
                actions.push(Action::Refuse(refused.id, ErrorBody::new(refused.code, refused.message)));
                if self.malformed >= MALFORMED_MAX {
                    actions.push(Action::Close(CloseCode::TooManyErrors));
                }
            }
        }
    }

    fn command(
        &mut self,
        command: ClientCommand,
        admitted: Result<(), u64>,
        unanswered: usize,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if let Err(retry_ms) = admitted {
            let error = ErrorBody::of(ErrorCode::RateLimited).retry_after(retry_ms);
            return actions.push(Action::Refuse(Some(command.id), error));
        }
        // A service is not read from before it comes to that.
        let limit = if self.identity.service { 2 * SERVICE_UNANSWERED_MAX } else { SESSION_UNANSWERED_MAX };
        if unanswered + self.cursors.held_back() >= limit {
            let message = format!("{limit} commands of this session are unanswered");
            return actions.push(Action::Refuse(Some(command.id), ErrorBody::new(ErrorCode::Overloaded, message)));
        }
        // One that is sent again is looked up by its own ref.
        if command.import.is_none() && !command.resend && matches!(command.body, Body::Read { .. }) {
            let due = self.cursors.read(command, now.uptime_ms);
            return self.submit_cursors(due, now, actions);
        }
        if matches!(command.body, Body::Leave { .. }) {
            // After the leave they would be refused. All of them: one conversation may be called by two names.
            self.flush(now, actions);
        }
        let id = command.id.clone();
        match commands::from_client(&self.identity, self.id, command, now.unix_ms) {
            Ok(command) => actions.push(Action::Submit(id.into(), Box::new(command))),
            Err(error) => actions.push(Action::Refuse(Some(id), error)),
        }
    }

    fn submit_cursors(&self, due: Due, now: Moment, actions: &mut Vec<Action>) {
        let mut asked = Vec::with_capacity(due.len());
        for (seq, command) in due {
            let id = command.id.clone();
            match commands::from_client(&self.identity, self.id, command, now.unix_ms) {
                Ok(command) => asked.push(Asked { id, seq, command }),
                Err(error) => actions.push(Action::Refuse(Some(id), error)),
            }
        }
        if let Some((requests, command)) = Requests::of_cursors(asked) {
            actions.push(Action::Submit(requests, Box::new(command)));
        }
    }

    fn signal(&mut self, conversation: Address, signal: Signal, now: Moment, actions: &mut Vec<Action>) {
        let recent = |at: u64| now.uptime_ms < at + SIGNAL_INTERVAL_MS;
        if self.signals.get(&conversation).is_some_and(|at| recent(*at)) {
            return;
        }
        if self.signals.len() >= SIGNALS_KEPT {
            self.signals.retain(|_, at| recent(*at));
        }
        if self.signals.len() < SIGNALS_KEPT {
            self.signals.insert(conversation.clone(), now.uptime_ms);
            actions.push(Action::Signal(conversation, signal));
        }
    }
}

/// A refusal as the client gets it.
pub fn refusal(id: Option<String>, error: ErrorBody) -> Bytes {
    write::json(&Reply::Error { id, error })
}

#[cfg(test)]
mod tests {
    use natter_schemas::command::Origin;
    use natter_schemas::names::{Tenant, UserId};

    use super::*;

    const START: Moment = Moment { unix_ms: 1_800_000_000_000, uptime_ms: 0 };
    const PING_MS: u64 = 25_000;

    fn after(ms: u64) -> Moment {
        Moment { unix_ms: START.unix_ms + ms, uptime_ms: ms }
    }

    fn session_of(service: bool) -> Session {
        let (tenant, user) = (Tenant::trusted("demo"), UserId::trusted("ada"));
        let identity = Identity { tenant, user, name: None, expires_ms: START.unix_ms + 3_600_000, service };
        Session::new(9, identity, PING_MS, START)
    }

    fn session() -> Session {
        session_of(false)
    }

    fn hear(session: &mut Session, text: &str, ms: u64) -> Vec<Action> {
        hear_with(session, text, ms, Ok(()), 0)
    }

    fn hear_with(
        session: &mut Session,
        text: &str,
        ms: u64,
        admitted: Result<(), u64>,
        unanswered: usize,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let incoming = Incoming::Text(text);
        session.step(Input::Incoming { incoming, admitted, unanswered }, after(ms), &mut actions);
        actions
    }

    fn tick(session: &mut Session, ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        session.step(Input::Tick { paused: false }, after(ms), &mut actions);
        actions
    }

    fn code(actions: &[Action]) -> (Option<&str>, ErrorCode) {
        match actions {
            [Action::Refuse(id, error)] => (id.as_deref(), error.code),
            other => panic!("{other:?}"),
        }
    }

    fn ids(requests: &Requests) -> Vec<String> {
        requests.clone().into_ids().collect()
    }

    /// What goes for which requests.
    fn cursors(actions: &[Action]) -> Vec<(Vec<String>, u64)> {
        let cursor = |action: &Action| match action {
            Action::Submit(requests, command) => match command.body {
                Body::Read { seq, .. } => (ids(requests), seq),
                ref other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        actions.iter().map(cursor).collect()
    }

    const SEND: &str = r#"{"id":"7","cmd":"message.send","conversation":"5","ref":"r1","text":"hi"}"#;
    const TYPING: &str = r#"{"signal":"typing","conversation":"5"}"#;

    fn read(id: u32, seq: u64) -> String {
        format!(r#"{{"id":"{id}","cmd":"conversation.read","conversation":"5","seq":{seq}}}"#)
    }

    #[test]
    fn a_command_is_submitted_with_its_session_and_time() {
        match hear(&mut session(), SEND, 40).as_slice() {
            [Action::Submit(requests, command)] => {
                assert_eq!(ids(requests), ["7"]);
                assert_eq!((command.session, command.received_ms), (9, START.unix_ms + 40));
                assert_eq!((command.tenant.as_str(), command.sender.as_str()), ("demo", "ada"));
                assert_eq!(command.origin, Origin::Client);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn malformed_frames_are_answered_and_too_many_of_them_end_the_session() {
        let mut session = session();
        for _ in 1..MALFORMED_MAX {
            assert_eq!(code(&hear(&mut session, "{", 0)), (None, ErrorCode::InvalidFrame));
        }
        assert_eq!(hear(&mut session, SEND, 0).len(), 1, "a good one pays for all");
        for _ in 1..MALFORMED_MAX {
            assert_eq!(code(&hear(&mut session, r#"{"id":"1","cmd":"x"}"#, 0)), (Some("1"), ErrorCode::UnknownCommand));
        }
        assert_eq!(hear(&mut session, "", 0).last(), Some(&Action::Close(CloseCode::TooManyErrors)));
    }

    #[test]
    fn who_sends_too_much_is_told_when_to_try_again() {
        let mut session = session();
        match hear_with(&mut session, SEND, 0, Err(250), 0).as_slice() {
            [Action::Refuse(Some(id), error)] => {
                assert_eq!((id.as_str(), error.code, error.retry_after_ms), ("7", ErrorCode::RateLimited, Some(250)));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(hear_with(&mut session, TYPING, 0, Err(250), 0), []);
        let full = hear_with(&mut session, SEND, 0, Ok(()), SESSION_UNANSWERED_MAX);
        assert_eq!(code(&full), (Some("7"), ErrorCode::Overloaded));
        let service = hear_with(&mut session_of(true), SEND, 0, Ok(()), SERVICE_UNANSWERED_MAX);
        assert!(matches!(service.as_slice(), [Action::Submit(..)]), "a service is slowed down instead");
    }

    #[test]
    fn sender_and_import_are_a_services_privilege() {
        let mut client = session();
        let as_bob = r#"{"id":"7","cmd":"message.send","conversation":"5","ref":"r1","text":"hi","sender":"bob"}"#;
        assert_eq!(code(&hear(&mut client, as_bob, 0)), (Some("7"), ErrorCode::Forbidden));
        match hear(&mut session_of(true), as_bob, 0).as_slice() {
            [Action::Submit(_, command)] => assert_eq!(command.sender.as_str(), "bob"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cursors_go_once_a_second_and_the_highest_for_all() {
        let mut session = session();
        assert_eq!(cursors(&hear(&mut session, &read(1, 10), 0)), [(vec!["1".to_owned()], 10)]);
        assert_eq!(hear(&mut session, &read(2, 12), 100), []);
        assert_eq!(hear(&mut session, &read(3, 11), 200), []);
        assert_eq!((session.cursors.held_back(), session.next_tick_ms(after(200))), (2, 800));
        assert_eq!(tick(&mut session, 999), []);
        assert_eq!(cursors(&tick(&mut session, 1000)), [(vec!["2".to_owned(), "3".to_owned()], 12)]);
        assert_eq!(session.cursors.held_back(), 0);
    }

    #[test]
    fn a_cursor_beyond_the_end_leaves_the_lower_one() {
        let mut session = session();
        hear(&mut session, &read(1, 1), 0);
        hear(&mut session, &read(2, 4), 100);
        hear(&mut session, &read(3, 99), 200);
        let actions = tick(&mut session, 1000);
        let [Action::Submit(requests, command)] = actions.as_slice() else { panic!("{actions:?}") };
        assert!(matches!(command.body, Body::Read { seq: 99, .. }));
        let (refused, next) = requests.clone().answered_by(Some(ErrorCode::SeqBeyondEnd));
        let (requests, command) = next.unwrap();
        assert_eq!((refused, ids(&requests)), (vec!["3".to_owned()], vec!["2".to_owned()]));
        assert!(matches!(command.body, Body::Read { seq: 4, .. }));
    }

    #[test]
    fn a_forbidden_cursor_is_refused_alone() {
        let mut session = session();
        hear(&mut session, &read(1, 1), 0);
        hear(&mut session, &read(2, 4), 100);
        let as_bob = |id, seq| read(id, seq).replace("\"seq\"", "\"sender\":\"bob\",\"seq\"");
        assert_eq!(code(&hear(&mut session, &as_bob(3, 5), 200)), (Some("3"), ErrorCode::Forbidden));
        assert_eq!(cursors(&tick(&mut session, 1000)), [(vec!["2".to_owned()], 4)]);
    }

    #[test]
    fn cursors_of_several_users_do_not_meet() {
        let mut session = session_of(true);
        let as_user = |user: &str, id, seq| read(id, seq).replace("\"seq\"", &format!("\"sender\":\"{user}\",\"seq\""));
        assert_eq!(cursors(&hear(&mut session, &as_user("bob", 1, 5), 0)), [(vec!["1".to_owned()], 5)]);
        let eves = hear(&mut session, &as_user("eve", 2, 3), 100);
        assert_eq!(cursors(&eves), [(vec!["2".to_owned()], 3)]);
        assert!(matches!(eves.as_slice(), [Action::Submit(_, command)] if command.sender.as_str() == "eve"));
    }

    #[test]
    fn a_cursor_that_is_sent_again_goes_by_itself() {
        let mut session = session();
        hear(&mut session, &read(1, 10), 0);
        hear(&mut session, &read(2, 12), 100);
        let again = read(3, 11).replace("\"seq\"", "\"ref\":\"r\",\"resend\":true,\"seq\"");
        assert_eq!(cursors(&hear(&mut session, &again, 200)), [(vec!["3".to_owned()], 11)]);
        assert_eq!(session.cursors.held_back(), 1);
    }

    #[test]
    fn a_leave_does_not_overtake_the_cursor() {
        for cursor in [read(2, 12), read(2, 12).replace("\"5\"", "\"ext:lobby\"")] {
            let mut session = session();
            hear(&mut session, &cursor.replace("\"2\"", "\"1\""), 0);
            hear(&mut session, &cursor, 100);
            let leave = r#"{"id":"3","cmd":"conversation.leave","conversation":"5","ref":"r"}"#;
            match hear(&mut session, leave, 200).as_slice() {
                [Action::Submit(first, _), Action::Submit(second, _)] => {
                    assert_eq!((ids(first), ids(second)), (vec!["2".to_owned()], vec!["3".to_owned()]));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn typing_is_passed_on_once_in_two_seconds_per_conversation() {
        let mut session = session();
        assert!(matches!(hear(&mut session, TYPING, 0).as_slice(), [Action::Signal(_, Signal::Typing)]));
        assert_eq!(hear(&mut session, TYPING, 1999), []);
        assert_eq!(hear(&mut session, &TYPING.replace('5', "6"), 1999).len(), 1);
        assert_eq!(hear(&mut session, TYPING, 2000).len(), 1);
        for conversation in 100..1000 {
            hear(&mut session, &TYPING.replace('5', &conversation.to_string()), 2000);
        }
        assert!(session.signals.len() <= SIGNALS_KEPT);
    }

    #[test]
    fn pings_go_out_and_silence_of_two_intervals_ends_the_session() {
        let mut session = session();
        assert_eq!(session.next_tick_ms(START), PING_MS);
        assert_eq!(tick(&mut session, PING_MS), [Action::Send(write::ping())]);
        let mut actions = Vec::new();
        let pong = Input::Incoming { incoming: Incoming::Pong, admitted: Ok(()), unanswered: 0 };
        session.step(pong, after(PING_MS + 10), &mut actions);
        assert_eq!(actions, []);
        assert_eq!(tick(&mut session, 2 * PING_MS), [Action::Send(write::ping())]);
        assert_eq!(tick(&mut session, 3 * PING_MS), [Action::Send(write::ping())]);
        assert_eq!(session.next_tick_ms(after(3 * PING_MS)), 10);
        assert_eq!(tick(&mut session, 3 * PING_MS + 10), [Action::Close(CloseCode::PingTimeout)]);
    }

    #[test]
    fn a_session_that_is_not_read_from_is_not_silent() {
        let mut session = session_of(true);
        let mut actions = Vec::new();
        session.step(Input::Tick { paused: true }, after(10 * PING_MS), &mut actions);
        assert_eq!(actions, [Action::Send(write::ping())]);
    }

    #[test]
    fn the_session_ends_with_its_token() {
        let mut session = session();
        hear(&mut session, SEND, 3_599_000);
        tick(&mut session, 3_599_000);
        assert_eq!(session.next_tick_ms(after(3_599_000)), 1000);
        assert_eq!(tick(&mut session, 3_600_000), [Action::Close(CloseCode::TokenExpired)]);
    }

    #[test]
    fn pings_of_the_client_are_answered_and_its_close_is_too() {
        let mut session = session();
        let mut actions = Vec::new();
        let ping = Input::Incoming { incoming: Incoming::Ping(b"x"), admitted: Ok(()), unanswered: 0 };
        session.step(ping, START, &mut actions);
        let close = Input::Incoming { incoming: Incoming::Close(Some(1000)), admitted: Ok(()), unanswered: 0 };
        session.step(close, START, &mut actions);
        assert_eq!(actions, [Action::Send(write::pong(b"x")), Action::Close(CloseCode::Normal)]);
    }
}
