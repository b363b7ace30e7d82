//! Bodies and prefixes of control requests: `cargo +nightly fuzz run request -- -max_total_time=60`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| monitor_tests::harness::inputs::request(data));
