//! What a bare `send()` loop over loopback does in the same minute: the machine's own measure, by which figures of
//! different hours and machines can be compared.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::client::Client;
use super::processes::thread_cpu;
use super::system::room_for_files;
use super::wire;

/// How long each loop runs.
const RUN: Duration = Duration::from_millis(1500);
/// A sender whose receivers are all full waits so long.
const NAP: Duration = Duration::from_micros(50);
/// One that sends `frames` together.
const TOGETHER_MAX: u32 = 64;

/// What the loop did.
#[derive(Debug, Clone, Serialize)]
pub struct Bare {
    /// Sockets, in turn.
    pub sockets: usize,
    /// Bytes of a frame.
    pub frame_bytes: usize,
    /// Frames in each `send()`.
    pub frames_per_send: u32,
    /// Frames a second that the receivers, who walk them as the load's clients do, have got.
    pub frames_per_second: f64,
    /// CPU of the sending thread for each frame, in microseconds.
    pub cpu_micros_per_frame: f64,
}

/// Sends frames of `frame_bytes` to `sockets` clients of this process, `frames_per_send` of them in each `send()`.
///
/// # Errors
/// No sockets are to be had.
pub async fn send_loop(sockets: usize, frame_bytes: usize, frames_per_send: u32) -> anyhow::Result<Bare> {
    room_for_files(2 * sockets)?;
    let frames_per_send = frames_per_send.clamp(1, TOGETHER_MAX);
    let (received, mut senders, mut receivers) = (Arc::new(AtomicU64::new(0)), Vec::new(), JoinSet::new());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    for _ in 0..sockets {
        let (to, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
        senders.push(to?.into_std()?);
        receivers.spawn(receive(Client::of(accepted?.0)?, Arc::clone(&received)));
    }
    let frames = server_frame(frame_bytes).repeat(usize::try_from(frames_per_send)?);
    let stop = Arc::new(AtomicBool::new(false));
    let sending = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new().name("bare".to_owned()).spawn(move || send(&senders, &frames, &stop))?
    };
    let (began, before) = (Instant::now(), received.load(Ordering::Relaxed));
    tokio::time::sleep(RUN).await;
    let (seconds, after) = (began.elapsed().as_secs_f64(), received.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    let sent = tokio::task::spawn_blocking(move || sending.join()).await?;
    let (sends, cpu) = sent.map_err(|_| anyhow::anyhow!("the sender broke"))?;
    let sent = sends * u64::from(frames_per_send);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(Bare {
        sockets,
        frame_bytes,
        frames_per_send,
        frames_per_second: (after - before) as f64 / seconds,
        cpu_micros_per_frame: cpu.as_secs_f64() * 1e6 / sent.max(1) as f64,
    })
}

async fn receive(mut client: Client, received: Arc<AtomicU64>) {
    while let Ok(frames) = client.read(|_| {}).await {
        received.fetch_add(frames, Ordering::Relaxed);
    }
}

/// Whole sends, and the CPU that they took.
fn send(sockets: &[std::net::TcpStream], frames: &[u8], stop: &AtomicBool) -> (u64, Duration) {
    let before = thread_cpu();
    let mut sends = 0;
    // A send that was cut short is finished before the next.
    let mut rest = vec![0; sockets.len()];
    while !stop.load(Ordering::Relaxed) {
        let mut any = false;
        for (socket, rest) in sockets.iter().zip(&mut rest) {
            let mut socket = socket;
            match socket.write(&frames[*rest..]) {
                Ok(count) => {
                    any = true;
                    *rest += count;
                    if *rest == frames.len() {
                        *rest = 0;
                        sends += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return (sends, Duration::ZERO),
            }
        }
        if !any {
            std::thread::sleep(NAP);
        }
    }
    (sends, thread_cpu().saturating_sub(before))
}

/// A text frame of a server's, `bytes` long in all.
fn server_frame(bytes: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::server_text(&mut frame, &vec![b'x'; bytes.saturating_sub(4)]);
    frame
}
