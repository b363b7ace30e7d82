//! `sluice history`: who changed what, and from what to what.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::table::Page;
use super::{Context, Execute, Exit, Failure, figures, arguments};
use api::history::{Change, HistoryQuery};

/// Lists the changes, newest first, or shows one with what stood before and after
#[derive(Clone, Copy, Debug, Args)]
pub struct History {
    /// Show this change alone
    #[arg(conflicts_with = "number", value_parser = arguments::number::<u64>)]
    change: Option<u64>,
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 20, value_name = "N", value_parser = arguments::count)]
    pub number: usize,
}

impl Execute for History {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        if let Some(number) = self.change {
            let before = Some(number.saturating_add(1));
            let history = context.ask(&HistoryQuery { limit: 1, before })?;
            let found = history.answer.changes.into_iter().find(|change| change.number == number);
            let told = format!("history: there is no change {number}; `sluice history` lists them");
            let change = found.ok_or_else(|| Failure::new(Exit::NotFound, told))?;
            return context.show(&change, render_one);
        }
        let mut history = context.ask(&HistoryQuery { limit: self.number, before: None })?;
        // Long texts make short pages.
        while let Some(before) = history.answer.next
            && let Some(more @ 1..) = self.number.checked_sub(history.answer.changes.len())
        {
            let page = context.ask(&HistoryQuery { limit: more, before: Some(before) })?;
            history.answer.changes.extend(page.answer.changes);
            history.answer.next = page.answer.next;
        }
        context.show(&history, |history, page| render(&history.answer.changes, page))
    }
}

fn render(changes: &[Change], page: &mut Page) {
    let rows = changes.iter().map(|change| {
        vec![
            change.number.to_string(),
            figures::moment(change.at),
            change.made_by.clone(),
            change.state.clone(),
            change.what.clone(),
        ]
    });
    page.table(&[">NUMBER", "AT", "BY", "STATE", "WHAT"], rows.collect(), "nothing was changed");
}

pub fn render_one(change: &Change, page: &mut Page) {
    page.field("change", format!("{} ({})", change.number, change.state));
    page.field("at", figures::moment(change.at));
    page.field("by", change.made_by.clone());
    page.field("what", change.what.clone());
    page.blank();
    for line in differences(&change.before, &change.after) {
        page.line(line);
    }
    if let Some(evidence) = &change.evidence {
        page.field("evidence", evidence.to_string());
    }
}

/// What is different between two states, as lines with `-` and `+`; texts of many lines are compared by the line.
fn differences(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (leaves(before), leaves(after));
    let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for place in places {
        match (before.get(place), after.get(place)) {
            (old, new) if old == new => {}
            (Some(old), Some(new)) if old.contains('\n') || new.contains('\n') => {
                lines.push(format!("  {place}:"));
                for change in TextDiff::from_lines(old, new).iter_all_changes() {
                    let sign = match change.tag() {
                        ChangeTag::Delete => "-",
                        ChangeTag::Insert => "+",
                        ChangeTag::Equal => continue,
                    };
                    lines.push(format!("{sign}   {}", change.value().trim_end()));
                }
            }
            (old, new) => {
                lines.extend(old.map(|old| format!("- {place}: {old}")));
                lines.extend(new.map(|new| format!("+ {place}: {new}")));
            }
        }
    }
    lines
}

/// Every value of a JSON document with its path; a text that is none stands for itself.
fn leaves(text: &str) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &Value, all: &mut BTreeMap<String, String>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Null => {}
            Value::Object(map) => map.iter().for_each(|(name, value)| walk(&below(name), value, all)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| walk(&below(&at.to_string()), value, all));
            }
            Value::String(text) => drop(all.insert(path.to_owned(), text.clone())),
            other => drop(all.insert(path.to_owned(), other.to_string())),
        }
    }
    let mut all = BTreeMap::new();
    match serde_json::from_str(text) {
        Ok(value) => walk("", &value, &mut all),
        Err(_) => drop(all.insert("state".to_owned(), text.to_owned())),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{differences, render, render_one};
    use crate::cli::table::Page;
    use crate::cli::samples::change;

    #[test]
    fn a_change_says_who_when_and_what() {
        let mut page = Page::plain();
        render(&[change()], &mut page);
        let wanted = "\
NUMBER  AT                    BY        STATE    WHAT
     7  2026-11-22 12:00:00Z  uid 1000  applied  limit web
";
        assert_eq!(page.text(), wanted);
    }

    #[test]
    fn a_change_is_shown_as_what_is_different() {
        let before = r#"{"limits":[{"mode":"observe","packets":"1k/s"}],"config":{"toml":"a = 1\nb = 2\n"}}"#;
        let after = r#"{"limits":[{"mode":"enforce","packets":"1k/s"}],"config":{"toml":"a = 1\nb = 3\n"}}"#;
        let wanted =
            ["  config.toml:", "-   b = 2", "+   b = 3", "- limits.0.mode: observe", "+ limits.0.mode: enforce"];
        assert_eq!(differences(before, after), wanted);
        assert!(differences(before, before).is_empty());
    }

    #[test]
    fn one_change_says_what_stood_before_and_after_and_on_what_it_rests() {
        let mut page = Page::plain();
        let evidence = Some(serde_json::json!({"proposed": 640}));
        render_one(&crate::engine::command::Change { evidence, ..change() }, &mut page);
        let text = page.text();
        for words in ["7 (applied)", "enforce 1000/s", "{\"proposed\":640}"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
