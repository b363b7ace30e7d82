//! The sketch that stands before the exact table in a flood: GCRA words under a keyed hash.
//!
//! A source owns [`ROWS`] cells of one cache line. Its debt is at most the smaller of them, so a source whose smaller cell
//! is light is surely light; updates are conservative (no cell is raised above the smaller plus the cost), which keeps
//! strangers' noise low. The key is random when the maps are made, so collisions cannot be crafted from outside. That both cells
//! share a line costs a little accuracy and saves a cache miss per packet, which in a flood is what counts.

use crate::names::capacity::BAN_FILTER_WORDS;

/// Cells that a source owns.
pub const ROWS: u32 = 2;
/// Cells in a cache line: the value of the sketch's map.
pub const CELLS_PER_LINE: u32 = 8;

/// A cache line of cells.
pub type Line = [u64; CELLS_PER_LINE as usize];

/// A 64-bit keyed hash of a source: two rounds of multiply and fold with 128-bit key material. The bans' filter takes it.
///
/// Not a cryptographic MAC; it has to be unguessable to a sender who sees nothing of its output.
#[inline(always)]
pub const fn source(key: [u64; 2], high: u64, low: u64) -> u64 {
    // All of IPv4 has the same upper half, which needs no mixing then.
    let upper = if high == 0 { key[0] } else { mix(high ^ key[0]) };
    mix(upper ^ low.wrapping_add(key[1]))
}

/// The hash of a source at a service, from [`source`]'s. The exact table and the sketch take it.
///
/// A source's own is mixed well, so a word that differs for each service is enough to spread its entries.
#[inline(always)]
pub const fn at_service(source: u64, service: u32) -> u64 {
    source ^ (service as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The word and the bit of a source in the filter before bans and containments.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to the filter")]
pub const fn banned(source: u64) -> (u32, u64) {
    ((source >> 6) as u32 & (BAN_FILTER_WORDS - 1), 1 << (source & 63))
}

/// Both in one.
#[inline(always)]
pub const fn hash(key: [u64; 2], high: u64, low: u64, service: u32) -> u64 {
    at_service(source(key, high, low), service)
}

/// A bijective finaliser (the constants are those of the splitmix64 generator, public domain).
#[inline(always)]
pub const fn mix(mut word: u64) -> u64 {
    word ^= word >> 32;
    word = word.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^= word >> 29;
    word = word.wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 32)
}

/// Lines of a sketch with `cells` cells for each of a source's [`ROWS`]; `cells` is a power of two, at least 8.
#[inline(always)]
pub const fn lines(cells: u32) -> u32 {
    ROWS * cells / CELLS_PER_LINE
}

/// The line of a source with `hash`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
pub const fn line(hash: u64, cells: u32) -> u32 {
    (hash as u32) & (lines(cells) - 1)
}

/// The source's two cells in its line; they differ.
#[inline(always)]
pub const fn places(hash: u64) -> [usize; ROWS as usize] {
    let first = (hash >> 32) & 7;
    // 1..=7 further on, evenly enough: the product of a byte and seven, shifted.
    let step = 1 + ((((hash >> 40) & 0xff) * 7) >> 8);
    [first as usize, ((first + step) & 7) as usize]
}

#[cfg(test)]
mod tests;
