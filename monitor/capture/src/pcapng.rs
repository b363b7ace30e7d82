//! pcapng: blocks of any order of bytes, section by section (draft-ietf-opsawg-pcapng).
//!
//! Times are scaled by what each interface says of its clock. A packet that its own block contradicts, or of an interface
//! that was never described, comes out without data or link type; whatever else is in the file is passed over.

use std::io::Read;
use std::ops::Range;

use super::stream::Stream;
use super::{Broken, Found, LONGEST_PACKET, NoCapture, u16_at, u32_at, u64_at};

/// How every section begins, in either order.
pub const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const ORDER: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
/// Type and length before a block, length after it.
const FRAMING: usize = 12;
/// Blocks that carry no packet may be long; nothing is longer than this.
const LONGEST_BLOCK: usize = 16 * LONGEST_PACKET;

const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Where a file stands.
#[derive(Debug)]
pub struct PcapNg {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Link types of all sections.
    link_types: Vec<u16>,
    /// Simple packets have no time: they came when the one before did.
    last_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u16,
    /// 0: nothing was cut.
    snap_length: u32,
    clock: Clock,
}

/// How an interface counts time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    unit: Unit,
    offset_seconds: i64,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    /// 10 to the minus so many seconds.
    Decimal(u8),
    /// 2 to the minus so many seconds.
    Binary(u8),
}

impl PcapNg {
    /// Looks at the first section, which stays to be read.
    pub fn new<R: Read>(stream: &mut Stream<R>) -> Result<Self, NoCapture> {
        let unknown = || NoCapture::Other("it begins like pcapng and does not go on so".to_owned());
        let head = stream.peek(FRAMING).map_err(|_| unknown())?;
        let big_endian = order(head).ok_or_else(unknown)?;
        Ok(Self { big_endian, interfaces: Vec::new(), link_types: Vec::new(), last_ns: 0 })
    }

    pub fn link_types(&self) -> &[u16] {
        &self.link_types
    }

    pub fn read<R: Read>(&mut self, stream: &mut Stream<R>) -> Result<Option<Found>, Broken> {
        loop {
            if stream.at_end()? {
                return Ok(None);
            }
            let head = stream.peek(FRAMING)?;
            if head.starts_with(&SECTION) {
                self.big_endian =
                    order(head).ok_or_else(|| Broken::Damaged("a section without an order".to_owned()))?;
                self.interfaces.clear();
            }
            let kind = u32_at(head, 0, self.big_endian);
            let length = u32_at(head, 4, self.big_endian);
            let size = length as usize;
            if !(FRAMING..=LONGEST_BLOCK).contains(&size) || !size.is_multiple_of(4) {
                return Err(Broken::Damaged(format!("a block of {length} bytes")));
            }
            let block = stream.take(size)?;
            let body = block.start + 8..block.end - 4;
            let bytes = stream.taken(body.clone());
            match kind {
                INTERFACE => self.interface(bytes),
                ENHANCED_PACKET => return Ok(Some(self.enhanced(bytes, &body))),
                PACKET => return Ok(Some(self.obsolete(bytes, &body))),
                SIMPLE_PACKET => return Ok(Some(self.simple(bytes, &body))),
                _ => {}
            }
        }
    }

    fn interface(&mut self, body: &[u8]) {
        let link_type = u16_at(body, 0, self.big_endian);
        let clock = Clock::of(body.get(8..).unwrap_or_default(), self.big_endian);
        self.interfaces.push(Interface { link_type, snap_length: u32_at(body, 4, self.big_endian), clock });
        self.link_types.push(link_type);
    }

    fn enhanced(&mut self, bytes: &[u8], body: &Range<usize>) -> Found {
        let word = |at| u32_at(bytes, at, self.big_endian);
        let [interface, high, low, captured, length] = [0, 4, 8, 12, 16].map(word);
        self.found(interface, [high, low], captured, length, body.start + 20..body.end)
    }

