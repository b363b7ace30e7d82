//! The alert rules that the packages ship: valid, and raised by what they describe and by nothing else.

use std::path::Path;

use monitor_tests::{harness::network::run, or_skip};

#[test]
fn the_shipped_rules_are_raised_by_what_they_describe() {
    or_skip!("promtool", run("promtool", &["--version"]));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = |below: &str| here.join(below).display().to_string();
    run("promtool", &["check", "rules", &path("../packaging/prometheus/sluice.rules.yml")]).unwrap();
    run("promtool", &["test", "rules", &path("rules/sluice.rules.test.yml")]).unwrap();
}
