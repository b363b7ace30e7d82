//! Capture files: `cargo +nightly fuzz run capture -- -max_total_time=60`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::capture(data));
