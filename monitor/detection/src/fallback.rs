//! Ways that were given up for others: a program tries a name over IPv6, hears nothing, and reaches it over IPv4 a moment
//! later (RFC 8305). Where IPv6 leads nowhere, every site that is visited leaves a failed contact behind.
//!
//! In: contacts over IPv6 as they begin, and what was reached over IPv4. Out: which of the former the latter replaces, one
//! for one, so that a scan behind the same MAC as many busy hosts is excused a few contacts and not all. Behind a router a
//! MAC is many hosts: an IPv6 source must fall back to one IPv4 source again and again, not to whoever comes by.

use std::{collections::VecDeque, net::IpAddr};

use monitor_common::flow::protocol;

use super::{
    attempts::Attempted,
    bounded::{Bounded, StateSize},
};

const SECOND: u64 = 1_000_000_000;
/// How long after the first way the second is tried at most (RFC 8305, 8: two seconds).
const LATEST: u64 = 5 * SECOND / 2;
/// Contacts that wait for their replacement, by machine, protocol and port.
const WAITING: usize = 32;
/// Contacts of a source that need no habit yet.
const FIRST: u32 = 3;
/// Every so manieth contact of a source must have fallen back to the same one; a name may have several IPv6 addresses.
const HABIT: u32 = 4;
/// IPv4 sources that are told apart for each IPv6 source.
const PARTNERS: usize = 8;

/// To whom a source fell back, and how often.
#[derive(Debug, Default)]
struct Partners {
    contacts: u32,
    counts: Vec<(IpAddr, u32)>,
}

impl Partners {
    /// One more fallback to `partner`.
    fn meet(&mut self, partner: IpAddr) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == partner) {
            *count += 1;
            return;
        }
        if self.counts.len() >= PARTNERS {
            self.counts.retain_mut(|(_, count)| {
                *count -= 1;
                *count > 0
            });
        }
        if self.counts.len() < PARTNERS {
            self.counts.push((partner, 1));
        }
    }

    /// Whether `partner` is whom the source falls back to, as far as is known.
    fn is_habit(&self, partner: IpAddr) -> bool {
        let met = self.counts.iter().find(|(known, _)| *known == partner).map_or(0, |(_, count)| *count);
        self.contacts <= FIRST || met.saturating_mul(HABIT) >= self.contacts
    }
}

#[derive(Debug)]
pub struct Fallbacks {
    /// By the machine's MAC, the protocol and the port.
    waiting: Bounded<(u64, u8, u16), VecDeque<(u64, Attempted)>>,
    partners: Bounded<IpAddr, Partners>,
}

impl Fallbacks {
    pub fn new(capacity: usize) -> Self {
        Self {
            waiting: Bounded::new("fallbacks", capacity),
            partners: Bounded::new("fallback_sources", capacity),
        }
    }

    pub fn sizes(&self) -> [StateSize; 2] {
        [self.waiting.size(), self.partners.size()]
    }

    /// `what` begins; `mac` is its sender's, 0 when unknown.
    pub fn begins(&mut self, what: Attempted, mac: u64, now: u64) {
        let IpAddr::V6(source) = what.source else { return };
        let has_fallback = matches!(what.protocol, protocol::TCP | protocol::UDP);
        if mac == 0 || !has_fallback || source.is_unicast_link_local() {
            return;
        }
        if let Some(partners) = self.partners.entry(what.source, false, now, |_| true, Partners::default) {
            partners.contacts = partners.contacts.saturating_add(1);
        }
        let keep = |queue: &VecDeque<(u64, Attempted)>| {
            queue.back().is_some_and(|(began, _)| now.saturating_sub(*began) <= LATEST)
        };
        let key = (mac, what.protocol, what.port);
        let Some(queue) = self.waiting.entry(key, false, now, keep, VecDeque::new) else {
            return;
        };
        while queue.len() >= WAITING || queue.front().is_some_and(|(began, _)| now - began > 4 * LATEST) {
            queue.pop_front();
        }
        queue.push_back((now, what));
    }

    /// `what` was reached, so it needs no fallback.
    pub fn succeeds(&mut self, what: &Attempted) {
        if what.source.is_ipv6()
            && let Some(partners) = self.partners.get_mut(&what.source)
        {
            partners.contacts = partners.contacts.saturating_sub(1);
        }
    }

    /// What `reached`, which began at `began`, was tried instead of.
    pub fn replaces(&mut self, reached: &Attempted, mac: u64, began: u64) -> Option<Attempted> {
        if mac == 0 || reached.source.is_ipv6() {
            return None;
        }
        let queue = self.waiting.get_mut(&(mac, reached.protocol, reached.port))?;
        let partners = &self.partners;
        let is_near = |then: u64| then <= began && began - then <= LATEST;
        let is_habit =
            |what: &Attempted| partners.get(&what.source).is_some_and(|known| known.is_habit(reached.source));
        let of_habit = queue.iter().position(|(then, what)| is_near(*then) && is_habit(what));
        // One that is nobody's habit stays for whom it waits for.
        let what = match of_habit {
            Some(place) => queue.remove(place)?.1,
            None => queue.iter().find(|(then, _)| is_near(*then))?.1,
        };
        if let Some(partners) = self.partners.get_mut(&what.source) {
            partners.meet(reached.source);
        }
        of_habit.map(|_| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: u64 = 0x0200_0000_0001;

    fn contact(source: &str, upper: u8) -> Attempted {
        let destination = if source.contains(':') { "2001:db8::9" } else { "198.51.100.9" };
        Attempted {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: upper,
            port: 443,
            stray: false,
        }
    }

    /// How many of `count` contacts over IPv6 are excused when these hosts go somewhere over IPv4 right after each.
    fn excused(count: u64, hosts: &dyn Fn(u64) -> String, upper: u8) -> usize {
        let mut fallbacks = Fallbacks::new(64);
        let mut excused = 0;
        for number in 0..count {
            let now = (1000 + number * 5) * SECOND;
            let over_v6 = contact("fd00::9", upper);
            fallbacks.begins(over_v6, MAC, now);
            let over_v4 = contact(&hosts(number), upper);
            excused += usize::from(fallbacks.replaces(&over_v4, MAC, now + SECOND / 4).is_some());
        }
        excused
    }

    #[test]
    fn a_host_that_falls_back_again_and_again_is_excused_each_time_over_tcp_and_udp() {
        for upper in [protocol::TCP, protocol::UDP] {
            assert_eq!(excused(40, &|_| "10.0.0.9".to_owned(), upper), 40);
        }
    }

    #[test]
    fn behind_a_router_whoever_comes_by_excuses_the_first_contacts_only() {
        let excused = excused(60, &|number| format!("10.0.0.{}", number * 7 % 40 + 1), protocol::TCP);
        assert!(excused <= 6, "{excused}");
    }

    #[test]
    fn what_succeeds_over_ipv6_needs_no_fallback() {
        let mut fallbacks = Fallbacks::new(64);
        let mut failed = 0;
        for number in 0..100 {
            let now = (1000 + number * 5) * SECOND;
            let over_v6 = contact("fd00::9", protocol::TCP);
            fallbacks.begins(over_v6, MAC, now);
            if number % 20 == 19 {
                let over_v4 = contact("10.0.0.9", protocol::TCP);
                failed += usize::from(fallbacks.replaces(&over_v4, MAC, now + SECOND / 4).is_some());
            } else {
                fallbacks.succeeds(&over_v6);
            }
        }
        assert_eq!(failed, 5);
    }
}
