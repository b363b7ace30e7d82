//! Segments of a conversation through the recogniser: `cargo xtask fuzz segments`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::segments(data));
