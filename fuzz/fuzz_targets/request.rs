//! Bodies and prefixes of control requests: `cargo xtask fuzz request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::request(data));
