//! A fast, bounded flood: one frame with changing sources, many at a time, out of one interface of a private namespace.
//!
//! It stops by itself when its time is over. Frames leave through a packet socket, past the sender's own stack.

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::network::Space;

/// Frames per system call.
const BATCH: u32 = 64;

/// Whose frames they seem to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// As the frame says.
    One,
    /// So many following addresses, beginning with the frame's.
    Few(u32),
    /// Any IPv4 address, or any of 2^64 networks of IPv6.
    Spoofed,
}

/// What to send, how fast and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub interface: String,
    pub frame: Vec<u8>,
    pub sources: Sources,
    /// Frames a second; 0: as fast as it goes.
    pub per_second: u64,
    pub time: Duration,
}

/// A running flood; dropping it ends it.
#[derive(Debug)]
pub struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Flood {
    /// Starts within `space`.
    pub fn start(space: &Space, plan: Plan) -> Result<Self> {
        ensure!(plan.time <= Duration::from_mins(1), "a flood of more than a minute");
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (flag, count) = (Arc::clone(&over), Arc::clone(&sent));
        let thread = space.enter(move || send(&plan, &flag, &count))?;
        Ok(Self { over, sent, thread: Some(thread) })
    }

    /// Frames so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; the number of frames.
    pub fn stop(mut self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until its time is over; the number of frames.
    pub fn wait(mut self) -> Result<u64> {
        self.finish()
    }

    fn finish(&mut self) -> Result<u64> {
        if let Some(thread) = self.thread.take() {
            thread.join().ok().context("the flood's thread died")?.context("send the flood")?;
        }
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.finish();
    }
}

/// Sets the changing part of a frame's source and the checksums that cover it: what is wrong in them dies on the way.
#[derive(Debug)]
struct Spoofer {
    /// Where the four bytes stand: the whole of an IPv4 source, the second quarter of an IPv6 one.
    at: usize,
    first: u32,
    /// Where checksums stand, and what they are for the first source.
    sums: Vec<(usize, u16)>,
}

impl Spoofer {
    fn new(frame: &[u8]) -> Self {
        let mut ip = 14;
        while matches!(frame[ip - 2..ip], [0x81, 0x00] | [0x88, 0xa8]) {
            ip += 4;
        }
        let v6 = frame[ip - 2..ip] == [0x86, 0xdd];
        let (at, protocol, upper) =
            if v6 { (ip + 12, frame[ip + 6], ip + 40) } else { (ip + 12, frame[ip + 9], ip + 20) };
        let mut places = if v6 { Vec::new() } else { vec![ip + 10] };
        match protocol {
            6 => places.push(upper + 16),
            17 => places.push(upper + 6),
            58 => places.push(upper + 2),
            _ => {}
        }
        let pair = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let first = u32::from(pair(at)) << 16 | u32::from(pair(at + 2));
        Self { at, first, sums: places.into_iter().map(|place| (place, pair(place))).collect() }
    }

    fn set(&self, frame: &mut [u8], source: u32) {
        frame[self.at..self.at + 4].copy_from_slice(&source.to_be_bytes());
        for (place, sum) in &self.sums {
            // RFC 1624, equation 3.
            let mut new = u32::from(!sum) + (!self.first >> 16) + (!self.first & 0xffff);
            new += (source >> 16) + (source & 0xffff);
            while new >> 16 != 0 {
                new = (new & 0xffff) + (new >> 16);
            }
            let new = !u16::try_from(new).unwrap_or_default();
            frame[*place..*place + 2].copy_from_slice(&new.to_be_bytes());
        }
    }
}

/// Sends each of these frames once, as they are, from the namespace of this thread.
///
/// # Errors
/// When there is no such interface, or it takes none of a frame.
pub fn send_each(interface: &str, frames: &[Vec<u8>]) -> io::Result<()> {
    let socket = open(interface)?;
    for frame in frames {
        // SAFETY: the call reads as many bytes as the frame has.
        let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn open(interface: &str) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call whose result is checked.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let name = CString::new(interface)?;
    // SAFETY: the name is a string that ends with zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: an address is plain data, and zero is valid for every field.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_ifindex = index.cast_signed();
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    let one = 1i32;
    let one_length = u32::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    let fd = socket.as_raw_fd();
    // SAFETY: both calls read structures of the lengths that they are told.
    let bound = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const one).cast(),
            one_length,
        );
        libc::bind(fd, (&raw const address).cast(), length)
    };
    if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

fn send(plan: &Plan, over: &AtomicBool, sent: &AtomicU64) -> io::Result<()> {
    let socket = open(&plan.interface)?;
    let spoofer = Spoofer::new(&plan.frame);
    let mut frames = vec![plan.frame.clone(); BATCH as usize];
    let mut pieces = frames
        .iter_mut()
        .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() })
        .collect::<Vec<_>>();
    let mut messages = pieces
        .iter_mut()
        .map(|piece| {
            // SAFETY: a message header is plain data, and zero is valid for every field.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect::<Vec<_>>();
    let (start, mut count, mut state) = (Instant::now(), 0u64, 0x2545_f491_4f6c_dd1d_u64);
    while !over.load(Ordering::Relaxed) && start.elapsed() < plan.time {
        if plan.per_second != 0 {
            let due = start.elapsed().as_micros() * u128::from(plan.per_second) / 1_000_000;
            if u128::from(count) > due {
                thread::sleep(Duration::from_micros(200));
                continue;
            }
        }
        for (frame, step) in frames.iter_mut().zip(0u64..) {
            let source = match plan.sources {
                Sources::One => break,
                Sources::Few(many) => {
                    // Less than `many`, so it fits.
                    let place = u32::try_from((count + step) % u64::from(many)).unwrap_or_default();
                    spoofer.first.wrapping_add(place)
                }
                Sources::Spoofed => {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    u32::try_from(state >> 32).unwrap_or_default()
                }
            };
            spoofer.set(frame, source);
        }
        // SAFETY: the messages point to pieces, which point to frames; all live until the end of this function.
        let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH, 0) };
        if done > 0 {
            count += u64::from(done.cast_unsigned());
            sent.store(count, Ordering::Relaxed);
        } else {
            // The peer's queue is full: yield to it.
            thread::yield_now();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Spoofer;
    use crate::harness::packet::{flag, packet, packet6};

    #[test]
    fn a_spoofed_frame_is_what_would_have_been_built_for_that_source() {
        let mut frame = packet().vlan(7).udp(4000, 53).payload_bytes(3).build();
        Spoofer::new(&frame).set(&mut frame, u32::from_be_bytes([192, 0, 2, 255]));
        assert_eq!(frame, packet().vlan(7).source("192.0.2.255").udp(4000, 53).payload_bytes(3).build());

        let mut frame = packet6().tcp(4000, 80, flag::SYN).build();
        Spoofer::new(&frame).set(&mut frame, 0xabcd_ef01);
        assert_eq!(frame, packet6().source("fd00:1:abcd:ef01::1").tcp(4000, 80, flag::SYN).build());
    }
}
