//! A link to the broker that can be cut.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards connections to a broker while it is whole.
pub struct Proxy {
    url: String,
    whole: Arc<watch::Sender<bool>>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// To the broker at `url`.
    pub async fn to(url: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (front, target) = url.rsplit_once('@').unwrap();
        let url = format!("{front}@{}", listener.local_addr().unwrap());
        let (whole, target) = (Arc::new(watch::Sender::new(true)), target.to_owned());
        let mut task = JoinSet::new();
        task.spawn(forward(listener, target, Arc::clone(&whole)));
        Proxy { url, whole, _task: task }
    }

    /// The broker's URL through this link.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Closes every connection, and new ones at once.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn forward(listener: TcpListener, target: String, whole: Arc<watch::Sender<bool>>) {
    let mut links = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut cut = whole.subscribe();
        let target = target.clone();
        links.spawn(async move {
            if !*cut.borrow() {
                return;
            }
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = cut.wait_for(|whole| !whole) => {}
            }
        });
    }
}
