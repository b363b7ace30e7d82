//! What the screen shows at this moment, and what a key does to it. Nothing here paints, waits or asks.
//!
//! In: answers and keys. Out: what is wanted of the daemon, and whether it is over.

use std::collections::HashMap;

use api::ChangeOptions;
use api::sources::SourceOrder;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::action::Form;
use super::draw;
use super::grid::{self, Row, Sorting};
use super::panes::{self, About, Answers, Pane};
use super::run::Event;
use super::theme::Theme;
use super::trend::Trends;
use super::worker::Wanted;
use crate::cli::Exit;
use crate::cli::table::clean;

/// How one pane is looked at.
#[derive(Debug, Default)]
pub struct Looking {
    /// The row that is selected, by its name.
    pub key: Option<String>,
    /// Its place, for when that name is gone.
    pub place: usize,
    pub sorting: Option<Sorting>,
    pub filter: String,
}

/// What covers the panes or takes the keys.
#[derive(Debug)]
pub enum Over {
    /// The keys, from this line on.
    Help(usize),
    /// A page about something.
    Detail { about: Box<About>, far: bool, text: Option<String>, scroll: usize },
    /// The filter is typed.
    Filter,
    Form(Form),
    /// The daemon refused for safety: what it said, and the form to repeat.
    Danger(Form, String),
}

/// What a key led to.
#[derive(Debug, Default)]
pub struct Step {
    pub wanted: Vec<Wanted>,
    pub quit: bool,
    pub suspend: bool,
    pub repaint: bool,
}

#[derive(Debug)]
pub struct View {
    pub theme: Theme,
    pub answers: Option<Answers>,
    pub trends: Trends,
    pub focus: Pane,
    pub looking: HashMap<&'static str, Looking>,
    pub over: Option<Over>,
    pub paused: bool,
    /// What happened last, and whether it is bad.
    pub message: Option<(String, bool)>,
    /// Why there are no newer answers.
    pub stale: Option<String>,
    /// Columns of the screen, and rows of a page.
    pub width: u16,
    pub height: usize,
}

impl View {
    pub fn new(theme: Theme) -> Self {
        Self {
            theme,
            answers: None,
            trends: Trends::default(),
            focus: Pane::Sources,
            looking: HashMap::new(),
            over: None,
            paused: false,
            message: None,
            stale: None,
            width: 80,
            height: 10,
        }
    }

    /// How a pane is looked at.
    pub fn looking(&mut self, pane: Pane) -> &mut Looking {
        self.looking.entry(pane.title()).or_default()
    }

    /// The rows of a pane as it is looked at.
    pub fn rows(&self, pane: Pane) -> Vec<Row<About>> {
        let Some(answers) = &self.answers else { return Vec::new() };
        let mut rows = pane.rows(answers, &self.trends, self.theme);
        if let Some(looking) = self.looking.get(pane.title()) {
            rows.retain(|row| looking.filter.is_empty() || row.matches(&looking.filter));
            if let Some(sorting) = looking.sorting {
                grid::sort(&mut rows, sorting);
            }
        }
        rows
    }

    /// The place of the selected row: where its name is now, else where it was.
    pub fn selected(&self, pane: Pane, rows: &[Row<About>]) -> Option<usize> {
        let looking = self.looking.get(pane.title());
        let by_name = looking
            .and_then(|looking| looking.key.as_ref())
            .and_then(|key| rows.iter().position(|row| row.key == *key));
        let place = by_name.unwrap_or_else(|| looking.map_or(0, |looking| looking.place));
        (!rows.is_empty()).then(|| place.min(rows.len() - 1))
    }

    fn subject(&self) -> Option<About> {
        let rows = self.rows(self.focus);
        let place = self.selected(self.focus, &rows)?;
        rows.get(place).map(|row| row.about.clone())
    }

    fn select(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let rows = self.rows(self.focus);
        let Some(place) = self.selected(self.focus, &rows) else { return };
        let place = to(place, rows.len() - 1).min(rows.len() - 1);
        let key = rows.get(place).map(|row| row.key.clone());
        let looking = self.looking(self.focus);
        (looking.place, looking.key) = (place, key);
    }

