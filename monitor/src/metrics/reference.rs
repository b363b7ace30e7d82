//! The reference of all metrics as a page of Markdown.
//!
//! In: the declarations. Out: the text of docs/reference/metrics.md; a test holds the file to it.

use std::fmt::Write;

use monitor_common::verdict::{Action, Reason};

use super::declaration::ALL;

const HEAD: &str = "# Metrics

This page is made from `monitor/src/metrics/declaration.rs`; a test holds it true. Write it anew with
`cargo xtask docs`.

The daemon serves them at `http://127.0.0.1:9477/metrics` unless `[metrics]` in the configuration says otherwise.
Counters of the kernel side belong to its maps: they go on through a restart or a crash of the daemon. Those of the daemon's
own work start again with it. The figures are those of the last read, at most a second old. A scrape that accepts OpenMetrics or gzip gets it. No label ever holds an address:
`sluice sources` names sources.

| metric | kind | labels | meaning |
|---|---|---|---|
";

/// The whole page.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for family in ALL {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = family.kind.label();
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help);
    }
    page.push_str("\n## Values of `reason`\n\n| reason | verdict | meaning |\n|---|---|---|\n");
    for reason in Reason::ALL {
        let verdict = match reason.action() {
            Action::Pass => "pass",
            Action::Drop => "drop",
            Action::Answer => "answer",
        };
        let _ = writeln!(page, "| `{}` | {verdict} | {} |", reason.label(), reason.meaning());
    }
    page
}
