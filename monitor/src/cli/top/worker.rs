//! Who asks the daemon, so that keys are answered while an answer is late.
//!
//! In: what is wanted. Out: answers, in the order in which they were wanted. Once a period everything is asked anew.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use api::access::ListAccess;
use api::alerts::AlertQuery;
use api::flows::FlowQuery;
use api::history::HistoryQuery;
use api::sources::{SourceOrder, SourceQuery};
use api::status::ShowStatus;
use api::{Applied, ChangeOptions};

use super::action::{Action, Form};
use super::panes::{About, Answers};
use super::run::Event;
use crate::cli::table::Page;
use crate::cli::{Context, Exit, Failure, alerts, explain, history, limit, sources, status};

/// Rows of a pane that are asked for.
const ROWS: usize = 100;
const CHANGES: usize = 50;

/// What the screen wants.
#[derive(Debug)]
pub enum Wanted {
    /// Sources in this order from now on.
    Order(SourceOrder),
    /// A page about something, for a width; `far` is the other end of a flow.
    Detail { about: Box<About>, far: bool, width: u16 },
    /// The change that a form asks for.
    Change(Form, ChangeOptions),
}

/// Who asks.
#[derive(Debug)]
pub struct Worker {
    pub context: Context,
    pub order: SourceOrder,
    pub number: usize,
    pub every: Duration,
}

impl Worker {
    /// Asks until nobody wants anything any more.
    pub fn work(mut self, wanted: &Receiver<Wanted>, events: &SyncSender<Event>) {
        let mut next = Instant::now();
        loop {
            let event = match wanted.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Wanted::Order(order)) => {
                    self.order = order;
                    Event::Answers(self.answers().map(Box::new))
                }
                Ok(Wanted::Detail { about, far, width }) => Event::Detail(self.detail(&about, far, width)),
                Ok(Wanted::Change(form, options)) => Event::Changed(self.change(&form, options), form),
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + self.every;
                    Event::Answers(self.answers().map(Box::new))
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // A change shows at once.
            if matches!(event, Event::Changed(Ok(_), _)) {
                next = Instant::now();
            }
            if events.send(event).is_err() {
                return;
            }
        }
    }

    pub fn answers(&self) -> Result<Answers, Failure> {
        let sources = SourceQuery { order: self.order, limit: self.number, ..SourceQuery::default() };
        let alerts = AlertQuery { open: true, limit: ROWS, ..AlertQuery::default() };
        let context = &self.context;
        Ok(Answers {
            status: context.ask(&ShowStatus {})?.answer,
            sources: context.ask(&sources)?.answer,
            access: context.ask(&ListAccess {})?.answer,
            flows: context.ask(&FlowQuery { limit: ROWS, ..FlowQuery::default() })?.answer,
            alerts: context.ask(&alerts)?.answer.alerts,
            changes: context.ask(&HistoryQuery { limit: CHANGES, before: None })?.answer.changes,
        })
    }

    fn detail(&self, about: &About, far: bool, width: u16) -> Result<String, Failure> {
        let mut page = Page::of_width(width);
        let explained = |address, page: &mut Page| -> Result<(), Failure> {
            let why = self.context.ask(&api::explanation::Explain { address })?;
            explain::render(&why.answer, page);
            Ok(())
        };
        match about {
            About::Interface(name) => {
                let status = self.context.ask(&ShowStatus {})?.answer;
                status::one_interface(&status, name, &mut page);
            }
            About::Service(name) => {
                let mut limits = self.context.ask(&api::limits::ListLimits::default())?.answer.limits;
                limits.retain(|limit| limit.service == *name);
                let query =
                    SourceQuery { service: Some(name.clone()), limit: 20, ..SourceQuery::default() };
                limit::render(&limits, &mut page);
                page.blank();
                sources::render(&self.context.ask(&query)?.answer, &mut page);
            }
            About::Source { source, .. } => explained(source.addr(), &mut page)?,
            About::Flow { initiator, responder } => {
                explained(if far { *responder } else { *initiator }, &mut page)?;
            }
            About::Finding(alert) => {
                let alert = self.context.ask(&api::alerts::AlertShow { number: alert.id })?;
                alerts::details(&alert.answer, &mut page);
            }
            About::Change(change) => history::render_one(change, &mut page),
        }
        Ok(page.text())
    }

    fn change(&self, form: &Form, options: ChangeOptions) -> Result<Applied, Failure> {
        let action = form.action().map_err(|error| Failure::new(Exit::Usage, error))?;
        let applied = match action {
            Action::Access(add) => self.context.ask_with(&add, &options)?,
            Action::Limit(set) => self.context.ask_with(&*set, &options)?,
            Action::Silence(silence) => self.context.ask_with(&silence, &options)?,
            Action::Revert(revert) => self.context.ask_with(&revert, &options)?,
        };
        Ok(applied.answer)
    }
}
