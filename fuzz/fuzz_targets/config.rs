//! Configuration files: `cargo xtask fuzz config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::config(data));
