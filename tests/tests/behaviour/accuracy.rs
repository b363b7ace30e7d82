//! How exact the limiter is among a million strangers. `cargo xtask bench -- --accuracy` does the same at full length.

use monitor_tests::{
    harness::{
        accuracy::{self, Crowd},
        program::Program,
    },
    or_skip,
};

#[test]
fn light_honest_sources_among_a_million_strangers_lose_nothing() {
    let crowd = Crowd { strangers: 1 << 20, heavy: 256, per_second: 1e6, packets: 3_000_000, limit: 1000 };
    let honest = accuracy::crowd(&or_skip!("a million strangers", Program::load()), crowd).unwrap();
    println!("{honest:?}");
    assert!(honest.sent > 290_000 && honest.judged_by_sketch > 2_000_000, "{honest:?}");
    assert!(honest.dropped_per_100_000() <= 1.0, "{honest:?}");
}

#[test]
fn a_limit_that_is_too_low_for_the_sketch_shows_in_this_measure() {
    let crowd = Crowd { strangers: 1 << 20, heavy: 0, per_second: 1e6, packets: 2_000_000, limit: 5 };
    let honest = accuracy::crowd(&or_skip!("a low limit", Program::load()), crowd).unwrap();
    assert!(honest.dropped_per_100_000() > 1000.0, "{honest:?}: nothing can fail here");
}

#[test]
fn known_sources_go_through_a_spoofed_flood_unharmed() {
    let honest = accuracy::known(&or_skip!("known sources", Program::load()), 6, 200_000).unwrap();
    println!("{honest:?}");
    assert!(honest.sent > 100_000 && honest.judged_by_sketch > 1_000_000, "{honest:?}");
    assert_eq!((honest.dropped, honest.resets), (0, 0), "{honest:?}");
}

#[test]
fn a_single_flooding_source_gets_its_limit_and_no_more() {
    for flood in [false, true] {
        for rate in [100, 3_000] {
            let through =
                accuracy::single(&or_skip!("a single source", Program::load()), rate, 5, flood).unwrap();
            println!("{rate}/s, flood {flood}: {through:?}");
            let ratio = through.passed as f64 / through.due;
            assert!((0.95..=1.05).contains(&ratio), "{rate}/s, flood {flood}: {ratio:.3} of the limit");
            assert_eq!(through.beyond, 0, "{rate}/s, flood {flood}: {through:?}");
        }
    }
}
