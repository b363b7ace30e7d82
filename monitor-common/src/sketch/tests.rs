//! What the sketch promises: it may think too badly of a source, never too well.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{CELLS_PER_LINE, ROWS, hash, line, lines, places};
use crate::bucket::level;

const CELLS: u32 = 64;
const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// The sketch as the kernel uses it, with conservative updates.
struct Sketch {
    key: [u64; 2],
    words: Vec<u64>,
}

impl Sketch {
    fn new(key: [u64; 2]) -> Self {
        Self { key, words: vec![0; (ROWS * CELLS) as usize] }
    }

    fn places(&self, source: u64) -> impl Iterator<Item = usize> + use<> {
        let hash = hash(self.key, 0, source, 1);
        let line = (line(hash, CELLS) * CELLS_PER_LINE) as usize;
        places(hash).into_iter().map(move |place| line + place)
    }

    fn estimate(&self, source: u64, now: u64) -> u64 {
        self.places(source).map(|place| level(self.words[place], now)).min().unwrap()
    }

    fn charge(&mut self, source: u64, now: u64, cost: u64) {
        let debt = self.estimate(source, now) + cost;
        for place in self.places(source) {
            if level(self.words[place], now) < debt {
                self.words[place] = now + debt;
            }
        }
    }
}

proptest! {
    #[test]
    fn the_estimate_is_never_below_what_a_source_owes(
        key: [u64; 2],
        packets in prop::collection::vec((0..400u64, 0..50u64, 1..1000u64), 1..600),
    ) {
        let mut sketch = Sketch::new(key);
        let mut owed = HashMap::<u64, u64>::new();
        let mut now = 1 << 40;
        for (source, gap, cost) in packets {
            now += gap;
            sketch.charge(source, now, cost);
            let word = owed.entry(source).or_insert(now);
            *word = now + level(*word, now) + cost;
            for (source, word) in &owed {
                prop_assert!(sketch.estimate(*source, now) >= level(*word, now));
            }
        }
    }

    #[test]
    fn one_source_alone_is_estimated_exactly(
        key: [u64; 2], source: u64, packets in prop::collection::vec((0..500u64, 1..1000u64), 1..100),
    ) {
        let mut sketch = Sketch::new(key);
        let (mut now, mut word) = (1 << 40, 1 << 40);
        for (gap, cost) in packets {
            now += gap;
            sketch.charge(source, now, cost);
            word = now + level(word, now) + cost;
            prop_assert_eq!(sketch.estimate(source, now), level(word, now));
        }
    }

    #[test]
    fn both_cells_lie_in_a_line_of_the_sketch_and_differ(
        key: [u64; 2], high: u64, low: u64, service: u32, bits in 3..20u32,
    ) {
        let cells = 1 << bits;
        let hash = hash(key, high, low, service);
        prop_assert!(line(hash, cells) < lines(cells));
        let [first, second] = places(hash);
        prop_assert!(first < 8 && second < 8 && first != second);
    }
}

#[test]
fn sequential_sources_spread_evenly() {
    let cells = 1024;
    let mut counts = vec![0u32; (ROWS * cells) as usize];
    for source in 0..1024 * 64u64 {
        let hash = hash(KEY, 0, 0xffff_0000_0000 | source, 0);
        let line = (line(hash, cells) * CELLS_PER_LINE) as usize;
        for place in places(hash) {
            counts[line + place] += 1;
        }
    }
    // 64 are expected in each; lines vary as Poisson does around 256 sources, so cells stay within six deviations.
    let (fewest, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*fewest > 16 && *most < 112, "{fewest}..{most}");
}

#[test]
fn every_part_of_the_identity_and_of_the_key_moves_the_cells() {
    let base = hash(KEY, 1, 2, 3);
    for other in [
        hash(KEY, 2, 2, 3),
        hash(KEY, 1, 3, 3),
        hash(KEY, 1, 2, 4),
        hash([KEY[0] ^ 1, KEY[1]], 1, 2, 3),
        hash([KEY[0], KEY[1] ^ 1], 1, 2, 3),
        hash(KEY, 2, 1, 3),
    ] {
        assert!((base ^ other).count_ones() > 8, "{base:x} {other:x}");
    }
}

#[test]
fn sources_that_collide_under_one_key_part_under_another() {
    let cells = |key| {
        (0..4096)
            .map(|source| hash(key, 0, source, 0))
            .map(|hash| (line(hash, CELLS), places(hash)))
            .collect()
    };
    let (one, two): (Vec<_>, Vec<_>) = (cells(KEY), cells([7, 9]));
    let together = (1..one.len()).filter(|source| one[*source] == one[0]).collect::<Vec<_>>();
    let still = together.iter().filter(|source| two[**source] == two[0]).count();
    assert!(still <= together.len() / 2 + 1, "{still} of {}", together.len());
}
