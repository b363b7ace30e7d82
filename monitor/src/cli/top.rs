//! `sluice top`: status and sources, again and again until interrupted.

use std::time::Duration;

use clap::Args;

use super::context::{on_terminal, print};
use super::sources::{Order, Sources};
use super::table::Page;
use super::{Context, Execute, Failure, sources, status};
use policy::config;
use api::status::ShowStatus;

/// Home, and erase what is below (ECMA-48 CUP and ED): no flicker, unlike erasing first.
const HOME: &str = "\x1b[H";
const ERASE_BELOW: &str = "\x1b[J";
const ERASE_LINE_END: &str = "\x1b[K\n";

/// Shows status and sources live
#[derive(Clone, Copy, Debug, Args)]
pub struct Top {
    /// What comes first
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub by: Order,
    /// How many sources
    #[arg(short = 'n', long = "number", default_value_t = 10, value_name = "N")]
    pub number: usize,
    /// Time between two pages
    #[arg(long, default_value = "1s", value_name = "TIME")]
    pub every: config::Duration,
    /// End after this many pages
    #[arg(long, value_name = "N")]
    pub pages: Option<u64>,
}

impl Execute for Top {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let wanted = Sources { by: self.by, prefix: None, service: None, number: self.number };
        let pause = self.every.0.max(Duration::from_millis(100));
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

fn show(context: &Context, wanted: &Sources) -> Result<(), Failure> {
        let status = context.ask(&ShowStatus {})?;
        let list = context.ask(&wanted.query())?;
        if context.output == super::context::Output::Json {
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
