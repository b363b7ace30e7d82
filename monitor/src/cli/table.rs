//! How answers look to people: lines and aligned columns, bold headings on a terminal, never a control character.
//!
//! A table that does not fit the terminal loses its least important columns first, then wraps prose between words, then
//! shows each row as a list. A word, an address or a figure is never broken.

use std::fmt::Write;

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, TableComponent, Width, presets,
};

use super::context::on_terminal;

/// Text that is written top to bottom.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Columns of the terminal; `None` when nobody looks, and lines may be as long as they are.
    width: Option<u16>,
    color: bool,
}

/// What a terminal that does not tell its width (a serial console says 0) is taken to have.
const ASSUMED_WIDTH: u16 = 80;
/// Space between two columns.
const GAP: usize = 2;

impl Page {
    /// A page for standard output as it is now.
    pub fn for_stdout() -> Self {
        let terminal = on_terminal();
        // https://no-color.org: present and not empty.
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let told = comfy_table::Table::new().width().filter(|width| *width > 0);
        let width = terminal.then_some(told.unwrap_or(ASSUMED_WIDTH));
        Self { text: String::new(), width, color: terminal && !no_color }
    }

    /// A page that nobody looks at.
    pub fn plain() -> Self {
        Self { text: String::new(), width: None, color: false }
    }

    /// A page for a terminal of this width, without colour.
    pub fn of_width(width: u16) -> Self {
        Self { text: String::new(), width: Some(width), color: false }
    }

    pub fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(&clean(line.as_ref()));
        self.text.push('\n');
    }

    pub fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A name and what there is to say, names padded to one width.
    pub fn field(&mut self, name: &str, value: impl AsRef<str>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{name:<13} {}", clean(value.as_ref()));
    }

    /// Columns. `~` before a heading lets the column go when the terminal is too narrow, the rightmost first; `>` aligns
    /// it to the right. `nothing` is shown for a table without rows.
    pub fn table(&mut self, headings: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
        if rows.is_empty() {
            return self.line(nothing);
        }
        let mut columns: Vec<Column> = headings.iter().map(|heading| Column::named(heading)).collect();
        for row in rows {
            for (column, cell) in columns.iter_mut().zip(row) {
                column.cells.push(clean(&cell));
            }
        }
        let hidden = self.width.map_or(0, |width| hide(&mut columns, width.into()));
        let narrowest: usize = columns.iter().map(|column| column.longest_word() + GAP).sum();
        if self.width.is_some_and(|width| narrowest > usize::from(width) + GAP) {
            self.list(&columns);
        } else {
            self.grid(&columns);
        }
        if hidden > 0 {
            let noun = if hidden == 1 { "column does" } else { "columns do" };
            self.line(format!("({hidden} {noun} not fit; a wider terminal or -o json shows all)"));
        }
    }

    fn grid(&mut self, columns: &[Column]) {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).remove_style(TableComponent::VerticalLines);
        table.set_header(columns.iter().map(|column| {
            let cell = Cell::new(&column.heading);
            if self.color { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in 0..columns.first().map_or(0, |column| column.cells.len()) {
            table.add_row(columns.iter().map(|column| column.cells.get(row).map_or("", String::as_str)));
        }
        for (drawn, column) in table.column_iter_mut().zip(columns) {
            drawn.set_padding((0, 2));
            if column.right {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
            let least = u16::try_from(column.longest_word() + GAP).unwrap_or(u16::MAX);
            drawn.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
        match self.width {
            Some(width) => table
                .set_content_arrangement(ContentArrangement::Dynamic)
                // The gap after the last column is cut off again.
                .set_width(width.saturating_add(2)),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        for line in table.lines() {
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    /// Each row as lines of a heading and a value, for a terminal that no table fits.
    fn list(&mut self, columns: &[Column]) {
        for row in 0..columns.first().map_or(0, |column| column.cells.len()) {
            if row > 0 {
                self.blank();
            }
            for column in columns {
                let cell = column.cells.get(row).map_or("", String::as_str);
                self.field(&column.heading, cell);
            }
        }
    }

    pub fn text(self) -> String {
        self.text
    }
}

/// One column of a table.
struct Column {
    heading: String,
    right: bool,
    optional: bool,
    cells: Vec<String>,
}

impl Column {
    fn named(heading: &str) -> Self {
        let name = heading.trim_start_matches(['~', '>']).to_owned();
        let marks = &heading[..heading.len() - name.len()];
        Self { right: marks.contains('>'), optional: marks.contains('~'), heading: name, cells: Vec::new() }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.heading.as_str()).chain(self.cells.iter().map(String::as_str))
    }

    fn widest(&self) -> usize {
        self.texts().map(|text| text.chars().count()).max().unwrap_or(0)
    }

    /// What cannot be wrapped: a figure with its unit stays whole in a column of figures.
    fn longest_word(&self) -> usize {
        if self.right {
            return self.widest();
        }
        self.texts().flat_map(|text| text.split(' ')).map(|word| word.chars().count()).max().unwrap_or(0)
    }
}

/// Removes optional columns, the rightmost first, until the rest fits; returns how many are gone.
fn hide(columns: &mut Vec<Column>, width: usize) -> usize {
    let fits = |columns: &[Column]| {
        columns.iter().map(|column| column.longest_word() + GAP).sum::<usize>() <= width + GAP
    };
    let before = columns.len();
    while !fits(columns)
        && let Some(last) = columns.iter().rposition(|column| column.optional)
    {
        columns.remove(last);
    }
    before - columns.len()
}

/// Comments and names come from elsewhere: what could move the cursor is shown, not sent.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn columns_align_and_lines_end_without_spaces() {
        let mut page = Page::plain();
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "1000".to_owned()]];
        page.table(&["NAME", ">COUNT"], rows, "none");
        assert_eq!(page.text(), "NAME    COUNT\na           1\nlonger   1000\n");
    }

    fn sources(page: &mut Page) {
        let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        let address = "2001:db8:1234:5678::/64";
        let rows = vec![row([address, "web", "48.0 k", "over its limit since noon", "inside"])];
        page.table(&["SOURCE", "SERVICE", ">DROPPED/S", "STATE", "~CLASS"], rows, "none");
    }

    #[test]
    fn a_narrow_terminal_loses_columns_then_wraps_prose_and_never_breaks_an_address() {
        for width in [200, 120, 80, 60, 40, 20, 1] {
            let mut page = Page::of_width(width);
            sources(&mut page);
            let text = page.text();
            for word in ["2001:db8:1234:5678::/64", "48.0 k", "limit"] {
                assert!(text.contains(word), "{width} columns broke {word}:\n{text}");
            }
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(width < 60 || longest <= width.into(), "{width} columns:\n{text}");
            assert_eq!(text.contains("inside"), width >= 60, "{width} columns:\n{text}");
            assert_eq!(text.contains("1 column does not fit"), width < 60, "{width} columns:\n{text}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_distance_from_its_value() {
        let mut page = Page::plain();
        page.field("forged_sources_likely", "false");
        assert_eq!(page.text(), "forged_sources_likely false\n");
    }

    #[test]
    fn a_table_without_rows_says_so() {
        let mut page = Page::plain();
        page.table(&["NAME"], Vec::new(), "no sources");
        assert_eq!(page.text(), "no sources\n");
    }

    #[test]
    fn control_characters_from_elsewhere_do_not_reach_the_terminal() {
        let mut page = Page::plain();
        page.field("comment", "\x1b[2Jgone");
        page.table(&["NAME"], vec![vec!["\x1b]0;x\x07".to_owned()]], "none");
        assert!(!page.text().contains(['\x1b', '\x07']));
    }
}