    /// The block that enhanced packets replaced.
    fn obsolete(&mut self, bytes: &[u8], body: &Range<usize>) -> Found {
        let interface = u32::from(u16_at(bytes, 0, self.big_endian));
        let word = |at| u32_at(bytes, at, self.big_endian);
        let [high, low, captured, length] = [4, 8, 12, 16].map(word);
        self.found(interface, [high, low], captured, length, body.start + 20..body.end)
    }

    fn found(
        &mut self,
        interface: u32,
        [high, low]: [u32; 2],
        captured: u32,
        length: u32,
        room: Range<usize>,
    ) -> Found {
        let interface = self.interfaces.get(interface as usize);
        let ticks = u64::from(high) << 32 | u64::from(low);
        self.last_ns = interface.map_or(self.last_ns, |interface| interface.clock.nanoseconds(ticks));
        let size = captured as usize;
        let fits = size <= LONGEST_PACKET && size <= room.end.saturating_sub(room.start);
        Found {
            at_ns: self.last_ns,
            link_type: interface.map(|interface| interface.link_type),
            big_endian: self.big_endian,
            length: length.max(if fits { captured } else { 0 }),
            data: if fits { room.start..room.start + size } else { 0..0 },
        }
    }

    /// A packet of the first interface, cut to its snap length.
    fn simple(&self, bytes: &[u8], body: &Range<usize>) -> Found {
        let length = u32_at(bytes, 0, self.big_endian);
        let interface = self.interfaces.first();
        let cut = interface.map(|interface| interface.snap_length).filter(|cut| *cut != 0);
        let captured = length.min(cut.unwrap_or(u32::MAX)) as usize;
        let room = body.start + 4..body.end;
        let size = captured.min(room.end.saturating_sub(room.start));
        Found {
            at_ns: self.last_ns,
            link_type: interface.map(|interface| interface.link_type),
            big_endian: self.big_endian,
            length,
            data: room.start..room.start + size,
        }
    }
}

/// The order of a section's bytes, from its head.
fn order(head: &[u8]) -> Option<bool> {
    let magic: [u8; 4] = super::number(head, 8);
    let mut reversed = ORDER;
    reversed.reverse();
    if magic == ORDER { Some(true) } else { (magic == reversed).then_some(false) }
}

impl Clock {
    /// From an interface's options: `if_tsresol` (9) and `if_tsoffset` (14).
    fn of(mut options: &[u8], big_endian: bool) -> Self {
        let mut clock = Self { unit: Unit::Decimal(6), offset_seconds: 0 };
        while options.len() >= 4 {
            let (code, length) = (u16_at(options, 0, big_endian), u16_at(options, 2, big_endian));
            let value = options.get(4..).unwrap_or_default();
            match (code, length, value.first()) {
                (0, _, _) => break,
                (9, 1, Some(unit)) if unit & 0x80 == 0 => clock.unit = Unit::Decimal(*unit),
                (9, 1, Some(unit)) => clock.unit = Unit::Binary(unit & 0x7f),
                (14, 8, _) => clock.offset_seconds = u64_at(value, 0, big_endian).cast_signed(),
                _ => {}
            }
            options = value.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        }
        clock
    }

    /// Nanoseconds since the epoch; what lies before it, or beyond the year 2554, is at the bound.
    fn nanoseconds(self, ticks: u64) -> u64 {
        const SECOND: i128 = 1_000_000_000;
        let ticks = i128::from(ticks);
        let passed = match self.unit {
            Unit::Decimal(digits @ 0..=9) => ticks * 10_i128.pow(u32::from(9 - digits)),
            // Beyond 10^38 nothing of 64 bits is left.
            Unit::Decimal(digits @ 10..=47) => ticks / 10_i128.pow(u32::from(digits - 9)),
            Unit::Decimal(_) => 0,
            Unit::Binary(bits) => (ticks * SECOND) >> bits.min(126),
        };
        let at = passed + i128::from(self.offset_seconds) * SECOND;
        u64::try_from(at.max(0)).unwrap_or(u64::MAX)
    }
}