    /// Takes what the daemon said.
    pub fn take(&mut self, event: Event) -> Step {
        let mut step = Step::default();
        match event {
            Event::Answers(_) if self.paused => {}
            Event::Answers(Ok(answers)) => {
                self.trends.take(panes::offered(&answers));
                self.answers = Some(*answers);
                self.stale = None;
                // What is read about something stays as fresh as the rest.
                if let Some(Over::Detail { about, far, .. }) = &self.over {
                    let (about, far, width) = (about.clone(), *far, self.width);
                    step.wanted.push(Wanted::Detail { about, far, width });
                }
            }
            Event::Answers(Err(failure)) => self.stale = Some(clean(&failure.message)),
            Event::Detail(answer) => {
                let said = answer.unwrap_or_else(|failure| format!("{}\n", clean(&failure.message)));
                if let Some(Over::Detail { text, .. }) = &mut self.over {
                    *text = Some(said);
                }
            }
            Event::Changed(Ok(applied), _) => {
                let number = applied.change.map_or_else(
                    || "nothing changed".to_owned(),
                    |number| format!("change {number}; undo it with `u` in the pane of changes"),
                );
                let what = applied.summary.first().map(|line| format!("{line}: ")).unwrap_or_default();
                let warnings = applied.warnings.iter().map(|warning| format!("; warning: {warning}"));
                let text = format!("{what}{number}{}", warnings.collect::<String>());
                self.message = Some((clean(&text), !applied.warnings.is_empty()));
            }
            Event::Changed(Err(failure), form) if failure.exit == Exit::NeedsConfirmation => {
                self.over = Some(Over::Danger(form, clean(&failure.message)));
            }
            Event::Changed(Err(failure), _) => self.message = Some((clean(&failure.message), true)),
            Event::Key(key) => return self.key(key),
            Event::Resized => {}
            Event::Ended => step.quit = true,
        }
        step
    }

