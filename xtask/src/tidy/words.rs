//! What every module says first, and words that never stay in a finished file.
//!
//! In: one file. Out: missing headers, silenced lints, leftovers, and paths of one machine. The words themselves are
//! written in two halves here, so that this file keeps its own rules.

use super::source::find_words;
use super::{Finding, Rule, Source};

pub const RULES: [Rule; 5] = [
    Rule { name: "a module says what it is", find: no_header },
    Rule { name: "lints are expected with a reason, not allowed", find: silenced_lints },
    Rule { name: "nothing is left for later", find: leftovers },
    Rule { name: "no path of one machine", find: machine_paths },
    Rule { name: "only tests read the shared folder", find: shared_folder },
];

const LEFTOVERS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

const UNFINISHED: [&str; 2] = [concat!("to", "do!"), concat!("unimpl", "emented!")];

const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

fn no_header(source: &Source) -> Vec<Finding> {
    // Unit tests beside their module are told by its header.
    if source.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !source.is_rust() || first.is_some_and(|line| line.starts_with("//!")) {
        return Vec::new();
    }
    vec![Finding { line: 1, text: "the file does not begin with a `//!` header".to_owned() }]
}

fn silenced_lints(source: &Source) -> Vec<Finding> {
    let silences = |code: &str| code.contains("#[allow(") || code.contains("#![allow(");
    let lines = source.code_lines().filter(|(_, code)| silences(code));
    lines
        .map(|(line, _)| Finding { line, text: "`allow` instead of `expect` with a reason".to_owned() })
        .collect()
}

fn leftovers(source: &Source) -> Vec<Finding> {
    let in_text = source.text_lines().filter_map(|(line, text)| {
        let word = LEFTOVERS.into_iter().find(|word| find_words(text, word).next().is_some())?;
        Some(Finding { line, text: format!("`{word}` is left") })
    });
    let in_code = source.code_lines().filter_map(|(line, code)| {
        let word = UNFINISHED.into_iter().find(|word| code.contains(word))?;
        Some(Finding { line, text: format!("`{word}` is left") })
    });
    in_text.chain(in_code).collect()
}

fn machine_paths(source: &Source) -> Vec<Finding> {
    let absolute = |text: &str, path: &str| {
        text.match_indices(path).any(|(at, _)| {
            let before = text.get(..at).and_then(|text| text.chars().next_back());
            // Part of a longer path or of an address, such as ../work/ or example.org/home/.
            !before.is_some_and(|letter| letter.is_alphanumeric() || "._-~}/".contains(letter))
        })
    };
    let lines = source.text_lines().filter_map(|(line, text)| {
        let path = MACHINE_PATHS.into_iter().find(|path| absolute(text, path))?;
        Some(Finding { line, text: format!("`{path}` exists on one machine only") })
    });
    lines.collect()
}

fn shared_folder(source: &Source) -> Vec<Finding> {
    let folder = concat!("../sha", "red");
    let lines = source
        .text_lines()
        .filter(|(_, text)| !source.is_test && !source.is_below(&["tests/"]) && text.contains(folder));
    lines.map(|(line, _)| Finding { line, text: format!("`{folder}` is not part of the project") }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::broken_lines;

    #[test]
    fn a_module_without_a_header_is_found() {
        let check = |path, text| broken_lines("a module says what it is", path, text);
        assert_eq!(check("monitor/src/engine.rs", "use std::fs;\n"), [1]);
        assert_eq!(check("monitor/src/engine.rs", ""), [1]);
        assert!(check("monitor/src/engine.rs", "\n//! Owns all state.\nuse std::fs;\n").is_empty());
        assert!(check("monitor-ebpf/src/main.rs", "#![cfg_attr(a, no_std)]\n//! The entry.\n").is_empty());
        assert!(check("README.md", "# sluice").is_empty());
        assert!(check("monitor/src/engine/tests.rs", "use super::*;").is_empty());
    }

    #[test]
    fn a_silenced_lint_is_found() {
        let check =
            |text| broken_lines("lints are expected with a reason, not allowed", "monitor/src/a.rs", text);
        assert_eq!(check("#[allow(dead_code)]\nfn f() {}"), [1]);
        assert_eq!(check("#![allow(dead_code)]"), [1]);
        assert!(check("#[expect(dead_code, reason = \"for later\")]\nfn f() {}").is_empty());
    }

    #[test]
    fn a_leftover_is_found() {
        let check = |path, text: &str| broken_lines("nothing is left for later", path, text);
        assert_eq!(check("monitor/src/a.rs", concat!("fn f() {\n    // TO", "DO: more\n}")), [2]);
        assert_eq!(check("monitor/src/a.rs", concat!("fn f() { to", "do!() }")), [1]);
        assert_eq!(check("README.md", concat!("FIX", "ME")), [1]);
        assert!(check("monitor/src/a.rs", "let mastodon = 1;").is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let check = |text: &str| broken_lines("no path of one machine", "docs/guide/operations.md", text);
        assert_eq!(check(concat!("see `/wo", "rk/main`")), [1]);
        assert_eq!(check(concat!("cd /ro", "ot/sluice")), [1]);
        assert!(check(concat!("https://example.org/ho", "me/page and target/wo", "rk/x")).is_empty());
    }

    #[test]
    fn the_shared_folder_outside_the_tests_is_found() {
        let check =
            |path| broken_lines("only tests read the shared folder", path, concat!("../sha", "red/captures"));
        assert_eq!(check("README.md"), [1]);
        assert!(check("tests/src/captures.rs").is_empty());
    }
}
