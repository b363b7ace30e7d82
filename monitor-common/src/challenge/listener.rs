//! What a listener says of itself in its own SYN-ACKs. An answer in its place says the same.
//!
//! A listener that has said nothing for [`LISTENED`] is none: Linux takes a cookie only of one that sent cookies within the last
//! two minutes (`tcp_synq_no_recent_overflow`), and one that is gone must not be answered for.

use super::options::Options;
use crate::{names::capacity::LISTENERS, plain};

/// How long a SYN-ACK speaks for its listener: a minute, in clock units.
pub const LISTENED: u64 = 60 * 16_000_000_000;

/// What was heard of a listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// A [`Listener`].
    pub word: u64,
    /// When it spoke last, in clock units; the lowest bits are its [`tag`].
    pub at: u64,
}
plain!(Heard { word: u64, at: u64 } = 16);

/// Port, window, segment size, hops and window scale, from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener(pub u64);

const SCALE: u64 = 0xf;

impl Listener {
    /// From the parts of a SYN-ACK. A client without a window scale hears none; what is known from `before` holds.
    #[inline(always)]
    pub const fn heard(port: u16, window: u16, hops: u8, segment: u32, scale: u32, before: Self) -> Self {
        let scale = if scale != Options::NO_SCALE {
            scale as u64
        } else if before.port() == port {
            before.0 & SCALE
        } else {
            SCALE
        };
        let segment = (segment as u64 & 0xffff) << 16;
        Self((port as u64) << 48 | (window as u64) << 32 | segment | (hops as u64) << 8 | scale & SCALE)
    }

    #[inline(always)]
    pub const fn port(self) -> u16 {
        (self.0 >> 48) as u16
    }

    #[inline(always)]
    pub const fn window(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a part of the word")]
    pub const fn segment(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "as above")]
    pub const fn hops(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// 15: none.
    #[inline(always)]
    pub const fn scale(self) -> u32 {
        (self.0 & SCALE) as u32
    }
}

/// The place of a port on an interface.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a part of the word")]
pub const fn place(interface: u32, port: u16, is_v4: bool) -> u32 {
    (port as u32 + tag(interface, is_v4) as u32 * 61) & (LISTENERS - 1)
}

/// What tells a port's entries of several interfaces and of both families apart.
#[inline(always)]
pub const fn tag(interface: u32, is_v4: bool) -> u64 {
    (interface as u64 & 0xf) << 1 | is_v4 as u64
}

impl Heard {
    #[inline(always)]
    pub const fn new(listener: Listener, now: u64, interface: u32, is_v4: bool) -> Self {
        Self { word: listener.0, at: now & !0xff | 0x80 | tag(interface, is_v4) }
    }

    /// Whether it is of this port, and not too long ago.
    #[inline(always)]
    pub const fn speaks_for(&self, port: u16, interface: u32, is_v4: bool, now: u64) -> bool {
        self.at & 0xff == 0x80 | tag(interface, is_v4)
            && Listener(self.word).port() == port
            && now.wrapping_sub(self.at & !0xff) < LISTENED
    }
}
