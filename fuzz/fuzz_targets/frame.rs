//! Frames through the parser: `cargo xtask fuzz frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::frame(data));
