//! The alert rules that the packages ship: valid, and raised by what they describe and by nothing else.

use std::path::Path;

use monitor_tests::{harness::network::run, or_skip};

#[test]
fn the_shipped_rules_are_raised_by_what_they_describe() {
    or_skip!("promtool", run("promtool", &["--version"]));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = |below: &str| here.join(below).display().to_string();
    run("promtool", &["check", "rules", &path("../packaging/prometheus/sluice.rules.yml")]).unwrap();
    for tests in ["rules/sluice.rules.test.yml", "rules/sluice.weeks.test.yml"] {
        run("promtool", &["test", "rules", &path(tests)]).unwrap();
    }
}

#[test]
fn every_alert_names_its_section_of_the_guide() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(here.join(path)).unwrap();
    let (rules, guide) = (read("packaging/prometheus/sluice.rules.yml"), read("docs/guide/alerts.md"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: Vec<_> = guide.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, sections);
    for alert in alerts {
        let runbook =
            format!("runbook: \"/usr/share/doc/sluice/docs/guide/alerts.md#{}\"", alert.to_lowercase());
        assert!(rules.contains(&runbook), "{alert} does not name its section");
    }
}
