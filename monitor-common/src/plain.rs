//! The contract of every value that crosses between kernel and userspace: integers and byte arrays only, no padding.

/// A value that may be read from and written to raw bytes.
///
/// # Safety
/// The type is `#[repr(C)]`, made of integers and arrays of such types, has no padding and accepts every bit pattern.
pub unsafe trait Plain: Copy + 'static {
    /// The value as the kernel's map holds it.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: Plain has no padding, so every byte of the value is initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast::<u8>(), size_of::<Self>()) }
    }

    /// Reads a value from the start of `bytes`; `None` when there are too few.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size_of::<Self>())?;
        // SAFETY: the slice holds size_of::<Self>() bytes and Plain accepts every bit pattern; the read is unaligned.
        Some(unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast::<Self>()) })
    }

    /// The value whose every byte is zero.
    fn zeroed() -> Self {
        // SAFETY: Plain accepts every bit pattern, zero included.
        unsafe { core::mem::zeroed() }
    }
}

// SAFETY: integers have no padding and accept every bit pattern.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: an array of plain values has no padding of its own.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Implements [`Plain`] and asserts at compile time that the fields fill the type without a gap.
#[macro_export]
macro_rules! plain {
    ($type:ty { $($field:ident : $kind:ty),+ $(,)? } = $size:expr) => {
        const _: () = {
            assert!(size_of::<$type>() == 0 $(+ size_of::<$kind>())+, "hidden padding");
            assert!(size_of::<$type>() == $size, "the layout changed: raise names::LAYOUT");
        };
        // SAFETY: the assertions above exclude padding, and every field is an integer or an array of integers.
        unsafe impl $crate::plain::Plain for $type {}
    };
}
