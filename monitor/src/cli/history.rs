//! `sluice history`: who changed what, and from what to what.

use clap::Args;

use super::table::Page;
use super::{Context, Execute, Failure};
use crate::control::protocol::{self, Versioned};
use crate::engine::command::Change;

/// Lists the changes, newest first
#[derive(Clone, Copy, Debug, Args)]
pub struct History {
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 20, value_name = "N")]
    pub number: usize,
}

impl Execute for History {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let history: Versioned<protocol::History> =
            context.get(&format!("/v1/history?limit={}", self.number))?;
        context.show(&history, |history, page| render(&history.answer.changes, page))
    }
}

fn render(changes: &[Change], page: &mut Page) {
    let rows = changes.iter().map(|change| {
        vec![
            change.number.to_string(),
            change.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            change.made_by.clone(),
            change.what.clone(),
            change.before.clone(),
            change.after.clone(),
            change.state.clone(),
        ]
    });
    page.table(&[">NUMBER", "AT", "BY", "WHAT", "BEFORE", "AFTER", "STATE"], rows.collect(), "nothing was changed");
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::table::Page;
    use crate::control::scripted::change;

    #[test]
    fn a_change_says_who_when_and_from_what_to_what() {
        let mut page = Page::plain();
        render(&[change()], &mut page);
        let wanted = "\
NUMBER  AT                    BY        WHAT       BEFORE  AFTER           STATE
     7  2026-11-22 12:00:00Z  uid 1000  limit web  off     enforce 1000/s  applied
";
        assert_eq!(page.text(), wanted);
    }
}
