//! What a detector is: something that contacts, attempts and time go into, and signals come out of.

use std::{fmt::Debug, net::IpAddr};

use super::{
    Learned, attempts::Attempt, bounded::StateSize, contact::Contact, finding::Signals, lookups::Lookups,
};

/// What is known beyond a contact or an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// How long anything was observed, in nanoseconds, earlier runs included.
    pub observed: u64,
    /// An open finding of warning or above is about one of its ends.
    pub flagged: bool,
    pub lookups: &'a Lookups,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Detection's clock, which only moves forward.
    pub now: u64,
    /// The recorded time, nanoseconds since the epoch.
    pub at: u64,
}

/// Packets that came in through an interface which the route to their source does not lead out of.
#[derive(Clone, Copy, Debug)]
pub struct Misplaced {
    /// The slot of the interface.
    pub interface: u32,
    /// The last source.
    pub source: IpAddr,
    pub packets: u64,
}

/// What a service did in one window: totals since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceRate {
    pub packets: u64,
    pub bytes: u64,
    pub new_sources: u64,
}

pub trait Detect: Debug + Send {
    fn contact(&mut self, _contact: &Contact<'_>, _scope: &Scope<'_>, _signals: &mut Signals) {}

    fn attempt(&mut self, _attempt: &Attempt, _scope: &Scope<'_>, _signals: &mut Signals) {}

    /// Time went by: what waits is due, and what was measured since the last signal is reported.
    fn tick(&mut self, _moment: Moment, _signals: &mut Signals) {}

    fn service(&mut self, _service: &str, _rate: ServiceRate, _moment: Moment, _signals: &mut Signals) {}

    /// The limiter reports that an inside source exceeds its limit.
    fn exceeded(&mut self, _source: IpAddr, _moment: Moment, _signals: &mut Signals) {}

    /// The kernel counted packets whose source cannot come in through their interface.
    fn misplaced(&mut self, _misplaced: &Misplaced, _moment: Moment, _signals: &mut Signals) {}

    /// Adds what should outlive the process.
    fn learned(&self, _learned: &mut Learned) {}

    fn sizes(&self) -> Vec<StateSize>;
}
