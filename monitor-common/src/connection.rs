//! Open connections of services that ask for them: how many a source holds, and whether their first data is encrypted.
//!
//! In: a packet's [`Frame`](crate::parse::Frame), the words of its connection. Out: the words after it. A connection is counted
//! once its client acknowledged the server's SYN-ACK, or once the server answered one that began unseen, so a forged SYN never
//! counts. It ends with the server's FIN, with a RST that fits, or when nothing was seen of it for [`IDLE`].
//!
//! Each counted connection is 1 in the [`Holder`] that its word names, and 1 in the service's [`Open`]: taking the word away
//! by compare-and-exchange allows to take these off, so none is taken off twice.

#![expect(clippy::cast_possible_truncation, reason = "words hold parts of numbers, each at its place")]

use crate::{
    application::identify, conversation::tracking::SECOND, packet::Packet, parse::Frame, plain, request,
};

/// What is known of one connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// A [`Word`]; changed by compare-and-exchange.
    pub word: u64,
    /// A [`State`]; plain stores, of which the last one may win.
    pub state: u64,
}
plain!(Cell { word: u64, state: u64 } = 16);

/// Cells that may hold a connection.
pub const WAYS: u32 = 8;

/// The first of the cells of a connection with this hash; `cells` is a power of two.
#[inline(always)]
pub const fn first(hash: u64, cells: u32) -> u32 {
    hash as u32 & (cells - 1) & !(WAYS - 1)
}

/// Whose cell it is: bits 0..20 the place of the source's [`Holder`], then the flags below, above them the connection's tag. 0: nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

const PLACE: u64 = (1 << 20) - 1;
const USED: u64 = 1 << 20;
const TAG: u64 = u64::MAX << 25;

impl Word {
    /// It counts.
    pub const COUNTED: u64 = 1 << 21;
    /// It began unseen, and the server sent something.
    pub const ANSWERED: u64 = 1 << 22;
    /// Its client sent no data yet.
    pub const FRESH: u64 = 1 << 23;
    /// Its client's first data was not encrypted.
    pub const CLEAR: u64 = 1 << 24;

    /// Of the connection with this hash.
    #[inline(always)]
    pub const fn new(hash: u64, place: u32, flags: u64) -> Self {
        Self(hash & TAG | USED | flags | place as u64 & PLACE)
    }

    /// Whether it is of the connection with this hash.
    #[inline(always)]
    pub const fn is_of(self, hash: u64) -> bool {
        self.0 & USED != 0 && (self.0 ^ hash) & TAG == 0
    }

    #[inline(always)]
    pub const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// Place of the source's [`Holder`].
    #[inline(always)]
    pub const fn place(self) -> u32 {
        (self.0 & PLACE) as u32
    }
}

/// Silence after which a connection does not count any more: as long as a conversation is remembered.
const IDLE: u32 = coarse(3600 * SECOND);
/// What is left of that after a RST of which it is not sure that the server takes it.
const DOUBTFUL: u32 = coarse(10 * SECOND);
/// Data in flight that the server did not acknowledge when its client resets the connection: at most.
const IN_FLIGHT: u32 = 1 << 16;

/// Times are kept in units of 2^34 clock units, 1.07 seconds.
const fn coarse(now: u64) -> u32 {
    (now >> 34) as u32
}

/// The upper half: the client's next sequence number, as the server acknowledged it last. The lower half: when anything was
/// last seen of it, see [`coarse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u64);

impl State {
    #[inline(always)]
    pub const fn new(number: u32, now: u64) -> Self {
        Self((number as u64) << 32 | coarse(now) as u64)
    }

