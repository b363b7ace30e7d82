//! Challenge: the SYN-ACK that answers a SYN in the host's place, with a cookie for a sequence number.
//!
//! In: the headers of a SYN, what the listener's own SYN-ACKs said, a cookie of the kernel. Out: the headers of the answer, never
//! longer than the question. The options are encoded as Linux does it in its own cookies: window scale and SACK are in the low
//! bits of the timestamp, so without timestamps only the segment size survives (`net/ipv4/syncookies.c`).

use crate::plain;

mod listener;
mod options;
pub mod question;

pub use listener::{Heard, LISTENED, Listener, place, tag};
pub use options::{MOST_TURNS, Options, step};

/// Bytes of the longest IP header that is answered.
pub const IP: usize = 40;
/// Room for a TCP header: sixty bytes, and what masked reads of options may reach.
pub const TCP: usize = 96;
/// Bytes of a TCP header without options.
pub const BARE: u32 = 20;
/// The longest answer: segment size, SACK, timestamp and window scale.
const LONGEST: usize = 40;
/// Linux: `TSBITS` of the timestamp are for options.
const STAMP_BITS: u32 = 6;
const NO_SCALE: u32 = 0xf;
const STAMP_SACK: u32 = 1 << 4;
const SYN_ACK: u8 = 0x12;
const TCP_PROTOCOL: u8 = 6;

/// What the host would accept from a cookie, bits of [`Settings::flags`](crate::rule::Settings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities(pub u32);

impl Abilities {
    #[inline(always)]
    const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// The headers of a packet, an IPv6 header at the beginning of `ip`, an IPv4 header in its second half: so both end where TCP begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub ip: [u8; IP],
    pub tcp: [u8; TCP],
}
plain!(Headers { ip: [u8; IP], tcp: [u8; TCP] } = 136);

/// What an answer says beside what it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub cookie: u32,
    /// The host's clock of timestamps, in milliseconds.
    pub now: u32,
    pub listener: Listener,
    pub abilities: Abilities,
}

/// Turns the headers of a SYN into those of its answer; the bytes of the TCP header.
#[inline(always)]
pub fn answer(headers: &mut Headers, options: &Options, with: &Answer, is_v4: bool) -> u32 {
    let length = tcp(&mut headers.tcp, options, with);
    let pseudo = turn(&mut headers.ip, is_v4, length, u32::from(TCP_PROTOCOL), with.listener.hops());
    let checksum = folded(pseudo + sum::<LONGEST>(&headers.tcp, 0));
    [headers.tcp[16], headers.tcp[17]] = checksum.to_be_bytes();
    length
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "sixteen bits and less of numbers that were masked")]
fn tcp(tcp: &mut [u8; TCP], options: &Options, with: &Answer) -> u32 {
    use crate::rule::setting::{COOKIE_SACK, COOKIE_STAMPS, COOKIE_WINDOWS};

    swap(tcp, 0, 2, 2);
    let question = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    put(tcp, 4, with.cookie);
    put(tcp, 8, question.wrapping_add(1));
    let mut at = BARE as usize;
    while at < BARE as usize + LONGEST {
        tcp[at] = 0;
        at += 1;
    }
    let stamps = fresh(&options.stamped) & u32::from(with.abilities.has(COOKIE_STAMPS));
    let sack = stamps & fresh(&options.sack) & u32::from(with.abilities.has(COOKIE_SACK));
    let scale = with.listener.scale();
    let scaled = stamps
        & u32::from(fresh(&options.scale) < NO_SCALE)
        & u32::from(scale < NO_SCALE)
        & u32::from(with.abilities.has(COOKIE_WINDOWS));
    let mut length = BARE;
    // Without a segment size there is no room for one, and nobody sends such a SYN but to be small.
    if fresh(&options.segment) != 0 {
        put(tcp, 20, 2 << 24 | 4 << 16 | with.listener.segment());
        length = BARE + 4;
        if stamps != 0 {
            // SACK permitted, or two bytes of padding, then the timestamp.
            put(tcp, 24, if sack == 0 { 0x0101_080a } else { 0x0402_080a });
            let theirs = if scaled == 0 { NO_SCALE } else { fresh(&options.scale) };
            put(tcp, 28, stamp(with.now, theirs | (sack * STAMP_SACK)));
            put(tcp, 32, fresh(&options.stamp));
            length = BARE + 16;
            if scaled != 0 {
                put(tcp, 36, 0x0103_0300 | scale);
                length = BARE + 20;
            }
        }
    }
    tcp[12] = (length << 2) as u8;
    tcp[13] = SYN_ACK;
    put(tcp, 14, with.listener.window() << 16);
    put_half(tcp, 18, 0);
    length
}

