//! For tests: tables of a page under docs/ that are held to the code, and written anew with `SLUICE_WRITE_DOCS=1`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Two tables of one page are not written at once.
static PEN: Mutex<()> = Mutex::new(());

/// The table under `heading` of `docs/{page}` must have these rows, given as `| one | two |`.
pub fn hold(page: &str, heading: &str, rows: &[String]) {
    let _pen = PEN.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let start =
        lines.iter().position(|line| *line == heading).unwrap_or_else(|| panic!("{page} has no {heading}"));
    let rule = lines[start..].iter().position(|line| line.starts_with("|--")).expect("a table") + start;
    let length = lines[rule + 1..].iter().take_while(|line| line.starts_with('|')).count();
    let end = rule + 1 + length;
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        let rows = rows.iter().map(String::as_str);
        let whole: Vec<&str> =
            lines[..=rule].iter().copied().chain(rows).chain(lines[end..].iter().copied()).collect();
        std::fs::write(&path, whole.join("\n") + "\n").unwrap();
        return;
    }
    let hint = "write it anew with SLUICE_WRITE_DOCS=1 cargo test -p monitor --lib";
    assert_eq!(&lines[rule + 1..end], rows, "docs/{page}, {heading}: {hint}");
}
