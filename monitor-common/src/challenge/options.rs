//! The options of a TCP header, one a step.

use super::{BARE, TCP, fresh};
use crate::plain;

/// Options of the longest header that is read: each turn of a loop takes one.
pub const MOST_TURNS: u32 = 40;
/// The largest scale that anybody means (RFC 7323, 2.3).
const LARGEST_SCALE: u32 = 14;

/// What a SYN or a SYN-ACK offers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Segment size; 0 none.
    pub segment: u32,
    /// Window scale; [`Options::NO_SCALE`] none.
    pub scale: u32,
    /// 1 when selective acknowledgements are permitted; so for the next.
    pub sack: u32,
    pub stamped: u32,
    pub stamp: u32,
    /// Where the next option stands, behind the first twenty bytes.
    at: u32,
}
plain!(Options { segment: u32, scale: u32, sack: u32, stamped: u32, stamp: u32, at: u32 } = 24);

impl Options {
    pub const NO_SCALE: u32 = 0xff;
    /// Before the first step.
    pub const NONE: Self = Self { segment: 0, scale: Self::NO_SCALE, sack: 0, stamped: 0, stamp: 0, at: 0 };
}

/// Reads the next option of a header of `length` bytes; false when there is none.
#[inline(always)]
pub fn step(tcp: &[u8; TCP], length: u32, options: &mut Options) -> bool {
    let at = fresh(&options.at);
    let end = length - BARE;
    if at >= end {
        return false;
    }
    let from = (BARE + (at & 0x3f)) as usize;
    let (kind, size) = (tcp[from], u32::from(tcp[from + 1]));
    if kind == 0 {
        return false;
    }
    if kind == 1 {
        options.at = at + 1;
        return true;
    }
    if size < 2 || at + size > end {
        return false;
    }
    let word =
        |place: usize| u32::from_be_bytes([tcp[place], tcp[place + 1], tcp[place + 2], tcp[place + 3]]);
    match (kind, size) {
        (2, 4) => options.segment = word(from) & 0xffff,
        (3, 3) => {
            let scale = u32::from(tcp[from + 2]);
            options.scale = if scale > LARGEST_SCALE { LARGEST_SCALE } else { scale };
        }
        (4, 2) => options.sack = 1,
        (8, 10) => {
            options.stamped = 1;
            options.stamp = word(from + 2);
        }
        _ => {}
    }
    options.at = at + size;
    true
}

impl Options {
    /// All options of a header of `length` bytes.
    pub fn read(tcp: &[u8; TCP], length: u32) -> Self {
        let mut options = Self::NONE;
        let mut turn = 0;
        while turn < MOST_TURNS && step(tcp, length, &mut options) {
            turn += 1;
        }
        options
    }
}
