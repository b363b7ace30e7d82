//! A table of one line per row: fitted to a width, sorted, filtered.
//!
//! Headings carry the marks of `cli::table`: `~` lets a column go when there is no room, the rightmost first; `>` aligns
//! it to the right; `*` is prose that may be cut. An address or a figure is never cut before prose is.

use super::theme::{Theme, Tone};

/// One cell: what is shown, and the number that it is sorted by, if it is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub text: String,
    pub value: Option<f64>,
}

impl Cell {
    pub fn text(text: impl AsRef<str>) -> Self {
        Self { text: crate::cli::table::clean(text.as_ref()), value: None }
    }

    pub fn figure(text: impl Into<String>, value: f64) -> Self {
        Self { text: text.into(), value: Some(value) }
    }
}

/// One row: its cells, what it is about, and by which name it is found again when answers change.
#[derive(Clone, Debug)]
pub struct Row<T> {
    pub key: String,
    pub cells: Vec<Cell>,
    pub tone: Tone,
    pub about: T,
}

impl<T> Row<T> {
    /// Whether a cell contains `text`, whatever its case.
    pub fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.cells.iter().any(|cell| cell.text.to_lowercase().contains(&text))
    }
}

/// The column that is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorting {
    pub column: usize,
    pub ascending: bool,
}

pub fn sort<T>(rows: &mut [Row<T>], Sorting { column, ascending }: Sorting) {
    rows.sort_by(|one, other| {
        let (Some(one), Some(other)) = (one.cells.get(column), other.cells.get(column)) else {
            return std::cmp::Ordering::Equal;
        };
        let order = match (one.value, other.value) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => one.text.cmp(&other.text),
        };
        if ascending { order } else { order.reverse() }
    });
}

/// Name of a heading without its marks.
pub fn name(heading: &str) -> &str {
    heading.trim_start_matches(['~', '>', '*'])
}

/// The columns of a table as they fit.
#[derive(Debug)]
pub struct Fitted {
    /// Place among all columns, width, and alignment.
    columns: Vec<(usize, usize, bool)>,
}

const GAP: usize = 2;

