//! A relay from a port on the loopback of one namespace to a Unix socket, for tools that speak TCP only.
//!
//! In: a namespace and a socket. Out: an address. It lives as long as its value, and bounds how many connections it holds.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use monitor_tests::harness::network::Space;

/// Connections at once; fewer than the daemon takes.
const MOST: u64 = 16;
/// How long either side may be silent.
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn start(space: &Space, socket: PathBuf) -> Result<Self> {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (report, reported) = std::sync::mpsc::channel();
        let (ends, counts) = (Arc::clone(&over), Arc::clone(&seen));
        let thread = space.enter(move || {
            let bound = TcpListener::bind(("127.0.0.1", 0))
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            match bound.and_then(|listener| listener.local_addr().map(|address| (listener, address))) {
                Ok((listener, address)) => {
                    let _ = report.send(Ok(address));
                    accept(&listener, &socket, &ends, &counts);
                }
                Err(error) => drop(report.send(Err(error))),
            }
        })?;
        let address = reported.recv().context("the relay did not start")?.context("bind the relay")?;
        Ok(Self { address, over, seen, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many there were.
    pub fn connections(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, socket: &Path, over: &AtomicBool, seen: &AtomicU64) {
    let open = Arc::new(AtomicU64::new(0));
    while !over.load(Ordering::Relaxed) {
        if open.load(Ordering::Relaxed) >= MOST {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        seen.fetch_add(1, Ordering::Relaxed);
        open.fetch_add(1, Ordering::Relaxed);
        let (socket, open) = (socket.to_owned(), Arc::clone(&open));
        thread::spawn(move || {
            let _ = relay(stream, &socket);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Copies both ways until both sides have ended.
fn relay(client: TcpStream, socket: &Path) -> io::Result<()> {
    let daemon = UnixStream::connect(socket)?;
    client.set_nonblocking(false)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(SILENCE))?;
    daemon.set_read_timeout(Some(SILENCE))?;
    let (mut from, mut to) = (client.try_clone()?, daemon.try_clone()?);
    let upward = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (daemon, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = upward.join();
    Ok(())
}
