//! `sluice history`: who changed what, and from what to what.

use clap::Args;

use super::table::Page;
use super::{Context, Execute, Failure, figures};
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
            figures::moment(change.at),
            change.made_by.clone(),
            change.state.clone(),
            change.what.clone(),
        ]
    });
    page.table(&[">NUMBER", "AT", "BY", "STATE", "WHAT"], rows.collect(), "nothing was changed");
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::table::Page;
    use crate::control::scripted::change;

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
}