    fn key(&mut self, key: KeyEvent) -> Step {
        let mut step = Step::default();
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => step.quit = true,
                KeyCode::Char('z') => step.suspend = true,
                KeyCode::Char('l') => step.repaint = true,
                _ => {}
            }
            return step;
        }
        match self.over.take() {
            None => self.plain_key(key.code, &mut step),
            Some(Over::Help(at)) => {
                let lines = draw::help(self.width.into()).lines().count();
                self.over = scrolled(key.code, at, lines, self.height).map(Over::Help);
            }
            Some(Over::Filter) => self.filter_key(key.code),
            Some(Over::Detail { about, far, text, scroll }) => {
                self.detail_key(key.code, (about, far, text, scroll), &mut step);
            }
            Some(Over::Form(form)) => self.form_key(key.code, form, &mut step),
            Some(Over::Danger(form, said)) => match key.code {
                KeyCode::Char('y') => ask_for(form, true, &mut step),
                KeyCode::Char('n') | KeyCode::Esc => self.message = Some(("nothing was done".to_owned(), false)),
                _ => self.over = Some(Over::Danger(form, said)),
            },
        }
        step
    }

    fn plain_key(&mut self, code: KeyCode, step: &mut Step) {
        self.message = None;
        let page = self.height.max(1);
        match code {
            KeyCode::Char('q') => step.quit = true,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.over = Some(Over::Help(0)),
            KeyCode::Char(digit @ '1'..='6') => {
                let place = usize::try_from(u32::from(digit) - u32::from('1')).unwrap_or(0);
                self.focus = Pane::ALL[place];
            }
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Pane::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.select(|at, _| at + 1),
            KeyCode::Up | KeyCode::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            KeyCode::PageDown => self.select(|at, _| at + page),
            KeyCode::PageUp => self.select(|at, _| at.saturating_sub(page)),
            KeyCode::Home | KeyCode::Char('g') => self.select(|_, _| 0),
            KeyCode::End | KeyCode::Char('G') => self.select(|_, last| last),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('/') => self.over = Some(Over::Filter),
            KeyCode::Esc => self.looking(self.focus).filter.clear(),
            KeyCode::Char('s') => self.sort_by_next(step),
            KeyCode::Char('r') => {
                if let Some(sorting) = &mut self.looking(self.focus).sorting {
                    sorting.ascending = !sorting.ascending;
                }
            }
            KeyCode::Enter => {
                if let Some(about) = self.subject() {
                    self.open(Box::new(about), false, step);
                }
            }
            KeyCode::Char(key @ ('b' | 'e' | 'l' | 'x' | 'u')) => self.begin(key),
            _ => {}
        }
    }

    fn turn(&mut self, by: usize) {
        let place = Pane::ALL.iter().position(|pane| *pane == self.focus).unwrap_or(0);
        self.focus = Pane::ALL[(place + by) % Pane::ALL.len()];
    }

    /// The next column, largest first; behind the last one the daemon's own order.
    fn sort_by_next(&mut self, step: &mut Step) {
        let headings = self.focus.headings();
        let looking = self.looking(self.focus);
        let column = looking.sorting.map_or(0, |sorting| sorting.column + 1);
        looking.sorting = headings
            .get(column)
            .map(|heading| Sorting { column, ascending: !heading.contains('>') });
        if self.focus == Pane::Sources {
            let order = match headings.get(column).copied().map(grid::name) {
                Some("DROPPED/S") => SourceOrder::Drops,
                Some("BITS/S") => SourceOrder::Bytes,
                _ => SourceOrder::Rate,
            };
            step.wanted.push(Wanted::Order(order));
        }
    }

    fn open(&mut self, about: Box<About>, far: bool, step: &mut Step) {
        step.wanted.push(Wanted::Detail { about: about.clone(), far, width: self.width });
        self.over = Some(Over::Detail { about, far, text: None, scroll: 0 });
    }

    fn begin(&mut self, key: char) {
        let about = self.subject();
        let limits = self.answers.as_ref().map_or(&[][..], |answers| &answers.status.limits);
        match about.ok_or("there is no row to act on").and_then(|about| Form::of(key, &about, limits)) {
            Ok(form) => self.over = Some(Over::Form(form)),
            Err(why) => self.message = Some((why.to_owned(), true)),
        }
    }

    fn filter_key(&mut self, code: KeyCode) {
        let filter = &mut self.looking(self.focus).filter;
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => return filter.clear(),
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char(typed) => filter.push(typed),
            _ => {}
        }
        self.over = Some(Over::Filter);
    }

    fn detail_key(
        &mut self,
        code: KeyCode,
        (about, far, text, scroll): (Box<About>, bool, Option<String>, usize),
        step: &mut Step,
    ) {
        match code {
            KeyCode::Char('o') if matches!(*about, About::Flow { .. }) => self.open(about, !far, step),
            KeyCode::Char(key @ ('b' | 'e' | 'l' | 'x' | 'u')) => self.begin(key),
            _ => {
                let lines = text.as_ref().map_or(0, |text| text.lines().count());
                let scroll = scrolled(code, scroll, lines, self.height);
                self.over = scroll.map(|scroll| Over::Detail { about, far, text, scroll });
            }
        }
    }

    fn form_key(&mut self, code: KeyCode, mut form: Form, step: &mut Step) {
        let question = form.is_question();
        match code {
            KeyCode::Char('y') if question => return ask_for(form, false, step),
            KeyCode::Esc | KeyCode::Char('n') if question || code == KeyCode::Esc => {
                self.message = Some(("nothing was done".to_owned(), false));
                return;
            }
            KeyCode::Enter if !question => form.next(),
            KeyCode::Backspace if !question => drop(form.fields[form.at].value.pop()),
            KeyCode::Char(typed) if !question => form.fields[form.at].value.push(typed),
            _ => {}
        }
        self.over = Some(Over::Form(form));
    }
}

/// Where a page of `lines` begins after a key; `None` when the key leaves it.
fn scrolled(code: KeyCode, at: usize, lines: usize, height: usize) -> Option<usize> {
    let last = lines.saturating_sub(height);
    let to = match code {
        KeyCode::Char('q' | 'h' | '?') | KeyCode::Esc | KeyCode::Enter | KeyCode::Left => return None,
        KeyCode::Down | KeyCode::Char('j') => at + 1,
        KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
        KeyCode::PageDown | KeyCode::Char(' ') => at + height,
        KeyCode::PageUp => at.saturating_sub(height),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => at,
    };
    Some(to.min(last))
}

fn ask_for(form: Form, yes: bool, step: &mut Step) {
    step.wanted.push(Wanted::Change(form, ChangeOptions { yes, ..ChangeOptions::default() }));
}
