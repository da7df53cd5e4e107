//! A link between two parts of a system that can be cut, stalled and slowed down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are passed on at once; each such piece is delayed on a slow link.
const PIECE_BYTES: usize = 16 * 1024;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Bytes go through.
    Whole,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections stay open and nothing comes through.
    Stalled,
    /// Every piece comes this much later.
    Slow(Duration),
}

#[derive(Debug, Clone, Copy)]
struct State {
    link: Link,
    /// Connections from before a cut end, even if the link was mended before they looked.
    cuts: u64,
}

/// Forwards connections to one address. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    url: String,
    state: Arc<watch::Sender<State>>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// To the server at `url`, such as `nats://user:password@host:port` or `http://host:port`.
    ///
    /// # Errors
    /// It is no such URL, or there is no free port.
    pub async fn to(url: &str) -> anyhow::Result<Self> {
        let (front, rest) = url.split_once("://").with_context(|| format!("`{url}` is no url"))?;
        let (credentials, host) = rest.rsplit_once('@').map_or((None, rest), |(before, host)| (Some(before), host));
        let (target, path) = host.split_once('/').map_or((host, None), |(target, path)| (target, Some(path)));
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a proxy")?;
        let address = listener.local_addr().context("no port for a proxy")?;
        let credentials = credentials.map_or(String::new(), |credentials| format!("{credentials}@"));
        let path = path.map_or(String::new(), |path| format!("/{path}"));
        let state = Arc::new(watch::Sender::new(State { link: Link::Whole, cuts: 0 }));
        let mut task = JoinSet::new();
        task.spawn(forward(listener, target.to_owned(), Arc::clone(&state)));
        Ok(Self { address, url: format!("{front}://{credentials}{address}{path}"), state, _task: task })
    }

    /// The server's URL through this link.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the link is like this.
    pub fn set(&self, link: Link) {
        self.state.send_modify(|state| {
            state.link = link;
            state.cuts += u64::from(link == Link::Cut);
        });
    }

    /// Closes every connection, and new ones at once.
    pub fn cut(&self) {
        self.set(Link::Cut);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.set(Link::Whole);
    }
}

async fn forward(listener: TcpListener, target: String, state: Arc<watch::Sender<State>>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Too many open files, say: the caller sees a connection that does not come about.
                let Ok((near, _)) = accepted else { continue };
                let (target, mut state) = (target.clone(), state.subscribe());
                let State { link, cuts } = *state.borrow_and_update();
                if link != Link::Cut {
                    links.spawn(async move {
                        tokio::select! {
                            () = through(near, &target, state.clone()) => {}
                            _ = state.wait_for(|now| now.cuts != cuts) => {}
                        }
                    });
                }
            }
            Some(_) = links.join_next() => {}
        }
    }
}

async fn through(near: TcpStream, target: &str, state: watch::Receiver<State>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    tokio::join!(pump(from_near, to_far, state.clone()), pump(from_far, to_near, state));
}

/// Passes bytes on until either side ends.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = match from.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let Ok(link) = state.wait_for(|state| state.link != Link::Stalled).await.map(|state| state.link) else { break };
        if let Link::Slow(delay) = link {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
    // Whoever is on the other side notices by itself if this cannot be done.
    to.shutdown().await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        format!("http://u:p@{address}/x")
    }

    async fn answer(socket: &mut TcpStream) -> std::io::Result<u8> {
        socket.write_all(b"a").await?;
        socket.read_u8().await
    }

    #[tokio::test]
    async fn a_link_passes_stalls_and_ends_even_if_it_is_mended_at_once() {
        let proxy = Proxy::to(&echo().await).await.unwrap();
        assert_eq!(proxy.url(), format!("http://u:p@{}/x", proxy.address()));
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(answer(&mut socket).await.unwrap(), b'a');

        proxy.set(Link::Stalled);
        socket.write_all(b"b").await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), socket.read_u8()).await;
        assert!(waited.is_err(), "nothing comes through");
        proxy.mend();
        assert_eq!(socket.read_u8().await.unwrap(), b'b');

        proxy.cut();
        proxy.mend();
        assert!(answer(&mut socket).await.is_err());
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(answer(&mut socket).await.unwrap(), b'a');
    }
}
