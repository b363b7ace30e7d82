//! Tables of a page under docs/ that are made from what the code declares.
//!
//! In: the page as it is, and rows. Out: the page as it should be. It reads and writes no file.

/// `page` with `rows`, given as `| one | two |`, for the rows of the first table under `heading`.
///
/// # Errors
/// When the page has no such heading or no table under it.
pub fn fill(page: &str, heading: &str, rows: &[String]) -> Result<String, String> {
    let lines: Vec<&str> = page.lines().collect();
    let start =
        lines.iter().position(|line| *line == heading).ok_or_else(|| format!("no heading `{heading}`"))?;
    let rule = lines[start..].iter().position(|line| line.starts_with("|--"));
    let first = start + rule.ok_or_else(|| format!("no table under `{heading}`"))? + 1;
    let old = lines[first..].iter().take_while(|line| line.starts_with('|')).count();
    let rows = rows.iter().map(String::as_str);
    let whole = lines[..first].iter().copied().chain(rows).chain(lines[first + old..].iter().copied());
    Ok(whole.flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn only_the_rows_of_the_named_table_change() {
        let page = "# A\n\n## B\n\n| b |\n|---|\n| old |\n\n## C\n\n| c |\n|---|\n| 1 |\n";
        let rows = ["| new |".to_owned(), "| newer |".to_owned()];
        let wanted = "# A\n\n## B\n\n| b |\n|---|\n| new |\n| newer |\n\n## C\n\n| c |\n|---|\n| 1 |\n";
        assert_eq!(fill(page, "## B", &rows).as_deref(), Ok(wanted));
        assert!(fill(page, "## D", &rows).is_err());
    }
}
