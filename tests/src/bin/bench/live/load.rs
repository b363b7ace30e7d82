//! The services of a host, and the honest clients that ask them.
//!
//! Over UDP, the clients ask at a steady pace whatever comes back; over TCP, each transaction is a connection of its own. A quiet
//! host is also asked one question after the other, for how long an answer takes.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use monitor_tests::harness::{network::Space, processor};

use super::host::{ASKED_TCP, ASKED_UDP, EAGER, FLOODED, HARMLESS, SLICE};

/// Questions that all clients together ask over UDP in a second.
pub const QUESTIONS: u64 = 16_000;
/// Connections that all clients together open in a second.
pub const CONNECTIONS: u64 = 800;
/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(100);
const LISTENERS: usize = 8;

/// Threads that end when this is dropped.
#[derive(Debug, Default)]
struct Crew {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Their numbers, as the kernel counts them.
    numbers: Arc<Mutex<Vec<i32>>>,
}

impl Crew {
    fn add(
        &mut self,
        space: &Space,
        processor: usize,
        work: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Result<()> {
        let (over, numbers) = (Arc::clone(&self.over), Arc::clone(&self.numbers));
        self.threads.push(space.enter(move || {
            if let Ok(mut numbers) = numbers.lock() {
                // SAFETY: a plain system call that cannot fail.
                numbers.push(unsafe { libc::gettid() });
            }
            let _ = processor::pin(0, processor);
            let _ = processor::eager(0, EAGER, SLICE);
            work(&over);
        })?);
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What a host serves.
pub struct Services {
    flooded: Arc<AtomicU64>,
    crew: Crew,
}

impl Services {
    pub fn start(space: &Space, address: Ipv4Addr, processor: usize) -> Result<Self> {
        let mut crew = Crew::default();
        crew.add(space, processor, move |over| {
            serve(SocketAddr::from((address, ASKED_UDP)), over, |socket, question, from| {
                let _ = socket.send_to(question, from);
            });
        })?;
        let flooded = Arc::new(AtomicU64::new(0));
        for port in [FLOODED, HARMLESS] {
            let count = Arc::clone(&flooded);
            crew.add(space, processor, move |over| {
                serve(SocketAddr::from((address, port)), over, |_, _, _| {
                    count.fetch_add(1, Ordering::Relaxed);
                });
            })?;
        }
        let listener = space.enter(move || TcpListener::bind((address, ASKED_TCP)))?;
        let listener = listener.join().map_err(|_| anyhow::anyhow!("the listener died"))??;
        listener.set_nonblocking(true)?;
        let listener = Arc::new(listener);
        for _ in 0..LISTENERS {
            let listener = Arc::clone(&listener);
            crew.add(space, processor, move |over| accept(&listener, over))?;
        }
        Ok(Self { flooded, crew })
    }

    /// How long all of them have run, in nanoseconds.
    pub fn run_time(&self) -> io::Result<u64> {
        let numbers = self.crew.numbers.lock().map(|numbers| numbers.clone()).unwrap_or_default();
        numbers.into_iter().map(processor::run_time).sum()
    }

    /// Packets that came through to the services that are flooded.
    pub fn flooded(&self) -> u64 {
        self.flooded.load(Ordering::Relaxed)
    }
}

fn serve(address: SocketAddr, over: &AtomicBool, mut each: impl FnMut(&UdpSocket, &[u8], SocketAddr)) {
    let Ok(socket) = UdpSocket::bind(address) else { return };
    let _ = socket.set_read_timeout(Some(POLL));
    let mut question = [0; 512];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut question) {
            each(&socket, &question[..length], from);
        }
    }
}

/// Waits until the descriptor has something to read.
fn readable(descriptor: i32, time: Duration) -> bool {
    let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    let time = i32::try_from(time.as_millis()).unwrap_or(1000);
    // SAFETY: one descriptor, as the call is told.
    unsafe { libc::poll(&raw mut poll, 1, time) > 0 }
}

fn accept(listener: &TcpListener, over: &AtomicBool) {
    let mut question = [0; 16];
    while !over.load(Ordering::Relaxed) {
        if !readable(listener.as_raw_fd(), POLL) {
            continue;
        }
        let Ok((mut stream, _)) = listener.accept() else { continue };
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        if stream.read_exact(&mut question).is_ok() {
            let _ = stream.write_all(&question);
            // The client closes first, at once and without a trace.
            let _ = stream.read(&mut question);
        }
    }
}

/// How honest clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    Udp,
    Tcp,
}

/// Running clients, and what they count.
pub struct Clients {
    asked: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    _crew: Crew,
}

