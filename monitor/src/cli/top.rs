//! `sluice top`: what happens now, on a terminal that answers to keys; as pages when nobody can press any.
//!
//! In: answers of the daemon, keys, signals. Out: a screen, and changes that were confirmed on it. The parts are folders
//! of one: [`panes`] makes rows of answers, [`view`] holds what is selected, [`draw`] paints, [`worker`] asks the daemon.

mod action;
mod draw;
mod grid;
mod panes;
mod run;
pub mod terminal;
mod theme;
mod trend;
mod view;
mod worker;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use super::context::{Output, on_terminal, print};
use super::sources::{Order, Sources};
use super::table::Page;
use super::{Context, Execute, Failure, sources, status, arguments};
use api::status::ShowStatus;
use policy::config;

/// Home, and erase what is below (ECMA-48 CUP and ED): no flicker, unlike erasing first.
const HOME: &str = "\x1b[H";
const ERASE_BELOW: &str = "\x1b[J";
const ERASE_LINE_END: &str = "\x1b[K\n";

/// Shows live what passes and what is dropped, and acts on it
///
/// On a terminal: panes of interfaces, services, sources, flows, findings and changes; `?` lists the keys. Piped, or with
/// --pages or -o json: one page after the other.
#[derive(Clone, Copy, Debug, Args)]
pub struct Top {
    /// What comes first
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub by: Order,
    /// How many sources: 10 of a page, 100 of the pane
    #[arg(short = 'n', long = "number", value_name = "N", value_parser = arguments::count)]
    pub number: Option<usize>,
    /// Time between two pages
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = arguments::time)]
    pub every: config::Duration,
    /// Print so many pages, and end
    #[arg(long, value_name = "N", value_parser = arguments::number::<u64>)]
    pub pages: Option<u64>,
}

impl Execute for Top {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let pause = self.every.0.max(Duration::from_millis(100));
        if self.pages.is_none() && context.output == Output::Table && can_be_worked_on() {
            return run::run(context, self.by, self.number.unwrap_or(100), pause);
        }
        let wanted =
            Sources { by: self.by, prefix: None, service: None, number: self.number.unwrap_or(10) };
        let mut left = self.pages;
        while left != Some(0) {
            show(context, &wanted)?;
            left = left.map(|left| left - 1);
            if left != Some(0) {
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }
}

/// Somebody looks, can press keys, and the cursor can be moved.
fn can_be_worked_on() -> bool {
    let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    on_terminal() && std::io::stdin().is_terminal() && moves
}

fn show(context: &Context, wanted: &Sources) -> Result<(), Failure> {
    let status = context.ask(&ShowStatus {})?;
    let list = context.ask(&wanted.query())?;
    if context.output == Output::Json {
        return context.show(&(status, list), |_, _| {});
    }
    let mut page = Page::for_stdout();
    status::render(&status.answer, &mut page);
    page.blank();
    sources::render(&list.answer, &mut page);
    let text = page.text();
    if on_terminal() {
        print(&format!("{HOME}{}{ERASE_BELOW}", text.replace('\n', ERASE_LINE_END)))
    } else {
        print(&format!("{text}\n"))
    }
}

#[cfg(test)]
mod tests;
