//! What a run has to say: a table for people, TSV or JSON for machines, and the files that `docs/bench` keeps.
//!
//! In: sections of rows, and where they were measured. Out: text. A page in `docs/bench` is prose with one marked part,
//! which is replaced by each run that is kept; beside it stands the same as TSV.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::machine::Machine;

/// Between these lines of a page stands what a run wrote.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of figures -->";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Tsv,
    Json,
}

/// One field: what people read, and the value behind it.
#[derive(Clone, Debug)]
pub struct Cell {
    shown: String,
    value: Value,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        let shown = text.into();
        Self { value: shown.clone().into(), shown }
    }

    /// A number with so many decimals.
    pub fn number(value: f64, decimals: usize) -> Self {
        Self::shown(value, format!("{value:.decimals$}"))
    }

    pub fn shown(value: f64, shown: String) -> Self {
        Self { shown, value: ((value * 1000.0).round() / 1000.0).into() }
    }
}

/// A table with a name.
#[derive(Clone, Debug)]
pub struct Section {
    name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Section {
    pub fn new(name: &'static str, columns: &[&'static str]) -> Self {
        Self { name, columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As Markdown with its columns aligned, which a terminal shows as well.
    fn table(&self) -> String {
        let width = |column: usize| {
            let cells =
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.shown.chars().count());
            cells.chain([self.columns[column].len(), 3]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
            format!("|{}\n", padded.collect::<String>())
        };
        let mut text = line(self.columns.clone());
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        text += &line(rules.iter().map(String::as_str).collect());
        for row in &self.rows {
            text += &line(row.iter().map(|cell| cell.shown.as_str()).collect());
        }
        text
    }

    fn tsv(&self) -> String {
        let mut text = format!("# {}\n{}\n", self.name, self.columns.join("\t"));
        for row in &self.rows {
            let cells = row.iter().map(|cell| match &cell.value {
                Value::String(text) => text.replace('*', ""),
                other => other.to_string(),
            });
            text += &(cells.collect::<Vec<_>>().join("\t") + "\n");
        }
        text
    }

    fn json(&self) -> Value {
        let row = |row: &Vec<Cell>| {
            let fields = self.columns.iter().zip(row);
            let plain = |cell: &Cell| match &cell.value {
                Value::String(text) => Value::from(text.replace('*', "")),
                other => other.clone(),
            };
            fields.map(|(name, cell)| ((*name).to_owned(), plain(cell))).collect::<serde_json::Map<_, _>>()
        };
        self.rows.iter().map(|cells| Value::from(row(cells))).collect()
    }
}

/// All that a run has to say.
#[derive(Debug)]
pub struct Report {
    /// The page in `docs/bench`, without its ending.
    pub page: &'static str,
    pub machine: Machine,
    pub rounds: usize,
    pub sections: Vec<Section>,
}

/// All reports of a run, one after the other; as JSON, in one object by their pages' names.
pub fn text(reports: &[Report], format: Format) -> String {
    match format {
        Format::Table => reports.iter().map(Report::table).collect::<Vec<_>>().join("\n"),
        Format::Tsv => reports.iter().map(Report::tsv).collect(),
        Format::Json => {
            let named = reports.iter().map(|report| (report.page.to_owned(), report.json()));
            format!("{:#}\n", Value::from(named.collect::<serde_json::Map<_, _>>()))
        }
    }
}

impl Report {
    fn table(&self) -> String {
        let mut text = format!("{}; rounds: {}.\n", self.machine, self.rounds);
        for section in &self.sections {
            let _ = write!(text, "\n{}", section.table());
        }
        text
    }

    fn tsv(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.machine.facts() {
            let _ = writeln!(text, "# {name}: {value}");
        }
        let _ = writeln!(text, "# rounds: {}", self.rounds);
        for section in &self.sections {
            text += &section.tsv();
        }
        text
    }

    fn json(&self) -> Value {
        let mut all: serde_json::Map<String, Value> =
            self.machine.facts().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        all.insert("rounds".to_owned(), json!(self.rounds));
        for section in &self.sections {
            all.insert(section.name.to_owned(), section.json());
        }
        all.into()
    }

    /// Writes the TSV and the marked part of the page in `directory`.
    pub fn keep(&self, directory: &Path) -> Result<()> {
        let tsv = directory.join(self.page).with_extension("tsv");
        fs::write(&tsv, self.tsv()).with_context(|| format!("write {}", tsv.display()))?;
        let page = directory.join(self.page).with_extension("md");
        let old = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
        let marked = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) = marked
            .with_context(|| format!("{} has no part between `{BEGIN}` and `{END}`", page.display()))?;
        fs::write(&page, format!("{before}{BEGIN}\n{}{END}{after}", self.table()))
            .with_context(|| format!("write {}", page.display()))?;
        eprintln!("kept in {} and {}", page.display(), tsv.display());
        Ok(())
    }
}