impl Clients {
    pub fn start(
        space: &Space,
        processor: usize,
        from: &[SocketAddr],
        to: SocketAddr,
        asking: Asking,
    ) -> Result<Self> {
        let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut crew = Crew::default();
        match asking {
            Asking::Udp => {
                let (from, asked, answered) = (from.to_vec(), Arc::clone(&asked), Arc::clone(&answered));
                crew.add(space, processor, move |over| {
                    let _ = ask_by_udp(&from, to, over, &asked, &answered);
                })?;
            }
            Asking::Tcp => {
                let gap = Duration::from_micros(1_000_000 * from.len() as u64 / CONNECTIONS);
                for (place, from) in (0..).zip(from.iter().copied()) {
                    let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
                    crew.add(space, processor, move |over| {
                        thread::sleep(gap / 16 * place);
                        ask_by_tcp(from, to, gap, over, &asked, &answered);
                    })?;
                }
            }
        }
        Ok(Self { asked, answered, _crew: crew })
    }

    /// Questions and answers so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.answered.load(Ordering::Relaxed))
    }
}

fn ask_by_udp(
    from: &[SocketAddr],
    to: SocketAddr,
    over: &AtomicBool,
    asked: &AtomicU64,
    answered: &AtomicU64,
) -> io::Result<()> {
    let mut sockets = Vec::new();
    for from in from {
        let socket = UdpSocket::bind(from)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let (start, mut count, mut answer) = (Instant::now(), 0u64, [0; 64]);
    while !over.load(Ordering::Relaxed) {
        let due = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX) * QUESTIONS / 1_000_000;
        while count < due {
            let socket = &sockets[usize::try_from(count).unwrap_or_default() % sockets.len()];
            let _ = socket.send(b"what is your name");
            count += 1;
        }
        asked.store(count, Ordering::Relaxed);
        for socket in &sockets {
            while socket.recv(&mut answer).is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

fn ask_by_tcp(
    from: SocketAddr,
    to: SocketAddr,
    gap: Duration,
    over: &AtomicBool,
    asked: &AtomicU64,
    answered: &AtomicU64,
) {
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < next {
            thread::sleep(next - now);
        }
        // What was missed while waiting in vain was asked in vain, too.
        let missed = Instant::now().duration_since(next).as_micros() / gap.as_micros();
        let turns = u32::try_from(missed).unwrap_or_default() + 1;
        next += gap * turns;
        asked.fetch_add(turns.into(), Ordering::Relaxed);
        if transact(from, to).is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One connection, one question, one answer.
fn transact(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let mut stream = connect(from, to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"what is the time")?;
    stream.read_exact(&mut [0; 16])
}

/// A connection from an address, closed without lingering.
fn connect(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let raw = |address: std::net::SocketAddrV4| libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    let length = u32::try_from(size_of::<libc::sockaddr_in>()).map_err(io::Error::other)?;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let linger_length = u32::try_from(size_of::<libc::linger>()).map_err(io::Error::other)?;
    // SAFETY: plain system calls whose results are checked; each reads a structure of the length that it is told, and the
    // new descriptor is nobody else's.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = libc::socket(libc::AF_INET, kind, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let fd = socket.as_raw_fd();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), linger_length);
        let (own, peer) = (raw(from), raw(to));
        if libc::bind(fd, (&raw const own).cast(), length) < 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::connect(fd, (&raw const peer).cast(), length) < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(error);
            }
            let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
            let patience = i32::try_from(PATIENCE.as_millis()).unwrap_or(300);
            if libc::poll(&raw mut poll, 1, patience) <= 0 || poll.revents & libc::POLLERR != 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

/// Asks one question after the other for so long: how many were asked, how long each answer took (sorted).
pub fn one_by_one(
    space: &Space,
    processor: usize,
    from: SocketAddr,
    to: SocketAddr,
    time: Duration,
) -> Result<(u64, Vec<Duration>)> {
    let thread = space.enter(move || -> io::Result<(u64, Vec<Duration>)> {
        processor::pin(0, processor)?;
        processor::eager(0, EAGER, SLICE)?;
        let socket = UdpSocket::bind(from)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (start, mut asked, mut took) = (Instant::now(), 0, Vec::new());
        while start.elapsed() < time {
            let sent = Instant::now();
            socket.send(b"how are you")?;
            asked += 1;
            if socket.recv(&mut [0; 64]).is_ok() {
                took.push(sent.elapsed());
            }
            thread::sleep(Duration::from_micros(300));
        }
        took.sort_unstable();
        Ok((asked, took))
    })?;
    Ok(thread.join().map_err(|_| anyhow::anyhow!("the client died"))??)
}
