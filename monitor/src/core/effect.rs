//! What enters the core and what it wants done: the two enums between the core and its drivers.
//!
//! In: commands with their callers, readings, records, events, host news and ticks. Out: answers, the snapshot, findings
//! for the sinks, the end. Writes whose outcome decides what happens next go through [`super::ports`] instead.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use datapath::{Banned, Counters, Generation, MapUse};
use detection::ledger::ChangeKind;
use monitor_common::conversation::Record;
use monitor_common::flow::SourceKey;
use monitor_common::record::{Event, SourceEntry};
use policy::config::{AccessList, Alerts};
use tuning::defence::Load;

use super::command::{Alert, Reply, Request};
use crate::snapshot::{ListState, Process, SinkState, Snapshot};
use api::Error;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Somebody asks for something.
    Command(Box<Request>),
    /// Flow records, in the order in which the kernel made them.
    Records(Vec<Record>),
    /// Events of the limiter.
    Events(Vec<Event>),
    /// What the kernel has counted.
    Reading(Box<Reading>),
    /// An interface, an address or a route appeared, changed or went.
    LinksChanged,
    /// A look at the host, every half minute.
    Host(News),
    /// A list was fetched, and is to be read again.
    Fetched(String),
    /// A second passed.
    Tick,
    /// An effect was performed, or failed.
    Performed { what: &'static str, outcome: Result<()> },
}

/// The kernel's tables at one moment. A part that could not be read carries its error and leaves the figures before it.
#[derive(Debug)]
pub struct Reading {
    pub counted: Result<Counted>,
    /// The source table; `None` when it was not due.
    pub sources: Option<Result<Vec<(SourceKey, SourceEntry)>>>,
    pub load: Load,
    pub process: Process,
    /// How long the reading took, in seconds.
    pub seconds: f64,
    /// How findings reach their receivers.
    pub sinks: Vec<SinkState>,
    /// How fetched lists are.
    pub lists: Vec<ListState>,
    /// What is wrong beside the core: parts that are tried again, sinks that wait.
    pub beside: Vec<String>,
}

/// What is read at every tick.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub counters: Counters,
    pub generation: Generation,
    pub maps: Vec<MapUse>,
    pub banned: Banned,
}

/// What the host's network and sessions look like.
#[derive(Debug)]
pub struct News {
    /// The host's own addresses.
    pub own: Result<Vec<IpAddr>>,
    /// Far ends of established SSH connections.
    pub sessions: BTreeSet<IpAddr>,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Effect {
    Answer(Answer),
    Publish(Arc<Snapshot>),
    /// A finding for the sinks.
    Alert(Box<Told>),
    /// Files of sinks may have been moved away.
    ReopenLogs,
    /// Where findings go from now on.
    Sinks(Alerts),
    /// Which lists there are from now on.
    Lists(Vec<AccessList>),
    End(Ended),
}

/// A moment of a finding's life.
#[derive(Clone, Debug)]
pub struct Told {
    pub alert: Alert,
    pub kind: ChangeKind,
    /// Severe enough for people, and not quiet.
    pub post: bool,
}

/// How the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The kernel keeps protecting.
    Stopped,
    /// Programs, maps and pins are gone.
    Detached,
}

/// An answer with the caller that waits for it.
pub struct Answer(Box<dyn FnOnce() + Send>);

impl Answer {
    pub fn new<T: Send + 'static>(reply: Reply<T>, answer: Result<T, Error>) -> Self {
        Self(Box::new(move || reply.send(answer)))
    }

    pub fn give(self) {
        (self.0)();
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}
