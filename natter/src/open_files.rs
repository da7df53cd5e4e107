//! How many files this process may open: a socket is one, and shells commonly give 1,024 of the many that the kernel allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is of no use to anybody here, and some programs that inherit it walk through all of them.
const ENOUGH: u64 = 1 << 20;

/// Files that are no client's: the log's, the views', the listener's, those of a history page.
const OTHERS: u64 = 256;

/// Raises the limit to what the kernel allows without being asked; children inherit it.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Connections of clients for which there are files.
pub fn room() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(files) => usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX).max(1),
        None => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_the_kernel_allows() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        let allowed = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
        assert!(limit.current.is_none_or(|current| current >= allowed), "{limit:?}");
    }
}