    #[inline(always)]
    pub const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The same, seen now.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self, now: u64) -> Self {
        Self::new(self.number(), now)
    }

    /// Whether nothing was seen of it for long. A moment ahead of `now` (a later tick) is not long ago.
    #[inline(always)]
    pub const fn is_idle(self, now: u64) -> bool {
        const BITS: u32 = u32::MAX >> 2;
        let age = coarse(now).wrapping_sub(self.0 as u32) & BITS;
        age >= IDLE && age < BITS / 2
    }

    /// After a RST of the client with this sequence number: 0 it is over, otherwise the state that follows. The server takes
    /// a RST that is exactly what it expects (RFC 5961, 3.2). One that lies a little ahead may follow data that is not yet
    /// acknowledged: unless anything more is seen, the connection is over soon. Any other changes nothing.
    #[inline(always)]
    pub const fn reset(self, sequence: u32, now: u64) -> u64 {
        let ahead = sequence.wrapping_sub(self.number());
        if ahead == 0 {
            0
        } else if ahead < IN_FLIGHT {
            self.0 & !0xffff_ffff | coarse(now).wrapping_sub(IDLE - DOUBTFUL) as u64 & (u32::MAX >> 2) as u64
        } else {
            self.0
        }
    }
}

/// Whether another connection may take the cell: it counts nothing, or nothing is left to count.
#[inline(always)]
pub const fn is_free(word: u64, state: u64, now: u64) -> bool {
    !Word(word).has(Word::COUNTED) || State(state).is_idle(now)
}

/// How many connections one source holds open at one service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Hash of the source at the service; 0 nobody yet.
    pub key: u64,
    /// The service's number above, how many it holds below. 0 of them: another source may take the place.
    pub open: u64,
}
plain!(Holder { key: u64, open: u64 } = 16);

impl Holder {
    /// Places that may hold a source.
    pub const WAYS: u32 = 4;

    /// The first of the places of a source with this key; `holders` is a power of two.
    #[inline(always)]
    pub const fn first(key: u64, holders: u32) -> u32 {
        (key >> 20) as u32 & (holders - 1) & !(Self::WAYS - 1)
    }

    /// Nobody's connections at a service.
    #[inline(always)]
    pub const fn none(service: u32) -> u64 {
        (service as u64) << 32
    }

    #[inline(always)]
    pub const fn count(open: u64) -> u32 {
        open as u32
    }

    #[inline(always)]
    pub const fn service(open: u64) -> u32 {
        (open >> 32) as u32
    }
}

/// Connections of one service, of all its sources.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Open now.
    pub open: u64,
    /// Since the service is followed: those whose first data was encrypted, and those whose was not.
    pub encrypted: u64,
    pub clear: u64,
}
plain!(Open { open: u64, encrypted: u64, clear: u64 } = 24);

/// The beginning of the packet's data, see [`is_encrypted`].
#[inline(always)]
pub fn first_data<P: Packet + ?Sized>(packet: &P, frame: &Frame) -> u64 {
    let start = frame.transport_offset + request::header_length(packet, frame);
    request::first_bytes(packet, start, frame.payload)
}

/// Whether the first data of a client begins an encrypted connection: TLS, SSH, or the question of `PostgreSQL` or `MySQL` for TLS.
/// Of data that is cut off early, as far as it goes. `first` are its first eight bytes, the first one highest.
#[inline(always)]
pub const fn is_encrypted(first: u64, payload: u32) -> bool {
    const SSL_REQUEST: u64 = 0x0000_0008_04d2_162f;
    const GSS_REQUEST: u64 = 0x0000_0008_04d2_1630;
    const HANDSHAKE: u64 = 0x1603 << 48;
    const SSH: u64 = 0x5353_482d << 32;
    const UPPER_TWO: u64 = 0xffff << 48;
    const UPPER_FOUR: u64 = 0xffff_ffff << 32;
    let here = if payload >= 8 { u64::MAX } else { !(u64::MAX >> (payload * 8)) };
    let tls =
        (first ^ HANDSHAKE) & UPPER_TWO & here == 0 && (payload < 6 || identify::is_tls(first, payload));
    let ssh = (first ^ SSH) & UPPER_FOUR & here == 0;
    let postgresql = (first ^ SSL_REQUEST) & here == 0 || (first ^ GSS_REQUEST) & here == 0;
    // A login packet that ends behind the capabilities, of which TLS is one.
    let mysql = payload == 36 && first >> 32 == 0x2000_0001 && first >> 16 & 0x08 != 0;
    tls || ssh || postgresql || mysql
}

#[cfg(test)]
mod tests;
