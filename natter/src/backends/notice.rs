//! What the operator should hear about the backends.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Backend;

/// Receives each notice as it happens. Must not block.
pub type Notify = Arc<dyn Fn(Notice) + Send + Sync>;

/// Something about one backend; its `Display` is a line for a person.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields' names say what they are")]
pub enum Notice {
    /// A package is fetched from its registry, and there is no terminal to show a bar on.
    Fetching { backend: Backend, package: String, bytes: u64 },
    /// It is in the cache now.
    Fetched { backend: Backend, package: String, seconds: f64 },
    /// The server runs but does not answer yet; it may be loading its data.
    Slow { backend: Backend, error: String, log: PathBuf },
    /// The server was ready and does not answer as it should; if it stays so it is killed and started again.
    Unwell { backend: Backend, error: String },
    /// The server died and is started again.
    Restarting { backend: Backend, reason: String, delay: Duration },
    /// The backend is given up.
    Failed { backend: Backend, error: String },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Fetching { package, bytes, .. } => {
                write!(f, "fetching {package} ({} MB)", bytes.div_ceil(1_000_000))
            }
            Notice::Fetched { package, seconds, .. } => write!(f, "fetched {package} in {seconds:.1} s"),
            Notice::Slow { backend, error, log } => {
                write!(f, "{backend} is not ready yet ({error}); its log is {}", log.display())
            }
            Notice::Unwell { backend, error } => write!(f, "{backend} is unwell ({error}); it is given a moment"),
            Notice::Restarting { backend, reason, delay } => {
                write!(f, "{backend} died ({reason}); starting it again in {:.1} s", delay.as_secs_f64())
            }
            Notice::Failed { error, .. } => f.write_str(error),
        }
    }
}
