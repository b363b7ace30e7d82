//! What a test says when the machine cannot run it: loudly, and as a failure where everything must run.

use std::{
    env,
    io::{self, Write as _},
};

/// Says that `test` cannot run here, and why. Where `SLUICE_NO_SKIP=1` or `CI=true`, that is a failure.
///
/// # Panics
/// When nothing may be skipped.
pub fn skip(test: &str, reason: &str) {
    let set = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    assert!(!set("SLUICE_NO_SKIP", "1") && !set("CI", "true"), "{test} must run here, but: {reason}");
    // Written directly, because the test runner hides what a passing test prints.
    let _ = writeln!(io::stderr(), "SKIP: {test}: {reason}");
}

/// Returns from the test with a loud note when `$got` is an error, and unwraps it otherwise.
#[macro_export]
macro_rules! or_skip {
    ($test:expr, $got:expr) => {
        match $got {
            Ok(value) => value,
            Err(reason) => {
                $crate::harness::skip::skip($test, &format!("{reason:#}"));
                return;
            }
        }
    };
}
