//! Capture files: `cargo xtask fuzz capture`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::capture(data));
