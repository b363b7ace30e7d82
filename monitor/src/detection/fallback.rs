//! Ways that were given up for others: a program tries a name over IPv6, hears nothing, and reaches it over IPv4 a moment
//! later (RFC 8305). Where IPv6 leads nowhere, every site that is visited leaves a failed contact behind.
//!
//! In: contacts over IPv6 as they begin, and what was reached over IPv4. Out: which of the former the latter replaces, one
//! for one, so that a scan behind the same MAC as many busy hosts is excused a few contacts and not all.

use std::{collections::VecDeque, net::IpAddr};

use monitor_common::flow::protocol;

use super::{
    attempts::Attempted,
    bounded::{Bounded, StateSize},
};

const SECOND: u64 = 1_000_000_000;
/// How long after the first way the second is tried at most (RFC 8305, 8: two seconds).
const LATEST: u64 = 5 * SECOND / 2;
/// Contacts that wait for their replacement, by machine and port.
const WAITING: usize = 32;

#[derive(Debug)]
pub struct Fallbacks {
    /// By the machine's MAC and the port.
    waiting: Bounded<(u64, u16), VecDeque<(u64, Attempted)>>,
}

impl Fallbacks {
    pub fn new(capacity: usize) -> Self {
        Self { waiting: Bounded::new("fallbacks", capacity) }
    }

    pub fn size(&self) -> StateSize {
        self.waiting.size()
    }

    /// `what` begins; `mac` is its sender's, 0 when unknown.
    pub fn begins(&mut self, what: Attempted, mac: u64, now: u64) {
        let IpAddr::V6(source) = what.source else { return };
        if mac == 0 || what.protocol != protocol::TCP || source.is_unicast_link_local() {
            return;
        }
        let keep = |queue: &VecDeque<(u64, Attempted)>| {
            queue.back().is_some_and(|(began, _)| now.saturating_sub(*began) <= LATEST)
        };
        let Some(queue) = self.waiting.entry((mac, what.port), false, now, keep, VecDeque::new) else {
            return;
        };
        while queue.len() >= WAITING || queue.front().is_some_and(|(began, _)| now - began > 4 * LATEST) {
            queue.pop_front();
        }
        queue.push_back((now, what));
    }

    /// What `reached`, which began at `began`, was tried instead of.
    pub fn replaces(&mut self, reached: &Attempted, mac: u64, began: u64) -> Option<Attempted> {
        if mac == 0 || reached.protocol != protocol::TCP || reached.source.is_ipv6() {
            return None;
        }
        let queue = self.waiting.get_mut(&(mac, reached.port))?;
        let place = queue.iter().position(|(then, _)| *then <= began && began - then <= LATEST)?;
        queue.remove(place).map(|(_, what)| what)
    }
}
