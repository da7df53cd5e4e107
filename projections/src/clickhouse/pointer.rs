//! What a process knows about which generation is live.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::generations::{Filled, Generation};

/// What was looked up serves so long: a switch is noticed within it.
pub const POINTER_SERVES: Duration = Duration::from_secs(1);

/// The last look at the pointer, shared by all clones of a connection.
#[derive(Default)]
pub(super) struct Pointer(Mutex<Look>);

#[derive(Default)]
struct Look {
    live: Option<Filled>,
    /// When it is to be looked at again.
    due: Option<Instant>,
}

impl Pointer {
    /// The live generation as far as it is known; the first where nothing is.
    pub(super) fn known(&self) -> Generation {
        self.look().live.map_or(Generation::FIRST, |live| live.generation)
    }

    /// The live generation where a look at it still serves. Where none does, the caller is the one who looks, and others
    /// go by the last one meanwhile: a history that hangs costs each of them its own patience and no more.
    pub(super) fn serving(&self) -> Option<Filled> {
        let (mut look, now) = (self.look(), Instant::now());
        if look.due.is_some_and(|due| now < due) {
            return look.live;
        }
        look.due = Some(now + POINTER_SERVES);
        None
    }

    /// This was found.
    pub(super) fn found(&self, live: Filled) {
        let mut look = self.look();
        look.live = Some(live);
        look.due = Some(Instant::now() + POINTER_SERVES);
    }

    fn look(&self) -> MutexGuard<'_, Look> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
