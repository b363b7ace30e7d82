//! Bounded reads of a frame. The kernel implements [`Packet`] over packet memory, everything else over a slice.

/// A frame that can be read at any offset without leaving it.
pub trait Packet {
    /// Bytes of the whole frame, the fragments of a multi-buffer frame included.
    fn length(&self) -> u32;

    /// The `N` bytes at `offset`; `None` when they are not all within the frame.
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
}

impl Packet for [u8] {
    #[expect(clippy::cast_possible_truncation, reason = "no frame reaches 4 GiB")]
    fn length(&self) -> u32 {
        self.len() as u32
    }

    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}
