//! Lists of prefixes, from files and from the web: `cargo xtask fuzz list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::list(data));
