//! The service that is attacked and its honest client: a question and an answer per datagram, as in the DNS.
//!
//! An answer costs the server some work, so it can give only so many a second; the client asks at a steady pace.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use monitor_tests::harness::network::Space;

/// Questions that the honest client asks in a second.
pub const ASKED: u64 = 500;
/// What an answer costs the server.
const WORK: Duration = Duration::from_micros(25);

/// A thread that ends when it is dropped, and what it counts.
#[derive(Debug)]
pub struct Worker {
    over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Worker {
    /// Answers on `address` within `space`; counts questions, whoever asks them.
    pub fn serve(space: &Space, address: SocketAddr) -> Result<Self> {
        Self::start(space, address, |socket, over, count| {
            let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
            let mut question = [0; 512];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let start = Instant::now();
                while start.elapsed() < WORK {
                    std::hint::spin_loop();
                }
                let _ = socket.send_to(&question[..length], from);
            }
        })
    }

    /// Asks `address` from within `space`; counts answers.
    pub fn ask(space: &Space, from: SocketAddr, address: SocketAddr) -> Result<Self> {
        Self::start(space, from, move |socket, over, count| {
            let _ = socket.set_nonblocking(true);
            let (start, mut asked, mut answer) = (Instant::now(), 0u64, [0; 512]);
            while !over.load(Ordering::Relaxed) {
                let due = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX) * ASKED / 1_000_000;
                if asked < due {
                    asked += 1;
                    let _ = socket.send_to(b"a question", address);
                } else {
                    thread::sleep(Duration::from_micros(500));
                }
                while socket.recv(&mut answer).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    }

    fn start(
        space: &Space,
        address: SocketAddr,
        work: impl FnOnce(&UdpSocket, &AtomicBool, &AtomicU64) + Send + 'static,
    ) -> Result<Self> {
        let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (flag, counter) = (Arc::clone(&over), Arc::clone(&count));
        let thread = space.enter(move || {
            if let Ok(socket) = UdpSocket::bind(address) {
                work(&socket, &flag, &counter);
            }
        })?;
        Ok(Self { over, count, thread: Some(thread) })
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
