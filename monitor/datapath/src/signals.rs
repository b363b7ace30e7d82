//! Signals of this thread, held back while programs are loaded.
//!
//! The verifier gives up with EAGAIN when a signal is pending, so a reload that is asked for during the start would end the
//! start. A signal that is held back is delivered afterwards, and nothing is lost.

use std::mem::MaybeUninit;

/// Holds every signal of this thread back until it is dropped.
#[derive(Debug)]
pub struct Held(libc::sigset_t);

impl Held {
    pub fn all() -> Self {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: both sets are ours; the first is filled before it is read, and the kernel's library fills the second.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the set is the one that the thread had before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
        }
    }
}
