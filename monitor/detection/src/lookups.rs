//! Who asked a resolver, and when. Programs reach their servers by name; what is reached by address alone was put there
//! by somebody who did not want to depend on names.
//!
//! In: contacts with port 53. Out: whether a connection was preceded by a query of its source. Payload is not read, so a
//! query for another name counts as well: that hides an implant on a busy host and blames nobody.

use std::{collections::VecDeque, net::IpAddr};

use super::{
    bounded::{Bounded, StateSize},
    contact::Contact,
};

const SECOND: u64 = 1_000_000_000;
/// A program connects this soon after it knows the address: resolution, address families, a retry.
const SOON: u64 = 3 * SECOND;
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

/// How the connections of a pair came about, over many of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named {
    named: u32,
    unnamed: u32,
}

impl Named {
    pub const fn add(&mut self, naming: Naming) {
        match naming {
            Naming::Unknown => {}
            Naming::Named => self.named = self.named.saturating_add(1),
            Naming::Unnamed => self.unnamed = self.unnamed.saturating_add(1),
        }
    }

    /// Answers outlive a connection in caches, so that only several connections without a query say something.
    pub const fn settled(self, least: u32) -> Naming {
        if self.named * 3 >= self.unnamed && self.named > 0 {
            Naming::Named
        } else if self.named == 0 && self.unnamed >= least {
            Naming::Unnamed
        } else {
            Naming::Unknown
        }
    }
}
