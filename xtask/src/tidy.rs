//! `cargo xtask tidy`: the house rules, executable.
//!
//! In: every file of the workspace that a person wrote. Out: one line for each place that breaks a rule, with the
//! reason. A rule is a function of one file; `imports`, `places` and `words` hold them with samples that break each, and
//! `dependencies`, `metrics` and `recipes` hold those that know several files.

mod dependencies;
mod imports;
mod metrics;
mod places;
mod recipes;
mod source;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;
use source::Source;

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    text: String,
}

/// One house rule. Its function sees one file and names the lines that break it.
struct Rule {
    name: &'static str,
    find: fn(&Source) -> Vec<Finding>,
}

const RULES: [&[Rule]; 3] = [&imports::RULES, &places::RULES, &words::RULES];

/// What is looked at besides Rust: where a machine's path or a leftover could hide as well.
const EXTENSIONS: [&str; 9] = ["md", "toml", "sh", "service", "yml", "yaml", "json", "conf", "run"];

pub fn main() -> Result<()> {
    let root = process::workspace();
    let mut files = Vec::new();
    walk(&root, &mut files)?;
    files.sort();
    let mut sources = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().into_owned();
        let text = fs::read_to_string(file).with_context(|| format!("read {path}"))?;
        sources.push(Source::new(path, text));
    }
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    let declared = metrics::declared(&root)?;
    let mut broken = 0;
    for source in &mut sources {
        source.is_test |= tests.iter().any(|module| source.path == format!("{module}.rs"));
        for rule in RULES.into_iter().flatten() {
            for Finding { line, text } in (rule.find)(source) {
                eprintln!("{}:{line}: {text} ({})", source.path, rule.name);
                broken += 1;
            }
        }
        for Finding { line, text } in metrics::undeclared(&declared, source) {
            eprintln!("{}:{line}: {text} (a metric that is named exists)", source.path);
            broken += 1;
        }
    }
    for text in recipes::broken(&sources) {
        eprintln!("CONTRIBUTING.md: {text} (recipes say what they touch)");
        broken += 1;
    }
    for text in dependencies::unused(&sources) {
        eprintln!("{text} (a dependency is used)");
        broken += 1;
    }
    if broken > 0 {
        bail!("{broken} places break a house rule");
    }
    eprintln!("tidy: {} files keep {} rules", files.len(), RULES.into_iter().flatten().count() + 3);
    Ok(())
}

/// Every file that a person writes; what git and cargo keep for themselves is left out.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().with_context(|| format!("look at {}", path.display()))?;
        if kind.is_dir() {
            if name != ".git" && name != "target" {
                walk(&path, files)?;
            }
        } else if kind.is_file() && is_written_by_hand(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_written_by_hand(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    extension == "rs" || EXTENSIONS.contains(&extension.as_ref()) || path.ends_with(".ci/run")
}

/// For the rules' tests: the lines of a sample that break the rule of this name.
#[cfg(test)]
fn broken_lines(rule: &str, path: &str, text: &str) -> Vec<usize> {
    let found = RULES.into_iter().flatten().find(|candidate| candidate.name == rule);
    let rule = found.unwrap_or_else(|| panic!("there is no rule {rule}"));
    (rule.find)(&Source::new(path.to_owned(), text.to_owned()))
        .into_iter()
        .map(|finding| finding.line)
        .collect()
}