/// A timestamp not after `now` that says the options: Linux, `cookie_init_timestamp`.
#[inline(always)]
const fn stamp(now: u32, options: u32) -> u32 {
    let mask = (1 << STAMP_BITS) - 1;
    let stamp = now & !mask | options;
    // The clock may turn over.
    if options > now & mask { stamp.wrapping_sub(1 << STAMP_BITS) } else { stamp }
}

/// Turns an IP header into that of an answer with so many bytes behind it; the sum of the pseudo header.
#[inline(always)]
pub fn turn(ip: &mut [u8; IP], is_v4: bool, length: u32, protocol: u32, hops: u8) -> u32 {
    let addresses = if is_v4 {
        v4(ip, length, protocol, hops);
        sum::<8>(ip, 32)
    } else {
        v6(ip, length, protocol, hops);
        sum::<32>(ip, 8)
    };
    addresses + protocol + length
}

#[inline(always)]
fn v4(ip: &mut [u8; IP], length: u32, protocol: u32, hops: u8) {
    put(ip, 20, 0x4500_0000 | (20 + length));
    // Not to be fragmented, and so without an identification, as Linux does.
    put(ip, 24, 0x4000);
    put(ip, 28, u32::from(hops) << 24 | protocol << 16);
    swap(ip, 32, 36, 4);
    let checksum = folded(sum::<20>(ip, 20));
    put_half(ip, 30, checksum);
}

#[inline(always)]
fn v6(ip: &mut [u8; IP], length: u32, protocol: u32, hops: u8) {
    put(ip, 0, 0x6000_0000);
    put(ip, 4, length << 16 | protocol << 8 | u32::from(hops));
    swap(ip, 8, 24, 16);
}

#[inline(always)]
fn put<const N: usize>(bytes: &mut [u8; N], at: usize, word: u32) {
    let [a, b, c, d] = word.to_be_bytes();
    (bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]) = (a, b, c, d);
}

#[inline(always)]
fn put_half<const N: usize>(bytes: &mut [u8; N], at: usize, half: u16) {
    [bytes[at], bytes[at + 1]] = half.to_be_bytes();
}

#[inline(always)]
fn swap<const N: usize>(bytes: &mut [u8; N], one: usize, other: usize, count: usize) {
    let mut at = 0;
    while at < count {
        bytes.swap(one + at, other + at);
        at += 1;
    }
}

/// The sum of `COUNT` bytes as halves of words (RFC 1071), not yet folded.
#[inline(always)]
fn sum<const COUNT: usize>(bytes: &[u8], from: usize) -> u32 {
    let mut sum = 0;
    let mut at = 0;
    while at < COUNT {
        sum += u32::from(u16::from_be_bytes([bytes[from + at], bytes[from + at + 1]]));
        at += 2;
    }
    sum
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded to sixteen bits")]
const fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    !((once & 0xffff) + (once >> 16)) as u16
}

/// Reads a field back: the verifier then follows one unknown number.
#[inline(always)]
pub(crate) fn fresh(field: &u32) -> u32 {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

#[cfg(test)]
mod tests;
