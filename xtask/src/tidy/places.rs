//! Where `unsafe` and aya may stand, and how long and how named a file may be.
//!
//! In: one file. Out: the lines outside those places, and unsafe code that does not say why it is sound. Clippy sees
//! only what this machine compiles; these rules see the kernel side as well.

use super::source::find_words;
use super::{Finding, Rule, Source};

pub const RULES: [Rule; 5] = [
    Rule { name: "unsafe has its places", find: misplaced_unsafe },
    Rule { name: "unsafe says why it is sound", find: unexplained_unsafe },
    Rule { name: "aya stays behind datapath", find: misplaced_aya },
    Rule { name: "a file is read in one sitting", find: too_long },
    Rule { name: "a module is named for a concept", find: drawers },
];

const UNSAFE_PLACES: [&str; 11] = [
    // One instruction that hides a sign from the compiler, for the verifier's sake.
    "monitor-common/src/bucket.rs",
    // Stores that the compiler is not to gather into a call.
    "monitor-common/src/parse.rs",
    // One read that hides a number from the compiler, for the verifier's sake.
    "monitor-common/src/parse/link.rs",
    "monitor-common/src/challenge.rs",
    "monitor-common/src/plain.rs",
    "monitor-ebpf/src/",
    // A peer's supplementary groups: no crate of ours asks for SO_PEERGROUPS.
    "monitor/src/control/peer.rs",
    "monitor/datapath/src",
    "tests/bpf/src/",
    "tests/src/",
    "tests/tests/",
];

const AYA_PLACES: [&str; 4] = ["monitor-ebpf/", "monitor/datapath/src", "tests/", "fuzz/"];

const MOST_LINES: usize = 500;

/// Drawers into which anything fits; a function without a home means a concept without a name.
const DRAWERS: [&str; 9] =
    ["common", "helper", "helpers", "manager", "misc", "mod", "types", "util", "utils"];

/// How far above an unsafe block the reason may begin: a statement of several lines may stand between.
const REASON_WITHIN: usize = 6;

fn misplaced_unsafe(source: &Source) -> Vec<Finding> {
    if source.is_below(&UNSAFE_PLACES) {
        return Vec::new();
    }
    let lines = source.code_lines().filter(|(_, code)| unsafe_code(code));
    lines
        .map(|(line, _)| Finding { line, text: format!("unsafe outside of {}", UNSAFE_PLACES.join(", ")) })
        .collect()
}

fn unexplained_unsafe(source: &Source) -> Vec<Finding> {
    let text: Vec<&str> = source.text.lines().collect();
    let explained = |line: usize| {
        let above = text.get(line.saturating_sub(REASON_WITHIN + 1)..line).unwrap_or_default();
        above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
    };
    let lines = source.code_lines().filter(|&(line, code)| unsafe_code(code) && !explained(line));
    lines
        .map(|(line, _)| Finding { line, text: "unsafe without a `// SAFETY:` above it".to_owned() })
        .collect()
}

/// `unsafe` that asserts something: a block or an implementation. A declaration (`unsafe extern`, `unsafe fn`,
/// `#[unsafe(..)]`, a lint's name) asserts nothing by itself.
fn unsafe_code(code: &str) -> bool {
    find_words(code, "unsafe").any(|at| {
        let after = code.get(at + "unsafe".len()..).unwrap_or_default().trim_start();
        after.is_empty() || after.starts_with('{') || after.starts_with("impl")
    })
}

fn misplaced_aya(source: &Source) -> Vec<Finding> {
    if source.is_below(&AYA_PLACES) {
        return Vec::new();
    }
    let crates = ["aya", "aya_obj", "aya_log", "aya_ebpf"];
    let named = |code: &str| {
        crates.iter().any(|name| {
            find_words(code, name).any(|at| {
                let import = code.trim_start().trim_start_matches("pub ").starts_with("use ");
                import || code.get(at + name.len()..).unwrap_or_default().starts_with("::")
            })
        })
    };
    let lines = source.code_lines().filter(|(_, code)| named(code));
    lines
        .map(|(line, _)| Finding { line, text: "only `datapath` and the tests know aya".to_owned() })
        .collect()
}

fn too_long(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if !source.is_rust() || lines <= MOST_LINES {
        return Vec::new();
    }
    vec![Finding { line: lines, text: format!("{lines} lines are more than {MOST_LINES}") }]
}

fn drawers(source: &Source) -> Vec<Finding> {
    let mut names = source.path.trim_end_matches(".rs").split('/');
    match names.find(|name| DRAWERS.contains(name)) {
        Some(name) if source.is_rust() => {
            vec![Finding { line: 1, text: format!("`{name}` names no concept") }]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::broken_lines;

    #[test]
    fn unsafe_outside_its_places_is_found() {
        let check = |path, text| broken_lines("unsafe has its places", path, text);
        assert_eq!(check("monitor/src/engine.rs", "fn f() {}\nlet x = unsafe { g() };"), [2]);
        assert_eq!(check("monitor-common/src/sketch.rs", "unsafe impl Plain for Cell {}"), [1]);
        assert!(check("monitor/datapath/src/wire.rs", "unsafe { g() }").is_empty());
        assert!(check("monitor/src/engine.rs", "// unsafe { }\nlet x = \"unsafe { }\";").is_empty());
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        let check = |text| broken_lines("unsafe says why it is sound", "monitor-ebpf/src/reader.rs", text);
        assert_eq!(check("let x = unsafe { g() };"), [1]);
        assert_eq!(check("// SAFETY: far\n\n\n\n\n\n\n\nlet x = unsafe { g() };"), [9]);
        assert!(check("// SAFETY: g has no preconditions.\nlet x = unsafe { g() };").is_empty());
        assert!(check("#[unsafe(no_mangle)]\nstatic A: u8 = 0;").is_empty());
    }

    #[test]
    fn aya_outside_datapath_is_found() {
        let check = |path, text| broken_lines("aya stays behind datapath", path, text);
        assert_eq!(check("monitor/src/engine.rs", "use aya::Ebpf;"), [1]);
        assert_eq!(check("monitor/src/engine.rs", "fn f(x: aya_obj::Object) {}"), [1]);
        assert_eq!(check("monitor/src/engine.rs", "use aya as kernel;"), [1]);
        assert!(check("monitor/datapath/src/object.rs", "use aya::Ebpf;").is_empty());
        assert!(check("monitor/src/engine.rs", "/// Like `aya::Ebpf`.\nfn f() {}").is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        let check = |path, lines| broken_lines("a file is read in one sitting", path, &"x\n".repeat(lines));
        assert_eq!(check("monitor/src/engine.rs", 501), [501]);
        assert!(check("monitor/src/engine.rs", 500).is_empty());
        assert!(check("CHANGELOG.md", 9000).is_empty());
    }

    #[test]
    fn a_drawer_is_found() {
        let check = |path| broken_lines("a module is named for a concept", path, "");
        for path in ["monitor/src/util.rs", "monitor/src/engine/mod.rs", "tests/src/helpers/net.rs"] {
            assert_eq!(check(path), [1], "{path}");
        }
        assert!(check("monitor-common/src/record.rs").is_empty());
    }
}
