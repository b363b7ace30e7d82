//! A filter of bits before a table: two banks and, as the last word, which of them is asked. The daemon makes the other one
//! anew from the table and then turns to it.

use aya_ebpf::maps::Array;

use crate::word;

/// A filter's map, and the index of its last word, which is the size of both banks.
pub struct Filter {
    pub words: &'static Array<u64>,
    pub choice: u32,
}

impl Filter {
    /// Whether the bit of an entry is set, so that the table may hold it.
    #[inline(always)]
    pub fn may_hold(&self, (word, bit): (u32, u64)) -> bool {
        let bank = self.words.get(self.choice).map_or(0, |choice| *choice as u32 & 1);
        match self.words.get(bank * (self.choice / 2) + word) {
            Some(word) => *word & bit != 0,
            None => false,
        }
    }

    /// Sets the bit of an entry in both banks, after it stands in the table: the daemon then misses neither.
    #[inline(always)]
    pub fn note(&self, (word, bit): (u32, u64)) {
        let mut bank = 0;
        while bank < 2 {
            if let Some(word) = self.words.get_ptr_mut(bank * (self.choice / 2) + word) {
                // SAFETY: the pointer is to a map value.
                unsafe { word::set_bits(word, bit) };
            }
            bank += 1;
        }
    }
}
