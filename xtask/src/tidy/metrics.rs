//! A metric that a document, an alert or a dashboard names is one that the daemon exports.
//!
//! In: the names in the declaration of all metrics, those of the kernel's programs, and one file. Out: the lines that
//! name another. It reads names, not queries: whether an expression makes sense is for promtool.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Finding, Source};

/// Where every metric is declared.
const DECLARATION: &str = "monitor/src/metrics/declaration.rs";
/// Where the kernel's programs are named, which begin alike and are no metrics.
const PROGRAMS: &str = "monitor-common/src/names.rs";

const PREFIX: &str = "sluice_";

/// What Prometheus adds to the name of a histogram or a summary.
const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];

pub fn declared(root: &Path) -> Result<BTreeSet<String>> {
    let mut declared = BTreeSet::new();
    for path in [DECLARATION, PROGRAMS] {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
        declared.extend(names(&text).map(str::to_owned));
    }
    Ok(declared)
}

pub fn undeclared(declared: &BTreeSet<String>, source: &Source) -> Vec<Finding> {
    if source.is_rust() || source.path.ends_with("Cargo.toml") {
        return Vec::new();
    }
    let is_declared = |name: &str| {
        let family = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        declared.contains(name) || family.is_some_and(|family| declared.contains(family))
    };
    let mut findings = Vec::new();
    for (line, text) in source.text_lines() {
        for name in names(text).filter(|name| !is_declared(name)) {
            findings.push(Finding { line, text: format!("there is no metric `{name}`") });
        }
    }
    findings
}

/// Every whole word that begins with the prefix and goes on.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.len() > PREFIX.len() && word.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_nobody_declares_is_found() {
        let declared =
            BTreeSet::from(["sluice_packets_total".to_owned(), "sluice_scrape_seconds".to_owned()]);
        let check = |path: &str, text: &str| {
            undeclared(&declared, &Source::new(path.to_owned(), text.to_owned())).len()
        };
        assert_eq!(check("docs/guide/operations.md", "rate(sluice_packets[5m])"), 1);
        assert_eq!(
            check("packaging/alerts.yml", "expr: rate(sluice_packets_total[5m]) > sluice_scrape_seconds_sum"),
            0
        );
        assert_eq!(check("README.md", "every name begins with `sluice_`"), 0);
        assert_eq!(check("monitor/src/main.rs", "let sluice_config = 1;"), 0);
    }
}
