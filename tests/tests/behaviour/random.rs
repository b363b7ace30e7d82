//! Frames from a seed: bytes that mean nothing, headers that almost do, and fixtures with a few bytes changed.

/// A splitmix64 sequence: the same seed gives the same frames, and the seed is printed.
pub struct Random(u64);

impl Random {
    /// Seeded by `SLUICE_SEED`, or by the name of the test.
    pub fn seeded(name: &str) -> Self {
        let seed = std::env::var("SLUICE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        });
        println!("seed {seed} (SLUICE_SEED sets it)");
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.word() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.word().to_le_bytes()[0]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.word().to_le_bytes()).take(count).collect()
    }

    /// A frame of 14 to 200 bytes; most carry a known `EtherType` and version, so that the walk goes deep.
    pub fn frame(&mut self) -> Vec<u8> {
        let length = 14 + self.below(187);
        let mut frame = self.bytes(length);
        let mut at = 12;
        for _ in 0..self.below(3) {
            if self.below(3) == 0 && at + 6 <= length {
                let tag = if self.below(2) == 0 { [0x81, 0x00] } else { [0x88, 0xa8] };
                frame[at..at + 2].copy_from_slice(&tag);
                at += 4;
            }
        }
        let body = at + 2;
        if body + 20 > length {
            return frame;
        }
        match self.below(5) {
            0 | 1 => {
                frame[at..body].copy_from_slice(&[0x08, 0x00]);
                frame[body] = 0x40 | if self.below(2) == 0 { 5 } else { self.byte() & 0x0f };
                self.length_field(&mut frame, body + 2, length - body);
                if self.below(2) == 0 {
                    frame[body + 6..body + 8].copy_from_slice(&[0x40, 0]);
                }
                frame[body + 9] = self.upper();
            }
            2 | 3 => {
                frame[at..body].copy_from_slice(&[0x86, 0xdd]);
                frame[body] = 0x60;
                self.length_field(&mut frame, body + 4, (length - body).saturating_sub(40));
                frame[body + 6] = self.upper();
                // Small extension lengths and known next headers, so that chains of several come about.
                let mut extension = body + 40;
                while extension + 8 <= length {
                    frame[extension] = self.upper();
                    frame[extension + 1] = self.byte() & 1;
                    extension += 8 + 8 * usize::from(frame[extension + 1]);
                }
            }
            _ => {}
        }
        frame
    }

    /// Right most of the time, then off by a little, then anything.
    fn length_field(&mut self, frame: &mut [u8], at: usize, right: usize) {
        let value = match self.below(4) {
            0 => self.below(0x1_0000),
            1 => (right + self.below(9)).saturating_sub(4),
            _ => right,
        };
        frame[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn upper(&mut self) -> u8 {
        const KNOWN: [u8; 12] = [6, 17, 1, 58, 132, 0, 43, 44, 51, 60, 135, 59];
        if self.below(8) == 0 { self.byte() } else { KNOWN[self.below(KNOWN.len())] }
    }

    /// `frame` with one to four bytes changed, and sometimes shortened or lengthened.
    pub fn mutated(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame[..frame.len().min(400)].to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(frame.len());
            frame[at] = match self.below(3) {
                0 => self.byte(),
                1 => frame[at] ^ 1 << self.below(8),
                _ => frame[at].wrapping_add(1),
            };
        }
        match self.below(4) {
            0 => frame.truncate(14 + self.below(frame.len() - 13)),
            1 => {
                let more = 1 + self.below(40);
                frame.extend(self.bytes(more));
            }
            _ => {}
        }
        frame
    }
}
