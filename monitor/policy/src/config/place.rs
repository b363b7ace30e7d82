//! Where in the file a key stands: paths like `service.web.limit.packets` to lines and columns, and back.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

/// Where in the file something stands; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// The keys of one file. Elements of arrays of tables are addressed by their `name`, or by position from 1.
#[derive(Debug)]
pub(super) struct Places<'t> {
    text: &'t str,
    /// Path, where its key stands, and what its key and value cover.
    keys: Vec<(String, usize, Range<usize>)>,
}

impl<'t> Places<'t> {
    pub(super) fn new(text: &'t str, table: &Spanned<DeTable<'_>>) -> Self {
        let mut keys = Vec::new();
        walk(table.get_ref(), "", &mut keys);
        Self { text, keys }
    }

    /// The place of `path`, or of the nearest table around it that the file spells out.
    pub(super) fn find(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some((_, start, _)) = self.keys.iter().find(|(key, ..)| key == path) {
                return Some(Place::of(self.text, *start));
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    /// The innermost key whose key or value covers `offset`.
    pub(super) fn key_at(&self, offset: usize) -> Option<String> {
        self.keys
            .iter()
            .filter(|(_, start, span)| span.contains(&offset) || *start == offset)
            .max_by_key(|(path, start, _)| (path.matches('.').count(), *start))
            .map(|(path, ..)| path.clone())
    }
}

fn walk(table: &DeTable<'_>, above: &str, keys: &mut Vec<(String, usize, Range<usize>)>) {
    for (key, value) in table {
        let path = join(above, key.get_ref());
        enter(&path, key, value, keys);
    }
}

fn enter(
    path: &str,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    keys: &mut Vec<(String, usize, Range<usize>)>,
) {
    let span = key.span().start..value.span().end.max(key.span().end);
    keys.push((path.to_owned(), key.span().start, span));
    match value.get_ref() {
        DeValue::Table(table) => walk(table, path, keys),
        DeValue::Array(array) => {
            for (position, element) in array.iter().enumerate() {
                let DeValue::Table(table) = element.get_ref() else {
                    continue;
                };
                let name = match table.get("name").map(Spanned::get_ref) {
                    Some(DeValue::String(name)) => name.clone(),
                    _ => Cow::Owned((position + 1).to_string()),
                };
                let path = join(path, &name);
                let span = element.span();
                keys.push((path.clone(), span.start, span));
                walk(table, &path, keys);
            }
        }
        _ => {}
    }
}

fn join(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}
