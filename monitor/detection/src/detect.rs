//! What a detector is: something that contacts, attempts and time go into, and signals come out of. [`registry`] lists
//! all of them; a new one is a file and a line there.

use std::{fmt::Debug, net::IpAddr};

use super::{
    Learned, administration, attempts::Attempt, beacon, bounded::StateSize, brute_force, contact::Contact,
    crowding, edges, exfiltration, fan_out, finding::Signals, flood, long_connection, lookups::Lookups,
    out_of_state, outbound, parameters::Parameters, plain_text, protocol_scan, rate_shift,
    rate_shift::ServiceRate, scan, slow_scan, spoofed, sweep, tunnel,
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

/// All detectors, in the order in which they see a contact.
pub fn registry(p: &Parameters, learned: &Learned, now: u64) -> Vec<Box<dyn Detect>> {
    vec![
        Box::new(scan::Scan::new(&p.scan)),
        Box::new(protocol_scan::ProtocolScan::new(&p.scan)),
        Box::new(slow_scan::SlowScan::new(&p.slow_scan)),
        Box::new(out_of_state::OutOfState::new(&p.out_of_state_scan)),
        Box::new(sweep::Sweep::new(&p.sweep)),
        Box::new(brute_force::BruteForce::new(&p.brute_force)),
        Box::new(flood::Flood::new(&p.flood)),
        Box::new(crowding::Crowding::new(&p.crowding)),
        Box::new(outbound::Outbound::new(&p.outbound)),
        Box::new(tunnel::Tunnel::new(&p.tunnel)),
        Box::new(beacon::Beacon::new(&p.beacon)),
        Box::new(exfiltration::Exfiltration::new(&p.exfiltration, &learned.baselines)),
        Box::new(edges::Edges::new(&p.edges, &learned.edges, now)),
        Box::new(rate_shift::RateShift::new(&p.rate_shift, &learned.services)),
        Box::new(long_connection::LongConnection::new(&p.long_connection)),
        Box::new(spoofed::Spoofed::new(&p.spoofed_source)),
        Box::new(fan_out::FanOut::new(&p.fan_out)),
        Box::new(administration::Administration::new(&p.administration)),
        Box::new(plain_text::PlainText::new(&p.plain_text)),
    ]
}
