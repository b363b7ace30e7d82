//! The honest service and its honest client: one small page over HTTP/1.1, asked for again and again.
//!
//! In: a namespace and a port. Out: a server thread that answers, a client thread that counts answers and their times.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::network::Space;

/// What the server answers.
pub const PAGE: &str = "served\n";

/// A server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers on `address` within `space`.
    pub fn start(space: &Space, address: SocketAddr) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (told, hear) = std::sync::mpsc::channel();
        let flag = Arc::clone(&over);
        let thread = space.enter(move || match TcpListener::bind(address) {
            Ok(listener) => {
                let _ = told.send(Ok(()));
                serve(&listener, &flag);
            }
            Err(error) => drop(told.send(Err(error))),
        })?;
        hear.recv().context("the server did not start")?.with_context(|| format!("listen on {address}"))?;
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, over: &Arc<AtomicBool>) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let over = Arc::clone(over);
                thread::spawn(move || converse(stream, &over));
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Answers every request of one connection.
fn converse(stream: TcpStream, over: &AtomicBool) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    let mut line = String::new();
    while !over.load(Ordering::Relaxed) {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len());
            writer.write_all(head.as_bytes()).ok()?;
        }
    }
    None
}

/// What a client got.
#[derive(Debug, Default)]
pub struct Served {
    /// Requests that were answered, and that were not.
    pub answered: AtomicU64,
    pub failed: AtomicU64,
}

/// A client that asks, one request after the other, over a connection that it keeps; dropping it ends it.
#[derive(Debug)]
pub struct Client {
    over: Arc<AtomicBool>,
    pub served: Arc<Served>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub fn start(space: &Space, address: SocketAddr) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let served = Arc::new(Served::default());
        let (flag, count) = (Arc::clone(&over), Arc::clone(&served));
        let thread = space.enter(move || {
            while !flag.load(Ordering::Relaxed) {
                if ask_until(address, &flag, &count.answered).is_err() {
                    count.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { over, served, thread: Some(thread) })
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.served.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask_until(address: SocketAddr, over: &AtomicBool, answered: &AtomicU64) -> io::Result<()> {
    let limit = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut answer = [0; 512];
    while !over.load(Ordering::Relaxed) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: served\r\n\r\n")?;
        let mut got = 0;
        while !answer[..got].ends_with(PAGE.as_bytes()) {
            let more = stream.read(&mut answer[got..])?;
            if more == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            got += more;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
