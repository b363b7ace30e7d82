//! Which top-level module of the daemon may name which other, and what pure modules may never reach for.
//!
//! In: one file of `monitor/src`. Out: the lines that name a module which the table does not grant. The table is the
//! drawing of the architecture: to add an arrow is a decision, taken here and told in ARCHITECTURE.

use super::source::find_words;
use super::{Finding, Rule, Source};

pub const RULES: [Rule; 3] = [
    Rule { name: "imports run downward", find: upward_imports },
    Rule { name: "pure modules stay pure", find: impure },
    Rule { name: "the daemon starts no programs", find: child_processes },
];

/// Each module of the daemon with those it may name, from the entry down to plain values. The layers below it are crates,
/// whose direction the compiler keeps.
const MAY_NAME: [(&str, &[&str]); 11] = [
    ("main", &["cli"]),
    ("cli", &["control", "daemon", "engine", "metrics", "replay", "snapshot", "store"]),
    ("replay", &["core"]),
    ("daemon", &["control", "engine", "metrics", "snapshot", "store"]),
    ("control", &["engine", "snapshot"]),
    ("metrics", &["snapshot"]),
    ("engine", &["core", "snapshot", "store"]),
    ("core", &["snapshot", "store"]),
    ("store", &["snapshot"]),
    ("snapshot", &[]),
    ("lib", &[]),
];

/// Functions of values and of a clock that is passed in. (The metrics page times itself.)
const PURE: [&str; 5] = [
    "monitor/capture/src/",
    "monitor/detection/src/",
    "monitor/policy/src/",
    "monitor/src/core/",
    "monitor/tuning/src/",
];

/// What such functions have no use for.
const IMPURE: [&str; 7] =
    ["Instant::now", "SystemTime::now", "std::env", "std::fs", "std::process", "std::thread", "tokio"];

/// The top-level module of a file of the daemon.
fn module(source: &Source) -> Option<&str> {
    let below = source.path.strip_prefix("monitor/src/")?;
    below.split('/').next().map(|first| first.trim_end_matches(".rs"))
}

fn upward_imports(source: &Source) -> Vec<Finding> {
    let Some(module) = module(source) else { return Vec::new() };
    let granted = MAY_NAME.iter().find(|(name, _)| *name == module).map(|(_, granted)| *granted);
    let mut findings = Vec::new();
    let Some(granted) = granted else {
        let text = format!("`{module}` has no line in the table of imports");
        return vec![Finding { line: 1, text }];
    };
    let product = source.product_lines().count();
    for (line, name) in named_modules(&source.code).into_iter().filter(|(line, _)| *line <= product) {
        let known = MAY_NAME.iter().any(|(known, _)| *known == name);
        if known && name != module && !granted.contains(&name.as_str()) {
            findings.push(Finding { line, text: format!("`{module}` may not name `{name}`") });
        }
    }
    findings
}

/// Every `x` of `crate::x` and `crate::{x, y::z}`, and of `monitor::x` in the binary, with its line.
fn named_modules(code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for root in ["crate", "monitor"] {
        for at in find_words(code, root) {
            let Some(path) = code.get(at + root.len()..).and_then(|rest| rest.strip_prefix("::")) else {
                continue;
            };
            let line = code.get(..at).unwrap_or_default().matches('\n').count() + 1;
            let heads = path.strip_prefix('{').map_or_else(|| vec![head(path)], heads_of_group);
            named.extend(heads.into_iter().map(|name| (line, name)));
        }
    }
    named
}

fn head(path: &str) -> String {
    path.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// The first name of each path in a group, whose opening brace is gone.
fn heads_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (1, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                heads.push(head(group.get(start..).unwrap_or_default()));
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            heads.push(head(group.get(start..at).unwrap_or_default()));
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn impure(source: &Source) -> Vec<Finding> {
    if !source.is_below(&PURE) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, code) in source.product_lines() {
        for name in IMPURE.iter().filter(|name| find_words(code, name).next().is_some()) {
            findings.push(Finding { line, text: format!("a pure module reaches for `{name}`") });
        }
    }
    findings
}

fn child_processes(source: &Source) -> Vec<Finding> {
    if !source.is_below(&["monitor/src/", "monitor/datapath/src/"]) {
        return Vec::new();
    }
    let starts = |code: &str| code.contains("process::Command") || code.contains("process::{Command");
    let lines = source.code_lines().filter(|(_, code)| starts(code));
    lines.map(|(line, _)| Finding { line, text: "the daemon asks the kernel itself".to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::broken_lines;

    #[test]
    fn an_upward_import_is_found_in_every_form() {
        let check = |path, text| broken_lines("imports run downward", path, text);
        assert_eq!(
            check("monitor/src/engine/attach.rs", "use crate::snapshot::Map;\nuse crate::control::Command;"),
            [2]
        );
        assert_eq!(
            check("monitor/src/snapshot.rs", "use crate::{\n    snapshot::Source,\n    store::Rule,\n};"),
            [1]
        );
        assert_eq!(check("monitor/src/metrics/page.rs", "fn f() { crate::control::serve() }"), [1]);
        assert_eq!(check("monitor/src/main.rs", "use monitor::engine::attach;"), [1]);
        assert_eq!(check("monitor/src/newcomer.rs", "fn f() {}"), [1]);
    }

    #[test]
    fn a_downward_import_and_a_comment_are_not() {
        let check = |path, text| broken_lines("imports run downward", path, text);
        assert!(
            check("monitor/src/engine.rs", "use crate::{snapshot::Snapshot, store::{Rule, diff}};")
                .is_empty()
        );
        assert!(
            check("monitor/src/store/diff.rs", "// unlike crate::engine\nuse crate::store::Rule;").is_empty()
        );
        assert!(check("tests/src/lib.rs", "use monitor::datapath::Datapath;").is_empty());
        assert!(
            check("monitor/src/store.rs", "#[cfg(test)]\nmod tests { use crate::engine::Command; }")
                .is_empty()
        );
        assert!(check("monitor/src/store/tests.rs", "use crate::engine::Command;").is_empty());
    }

    #[test]
    fn a_pure_module_may_not_look_at_the_clock() {
        let check = |path, text| broken_lines("pure modules stay pure", path, text);
        assert_eq!(
            check("monitor/detection/src/detectors/scan.rs", "let now = std::time::Instant::now();"),
            [1]
        );
        assert_eq!(check("monitor/policy/src/lib.rs", "use tokio::sync::watch;"), [1]);
        assert!(check("monitor/src/engine.rs", "use tokio::sync::watch;").is_empty());
        assert!(check("monitor/policy/src/lib.rs", "#[cfg(test)]\nmod tests { use std::fs; }").is_empty());
    }

    #[test]
    fn the_daemon_may_not_start_a_program() {
        let check = |path, text| broken_lines("the daemon starts no programs", path, text);
        assert_eq!(check("monitor/src/engine.rs", "use std::process::Command;"), [1]);
        assert!(check("tests/src/harness.rs", "use std::process::Command;").is_empty());
    }
}
