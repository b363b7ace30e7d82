//! How answers look to people: lines and aligned columns, bold headings on a terminal, never a control character.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, TableComponent, presets};

use super::context::on_terminal;

/// Text that is written top to bottom.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Columns of the terminal; `None` when nobody looks, and lines may be as long as they are.
    width: Option<u16>,
    color: bool,
}

impl Page {
    /// A page for standard output as it is now.
    pub fn for_stdout() -> Self {
        let terminal = on_terminal();
        // https://no-color.org: present and not empty.
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = comfy_table::Table::new().width().filter(|_| terminal);
        Self { text: String::new(), width, color: terminal && !no_color }
    }

    /// A page that nobody looks at.
    pub fn plain() -> Self {
        Self { text: String::new(), width: None, color: false }
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
        let _ = writeln!(self.text, "{name:<14}{}", clean(value.as_ref()));
    }

    /// Columns; `>` before a heading aligns it to the right. `nothing` stands in for a table without rows.
    pub fn table(&mut self, headings: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
        if rows.is_empty() {
            return self.line(nothing);
        }
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).remove_style(TableComponent::VerticalLines);
        table.set_header(headings.iter().map(|heading| {
            let cell = Cell::new(heading.trim_start_matches('>'));
            if self.color { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in rows {
            table.add_row(row.into_iter().map(|cell| clean(&cell)));
        }
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        match self.width {
            Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
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

    pub fn text(self) -> String {
        self.text
    }
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
