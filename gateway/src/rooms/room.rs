//! One conversation's sessions here, each a place on its tape, and the pass that hands them what is new.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Recipient;
use crate::tape::{Piece, Tape};

/// From the beginning of one pass to that of the next, for each session of a room. A write takes more than half of it.
const REST_PER_SESSION: Duration = Duration::from_micros(10);
/// A room of so many sessions rests; what is written to fewer is too little to gather for.
const RESTING_SESSIONS_MIN: usize = 65;

/// The sessions of one conversation.
#[derive(Debug)]
pub struct Room<S> {
    /// Events and signals of the conversation, as everybody sees them but who caused them.
    pub tape: Tape,
    seats: Vec<Seat<S>>,
    /// The pass still has these to visit: from the last to the first, so that a seat that takes a vacated place is visited
    /// once more rather than never.
    to_visit: usize,
    /// Where the tape ended when the pass began.
    pass_from: u64,
    /// The next pass begins no earlier.
    next_pass: Option<Instant>,
}

/// A session in a room.
#[derive(Debug)]
struct Seat<S> {
    /// Everything before this offset of the tape is the session's.
    at: u64,
    session: Arc<S>,
}

impl<S: Recipient> Room<S> {
    /// Nobody is in it.
    pub fn new() -> Self {
        Self { tape: Tape::default(), seats: Vec::new(), to_visit: 0, pass_from: 0, next_pass: None }
    }

    /// Sessions in it.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Takes a session in; it sees what comes from here on. Gives its seat.
    pub fn seat(&mut self, session: Arc<S>) -> usize {
        self.seats.push(Seat { at: self.tape.end(), session });
        self.seats.len() - 1
    }

    /// Takes a session out. Gives the id of the one that now has its seat.
    pub fn vacate(&mut self, seat: usize) -> Option<u64> {
        self.seats.swap_remove(seat);
        self.to_visit = self.to_visit.min(self.seats.len());
        self.seats.get(seat).map(|moved| moved.session.id())
    }

    /// Queues for one session everything that it has not been handed. Gives it back where that is to be written.
    pub fn catch_up(&mut self, seat: usize) -> Option<Arc<S>> {
        self.queue(seat, self.tape.end(), None)
    }

    /// Queues `frame` for one session alone, behind everything before `instead_of`: that offset is where the frame for the
    /// others begins, if there is one. Gives the session back where that is to be written.
    pub fn queue(&mut self, seat: usize, instead_of: u64, frame: Option<Bytes>) -> Option<Arc<S>> {
        let Seat { at, session } = &mut self.seats[seat];
        let mut first = false;
        for Piece { frames, signals } in self.tape.between(*at, instead_of) {
            if !signals.is_empty() {
                // Queued they could not be dropped any more.
                session.hand(&frames, 0, &signals);
            } else if !frames.is_empty() {
                first |= session.queue(frames);
            }
        }
        if let Some(frame) = frame {
            first |= session.queue(frame);
        }
        *at = self.tape.end();
        first.then(|| Arc::clone(session))
    }

    /// Whether somebody has not been handed everything.
    pub fn is_behind(&self) -> bool {
        self.to_visit > 0 || self.tape.bytes() > 0
    }

    /// Until when no pass begins.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.next_pass.filter(|next_pass| self.to_visit == 0 && now < *next_pass)
    }

    /// Hands everything that is new to the next `sessions` at most, and begins anew where all have been visited. Gives how many
    /// were visited. What comes during a pass is handed to those that it still has to visit: each session waits for its next
    /// visit, and not for a next pass.
    pub fn pass(&mut self, sessions: usize, now: Instant) -> usize {
        if self.to_visit == 0 {
            self.pass_from = self.tape.end();
            self.to_visit = self.seats.len();
            let rest = || now + REST_PER_SESSION * u32::try_from(self.seats.len()).unwrap_or(u32::MAX);
            self.next_pass = (self.seats.len() >= RESTING_SESSIONS_MIN).then(rest);
        }
        self.tape.seal();
        let rest = self.to_visit.saturating_sub(sessions);
        for Seat { at, session } in self.seats[rest..self.to_visit].iter_mut().rev() {
            if let Some((chunk, from, end)) = self.tape.ready(*at) {
                session.hand(chunk, from, self.tape.signals());
                *at = end;
            }
        }
        let visited = self.to_visit - rest;
        self.to_visit = rest;
        if rest == 0 {
            self.tape.forget(self.pass_from);
        }
        visited
    }
}
