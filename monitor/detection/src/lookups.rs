//! Who asked a resolver, and when. Programs reach their servers by name; what is reached by address alone was put there
//! by somebody who did not want to depend on names.
//!
//! In: contacts with port 53. Out: whether a connection was preceded by a query of its source. Payload is not read, so a
//! query for another name counts as well: that hides an implant on a busy host and blames nobody.

use std::{collections::VecDeque, net::IpAddr};

use super::{
    bounded::{Bounded, StateSize},
    contact::Contact,
    statistics::{count, real},
};

const SECOND: u64 = 1_000_000_000;
/// A program connects this soon after it knows the address: resolution, address families, a retry.
const SOON: u64 = 3 * SECOND;
/// Over what time the rate of queries is taken at least.
const OFTEN: u64 = 300 * SECOND;
/// Share of moments that are near a query at most, for the absence of one to say something.
const SELDOM: f64 = 0.4;
/// Queries that are remembered per source.
const RECENT: usize = 32;
/// Queries of a source before their absence says anything: a source whose names are resolved elsewhere has none.
const KNOWN: u32 = 3;

/// Whether a name led to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The source was never seen to ask, so nothing follows.
    Unknown,
    Named,
    Unnamed,
}

#[derive(Debug, Default)]
struct Source {
    recent: VecDeque<u64>,
    total: u32,
}

#[derive(Debug)]
pub struct Lookups {
    sources: Bounded<IpAddr, Source>,
}

impl Lookups {
    pub fn new(capacity: usize) -> Self {
        Self { sources: Bounded::new("lookups", capacity) }
    }

    pub fn size(&self) -> StateSize {
        self.sources.size()
    }

    pub fn contact(&mut self, contact: &Contact<'_>) {
        let asks = contact.port == 53
            && contact.observed().is_none()
            && (contact.started() || contact.delta.forward.packets > 0);
        if !asks {
            return;
        }
        let inside = contact.source_inside;
        let Some(source) = self.sources.entry(contact.source, inside, contact.now, |_| true, Source::default)
        else {
            return;
        };
        source.total = source.total.saturating_add(1);
        if source.recent.len() >= RECENT {
            source.recent.pop_front();
        }
        source.recent.push_back(contact.now);
    }

    /// Whether `source` asked a resolver just before `began`.
    pub fn naming(&self, source: IpAddr, began: u64) -> Naming {
        let Some(known) = self.sources.get(&source) else { return Naming::Unknown };
        let is_near = |at: &u64| *at <= began && began - *at <= SOON;
        if known.recent.iter().any(is_near) {
            Naming::Named
        } else if known.total >= KNOWN {
            Naming::Unnamed
        } else {
            Naming::Unknown
        }
    }
}

impl Lookups {
    /// The chance that some query of `source` is near a connection that has nothing to do with it.
    pub fn chance(&self, source: IpAddr, now: u64) -> f64 {
        let Some(known) = self.sources.get(&source) else { return 0.0 };
        let Some(first) = known.recent.front() else { return 0.0 };
        let span = now.saturating_sub(*first).max(OFTEN);
        (count(known.recent.len()) * real(SOON) / real(span)).min(1.0)
    }
}

/// How the connections of a pair came about, over many of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named {
    asked: u32,
    unasked: u32,
    /// Of them, those that chance would name on a host that asks as often as this one.
    by_chance: f64,
}

impl Named {
    pub const fn add(&mut self, naming: Naming, chance: f64) {
        match naming {
            Naming::Unknown => return,
            Naming::Named => self.asked = self.asked.saturating_add(1),
            Naming::Unnamed => self.unasked = self.unasked.saturating_add(1),
        }
        self.by_chance += chance;
    }

    /// Whether no query was near any of them, on a host that asks seldom enough for that to say something.
    pub fn is_unasked(self) -> bool {
        self.asked == 0 && self.unasked > 0 && self.by_chance <= SELDOM * f64::from(self.unasked)
    }

    /// Answers outlive a connection in caches, so that only several connections without a query say something.
    pub fn settled(self, least: u32) -> Naming {
        let named = f64::from(self.asked);
        // On a host that asks all the time nothing follows; the benefit is the program's.
        let is_busy = 2.0 * self.by_chance > f64::from(self.asked + self.unasked);
        if self.asked * 3 >= self.unasked && (named > 2.0 * self.by_chance || (is_busy && self.asked > 0)) {
            Naming::Named
        } else if named <= self.by_chance + self.by_chance.sqrt() && self.unasked >= least.max(2 * self.asked)
        {
            Naming::Unnamed
        } else {
            Naming::Unknown
        }
    }
}
