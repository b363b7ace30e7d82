//! Loading a program although signals come while the kernel verifies it.
//!
//! The verifier gives up with EAGAIN when a signal is pending. This thread's signals are held back, so a reload that is
//! asked for during the start does not end the start. What no process can hold back (SIGSTOP, a frozen control group, a
//! debugger) interrupts the verifier all the same, so an interrupted load starts again.

use std::mem::MaybeUninit;

use aya::programs::ProgramError;

/// Verification takes seconds at most, so only a process that is stopped all the time is interrupted this often.
const ATTEMPTS: u32 = 50;

/// Calls `load` until it ends without an interruption, with the signals of this thread held back.
///
/// # Errors
/// As `load`; EAGAIN after 50 interruptions in a row.
pub fn uninterrupted(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let _held = Held::all();
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match load() {
            Err(error) if left > 0 && is_interruption(&error) => {}
            ended => return ended,
        }
    }
}

fn is_interruption(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EAGAIN))
}

/// Holds every signal of this thread back until it is dropped.
#[derive(Debug)]
struct Held(libc::sigset_t);

impl Held {
    fn all() -> Self {
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

#[cfg(test)]
mod tests {
    use std::io;

    use aya_obj::VerifierLog;

    use super::*;

    fn failed(number: i32) -> Result<(), ProgramError> {
        let io_error = io::Error::from_raw_os_error(number);
        Err(ProgramError::LoadError { io_error, verifier_log: VerifierLog::new(String::new()) })
    }

    #[test]
    fn an_interrupted_load_starts_again_and_another_failure_does_not() {
        let mut calls = 0;
        uninterrupted(|| {
            calls += 1;
            if calls < 4 { failed(libc::EAGAIN) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(calls, 4);
        for (number, expected) in [(libc::EACCES, 1), (libc::EAGAIN, ATTEMPTS)] {
            let mut calls = 0;
            let ended = uninterrupted(|| {
                calls += 1;
                failed(number)
            });
            assert!(ended.is_err());
            assert_eq!(calls, expected, "{number}");
        }
    }
}
