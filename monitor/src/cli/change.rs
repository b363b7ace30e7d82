//! How a change is asked for and what it did: the options that every changing command has.

use clap::Args;

use super::arguments;
use super::figures;
use super::table::Page;
use api::{Applied, ChangeOptions};
use policy::config::Duration;

/// Lines of what is different now; an undone import may have thousands.
const SHOWN: usize = 20;

/// Options of every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct ChangeArgs {
    /// Keep it over restarts
    #[arg(long)]
    pub save: bool,
    /// Take it back after this time unless `sluice confirm` says to keep it
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    pub confirm_within: Option<Duration>,
    /// Do it although it touches the caller's own connection, another operator's or loopback
    #[arg(long)]
    pub yes: bool,
}

impl ChangeArgs {
    /// As the API takes them.
    pub fn options(&self) -> ChangeOptions {
        ChangeOptions {
            save: self.save,
            yes: self.yes,
            // Less than a second would be no time to confirm in.
            confirm_within_seconds: self.confirm_within.map(|Duration(time)| time.as_secs().max(1)),
        }
    }
}

/// Shows what a change did.
pub fn render(applied: &Applied, page: &mut Page) {
    if applied.summary.is_empty() {
        page.line("nothing changed");
    }
    for line in applied.summary.iter().take(SHOWN) {
        page.line(line);
    }
    if applied.summary.len() > SHOWN {
        page.line(format!("and {} more; -o json shows all", applied.summary.len() - SHOWN));
    }
    for warning in &applied.warnings {
        page.line(format!("warning: {warning}"));
    }
    let number = applied.change.map(|number| format!("change {number}")).unwrap_or_default();
    if let Some(until) = applied.confirm_by {
        let until = figures::moment(until);
        page.line(format!("{number} is taken back at {until} unless you say `sluice confirm`"));
    } else if !number.is_empty() {
        let kept = if applied.saved { "kept over restarts" } else { "until the daemon restarts" };
        page.line(format!("{number}, {kept}; undo it with `sluice revert {}`", applied.change.unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::{ChangeArgs, render};
    use crate::cli::table::Page;
    use api::{Applied, ChangeOptions};

    #[test]
    fn less_than_a_second_to_confirm_in_is_a_second() {
        let soon = policy::config::Duration(std::time::Duration::from_millis(1));
        let all = ChangeArgs { save: true, confirm_within: Some(soon), yes: true };
        let wanted = ChangeOptions { save: true, yes: true, confirm_within_seconds: Some(1) };
        assert_eq!(all.options(), wanted);
    }

    #[test]
    fn of_a_change_in_many_places_the_first_are_shown() {
        let summary = (0..1000).map(|n| format!("- deny 203.0.{n}.0/28")).collect();
        let mut page = Page::plain();
        render(&Applied { change: Some(7), summary, ..Applied::default() }, &mut page);
        let text = page.text();
        assert_eq!(text.lines().count(), 22);
        assert!(text.contains("and 980 more; -o json shows all"), "{text}");
    }

    #[test]
    fn a_change_that_waits_says_until_when_and_what_to_do() {
        let confirm_by = "2026-11-22T12:01:00Z".parse().ok();
        let applied = Applied {
            change: Some(7),
            summary: vec!["web: 1k/s".to_owned()],
            confirm_by,
            ..Applied::default()
        };
        let mut page = Page::plain();
        render(&applied, &mut page);
        let wanted =
            "web: 1k/s\nchange 7 is taken back at 2026-11-22 12:01:00Z unless you say `sluice confirm`\n";
        assert_eq!(page.text(), wanted);
    }
}
