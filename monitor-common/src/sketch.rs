//! The sketch that stands before the exact table in a flood: rows of GCRA words under a keyed hash.
//!
//! A source owns one cell per row. Its debt is at most the smallest of them, so a source whose smallest cell is light is
//! surely light; updates are conservative (no cell is raised above the smallest plus the cost), which keeps strangers'
//! noise low. The key is random at every load, so collisions cannot be crafted from outside.

/// Rows of the sketch.
pub const ROWS: u32 = 2;

/// A 64-bit keyed hash of a source at a service: two rounds of multiply and fold with 128-bit key material.
///
/// Not a cryptographic MAC; it has to be unguessable to a sender who sees nothing of its output.
#[inline(always)]
pub const fn hash(key: [u64; 2], high: u64, low: u64, service: u32) -> u64 {
    let a = mix(high ^ key[0] ^ (service as u64).rotate_left(32));
    mix(a ^ low.wrapping_add(key[1]))
}

/// A bijective finaliser (the constants are those of the splitmix64 generator, public domain).
#[inline(always)]
const fn mix(mut word: u64) -> u64 {
    word ^= word >> 32;
    word = word.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^= word >> 29;
    word = word.wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 32)
}

/// The cell of `row` for a source with `hash`; `cells` is a power of two, cells per row.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
pub const fn cell(hash: u64, row: u32, cells: u32) -> u32 {
    let index = if row == 0 { hash as u32 } else { (hash >> 32) as u32 };
    row * cells + (index & (cells - 1))
}

#[cfg(test)]
mod tests;
