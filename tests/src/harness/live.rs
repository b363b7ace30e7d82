//! Live frames out of an interface of a private namespace, made by the kernel: millions a second, at a steady rate, each
//! from a source of its own; and the bare drop that a guard is compared with.
//!
//! In: a namespace, a frame, sources, a rate, a time. Out: how many were sent. Both end when they are dropped, and bounded
//! numbers of attempts end a flood even if nobody does.

use std::{
    ffi::CString,
    io,
    os::{fd::AsFd as _, unix::thread::JoinHandleExt as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::{Xdp, xdp::XdpMode},
};

use super::{kernel, network::Space, processor, traffic};

/// Attempts before those frames that were due leave together: about 20 us of them, as a network card moderates its interrupts.
const BATCH: u32 = 256;
/// More attempts than a second has room for: most of them find that no frame is due.
const ATTEMPTS_PER_SECOND: u32 = 40_000_000;

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose other end receives.
    pub interface: String,
    /// Untagged, IPv4, with the right checksums for its source; UDP without a checksum.
    pub frame: Vec<u8>,
    /// The first source, and how many: a power of two.
    pub first: u32,
    pub sources: u64,
    pub per_second: u64,
    pub at_most: Duration,
    /// The processor to run on.
    pub processor: usize,
}

/// A running flood of live frames.
#[expect(missing_debug_implementations, reason = "the map has none")]
pub struct LiveFlood {
    over: Arc<AtomicBool>,
    pace: Array<MapData, [u64; 5]>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

extern "C" fn wake(_signal: libc::c_int) {}

/// A signal that does nothing but end a system call.
fn listen_to_the_end() {
    // SAFETY: an action is plain data, zero is valid for every field, and the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = wake as extern "C" fn(libc::c_int) as libc::sighandler_t;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
}

fn load(only: &str) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("EXACT", 1).map_max_entries("LRU", 128);
    let mut ebpf = loader.load(traffic::object()?).context("load the generators")?;
    let program: &mut Xdp = ebpf.program_mut(only).with_context(|| format!("program {only}"))?.try_into()?;
    datapath::uninterrupted(|| program.load()).with_context(|| format!("load {only}"))?;
    Ok(ebpf)
}

impl LiveFlood {
    pub fn start(space: &Space, plan: Plan) -> Result<Self> {
        ensure!(plan.at_most <= Duration::from_secs(20), "a flood of more than 20 seconds");
        ensure!(plan.sources.is_power_of_two() && plan.per_second > 0, "{plan:?}");
        listen_to_the_end();
        let mut ebpf = load("live")?;
        let mut pace: Array<_, [u64; 5]> = Array::try_from(ebpf.take_map("PACE").context("map PACE")?)?;
        pace.set(0, [1_000_000_000 / plan.per_second, 0, 0, plan.sources - 1, u64::from(plan.first)], 0)?;
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        let thread = space.enter(move || send(&ebpf, &plan, &flag))?;
        Ok(Self { over, pace, thread: Some(thread) })
    }

    /// Frames so far.
    pub fn sent(&self) -> Result<u64> {
        Ok(self.pace.get(&0, 0)?[2])
    }

    /// Ends it; the number of frames.
    pub fn stop(mut self) -> Result<u64> {
        self.finish()?;
        self.sent()
    }

    fn finish(&mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        while !thread.is_finished() {
            // SAFETY: the thread was not joined, so its handle is its own; the signal has a handler.
            unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
            thread::sleep(Duration::from_millis(2));
        }
        thread.join().ok().context("the flood's thread died")?.context("send live frames")
    }
}

impl Drop for LiveFlood {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

fn send(ebpf: &Ebpf, plan: &Plan, over: &AtomicBool) -> io::Result<()> {
    processor::pin(0, plan.processor)?;
    // It never waits, so everybody else comes before it.
    processor::eager(0, -5, Duration::from_micros(200))?;
    let name = CString::new(plan.interface.as_str())?;
    // SAFETY: the name is a string that ends with zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    let program: &Xdp =
        ebpf.program("live").and_then(|program| program.try_into().ok()).ok_or(io::ErrorKind::NotFound)?;
    let program = program.fd().map_err(io::Error::other)?.as_fd();
    let seconds = u32::try_from(plan.at_most.as_secs()).unwrap_or(1).max(1);
    let attempts = ATTEMPTS_PER_SECOND * seconds;
    if over.load(Ordering::Relaxed) {
        return Ok(());
    }
    match kernel::send(program, &plan.frame, index, attempts, BATCH) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

/// A drop at once of all that does not come from one network, on an interface of a namespace.
#[derive(Debug)]
pub struct BareDrop {
    _ebpf: Ebpf,
}

impl BareDrop {
    /// Lets only sources pass whose first 16 bits are these.
    pub fn attach(space: &Space, interface: &str, network: u16) -> Result<Self> {
        let mut ebpf = load("bare_drop")?;
        let mut allowed: Array<_, u64> = Array::try_from(ebpf.map_mut("STEP").context("map STEP")?)?;
        allowed.set(0, u64::from(network), 0)?;
        let interface = interface.to_owned();
        let thread = space.enter(move || -> Result<Ebpf> {
            let program: &mut Xdp = ebpf.program_mut("bare_drop").context("program bare_drop")?.try_into()?;
            program.attach(&interface, XdpMode::Driver).context("attach the bare drop")?;
            Ok(ebpf)
        })?;
        Ok(Self { _ebpf: thread.join().ok().context("the attaching thread died")?? })
    }
}