impl Fitted {
    /// Chooses columns and their widths so that heading and `rows` fit `width`.
    pub fn new<T>(headings: &[&str], rows: &[Row<T>], sorting: Option<Sorting>, width: usize) -> Self {
        let mut columns: Vec<(usize, usize, bool, &str)> = headings
            .iter()
            .enumerate()
            .map(|(place, heading)| {
                let marks = &heading[..heading.len() - name(heading).len()];
                // The arrow stands behind the name.
                let arrow = usize::from(sorting.is_some_and(|sorting| sorting.column == place));
                let cells = rows.iter().filter_map(|row| row.cells.get(place));
                let widest = cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0);
                (place, widest.max(name(heading).chars().count() + arrow), marks.contains('>'), marks)
            })
            .collect();
        let whole = |columns: &[(usize, usize, bool, &str)]| -> usize {
            columns.iter().map(|(_, width, ..)| width + GAP).sum::<usize>().saturating_sub(GAP)
        };
        // A column of prose has room enough with twenty characters as long as others are needed.
        let least = |columns: &[(usize, usize, bool, &str)]| -> usize {
            let least = |(_, width, _, marks): &(usize, usize, bool, &str)| {
                GAP + if marks.contains('*') { (*width).min(20) } else { *width }
            };
            columns.iter().map(least).sum::<usize>().saturating_sub(GAP)
        };
        while least(&columns) > width
            && let Some(last) = columns.iter().rposition(|(.., marks)| marks.contains('~'))
        {
            columns.remove(last);
        }
        let surplus = whole(&columns).saturating_sub(width);
        if let Some(prose) = columns.iter_mut().rev().find(|(.., marks)| marks.contains('*')) {
            prose.1 = prose.1.saturating_sub(surplus).max(1);
        }
        Self { columns: columns.into_iter().map(|(place, width, right, _)| (place, width, right)).collect() }
    }

    pub fn heading(&self, headings: &[&str], sorting: Option<Sorting>, theme: Theme) -> String {
        self.line(theme, |place| {
            let text = headings.get(place).copied().map(name).unwrap_or_default();
            match sorting {
                Some(sorting) if sorting.column == place => format!("{text}{}", theme.arrow(sorting.ascending)),
                _ => text.to_owned(),
            }
        })
    }

    pub fn row<T>(&self, row: &Row<T>, theme: Theme) -> String {
        self.line(theme, |place| row.cells.get(place).map(|cell| cell.text.clone()).unwrap_or_default())
    }

    fn line(&self, theme: Theme, cell: impl Fn(usize) -> String) -> String {
        let mut line = String::new();
        for (number, (place, width, right)) in self.columns.iter().enumerate() {
            if number > 0 {
                line.push_str("  ");
            }
            let text = cell(*place);
            let length = text.chars().count();
            let blanks = " ".repeat(width.saturating_sub(length));
            if length > *width {
                line.extend(text.chars().take(width.saturating_sub(1)));
                line.push_str(theme.dots());
            } else if *right {
                line.push_str(&blanks);
                line.push_str(&text);
            } else {
                line.push_str(&text);
                line.push_str(&blanks);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Fitted, Row, Sorting, sort};
    use crate::cli::top::theme::{Theme, Tone};

    const HEADINGS: [&str; 4] = ["SOURCE", ">RATE", "~>BYTES", "*WHY"];
    const THEME: Theme = Theme { color: false, unicode: true };

    fn row(source: &str, rate: f64, why: &str) -> Row<()> {
        let cells = vec![
            Cell::text(source),
            Cell::figure(format!("{rate} k"), rate),
            Cell::text("1 MB"),
            Cell::text(why),
        ];
        Row { key: source.to_owned(), cells, tone: Tone::Plain, about: () }
    }

    #[test]
    fn what_does_not_fit_loses_columns_then_prose_and_never_an_address() {
        let rows = [row("2001:db8:1234:5678::/64", 50.0, "over its limit since a while")];
        let shown = |width| Fitted::new(&HEADINGS, &rows, None, width).row(&rows[0], THEME);
        assert_eq!(shown(80), "2001:db8:1234:5678::/64  50 k   1 MB  over its limit since a while");
        assert_eq!(shown(60), "2001:db8:1234:5678::/64  50 k   1 MB  over its limit since …");
        assert_eq!(shown(52), "2001:db8:1234:5678::/64  50 k  over its limit since…");
        assert!(shown(20).starts_with("2001:db8:1234:5678::/64  50 k"));
    }

    #[test]
    fn figures_are_sorted_by_what_they_are() {
        let mut rows = [row("a", 9.0, ""), row("b", 50.0, ""), row("c", 1.0, "")];
        sort(&mut rows, Sorting { column: 1, ascending: false });
        assert_eq!(rows.each_ref().map(|row| row.key.as_str()), ["b", "a", "c"]);
        sort(&mut rows, Sorting { column: 0, ascending: true });
        assert_eq!(rows.each_ref().map(|row| row.key.as_str()), ["a", "b", "c"]);
        let sorting = Some(Sorting { column: 1, ascending: false });
        let fitted = Fitted::new(&HEADINGS, &rows, sorting, 80);
        assert!(fitted.heading(&HEADINGS, sorting, THEME).contains("RATE▼"));
    }

    #[test]
    fn a_filter_looks_into_every_cell_and_control_characters_are_shown() {
        assert!(row("10.0.0.1", 1.0, "Banned").matches("bann"));
        assert!(!row("10.0.0.1", 1.0, "Banned").matches("exempt"));
        assert!(!Cell::text("\x1b[2J").text.contains('\x1b'));
    }
}
