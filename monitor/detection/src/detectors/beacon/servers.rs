//! A list of servers that an implant was built with: several addresses that nobody resolved, on ports of several kinds,
//! some of them dead, each called a few times. No pair of them beats often enough to show.
//!
//! In: connections that a source began without a query. Out: one call for the source. Programs that share files go to
//! addresses as well, and to many of them; one program's own servers share one usual port, and answer.

use std::{collections::HashMap, net::IpAddr};

use super::{Beacon, Call, DAY, SECOND, rhythm::Beat};
use crate::{
    contact::Contact,
    lookups::Naming,
    statistics::{count, real},
};

/// Servers of one list,
const SERVERS: usize = 3;
/// calls to them,
const CALLS: u32 = 8;
/// over this long at least, in seconds,
const SPANS: u64 = 300;
/// and within this long.
const RECENT: u64 = DAY / 12;
/// Connections of the source that followed a query: it is one that goes by names.
const NAMED: u32 = 3;

/// Calls of a source to one address that nobody resolved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Server {
    pub calls: u32,
    first: u64,
    last: u64,
    first_at: u64,
    odd: bool,
    failed: u32,
    reached: u32,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Unnamed {
    pub servers: HashMap<IpAddr, Server>,
    /// Connections to outside that followed a query.
    named: u32,
}

impl Beacon {
    /// Counts a beginning by whether a query came before it.
    pub(super) fn count_naming(&mut self, contact: &Contact<'_>, naming: Naming) {
        let p = &self.parameters;
        let within = contact.source_inside && contact.destination_inside;
        if naming == Naming::Unknown || within || !contact.is_tcp() {
            return;
        }
        let keep = |unnamed: &Unnamed| !unnamed.servers.is_empty();
        let inside = contact.source_inside;
        let Some(source) = self.unnamed.entry(contact.source, inside, contact.now, keep, Unnamed::default)
        else {
            return;
        };
        if naming == Naming::Named {
            source.named = source.named.saturating_add(1);
            return;
        }
        if source.servers.len() > p.unnamed_peers && !source.servers.contains_key(&contact.destination) {
            return;
        }
        let new = || Server { first: contact.now, first_at: contact.at, ..Server::default() };
        let server = source.servers.entry(contact.destination).or_insert_with(new);
        server.calls = server.calls.saturating_add(1);
        server.last = contact.now;
        server.odd |= !p.usual_ports.contains(&contact.port);
    }

    /// What became of a call; and the list, once it shows.
    pub(super) fn listed_call(&mut self, contact: &Contact<'_>) -> Option<(Call, IpAddr)> {
        let p = &self.parameters;
        let source = self.unnamed.get_mut(&contact.source)?;
        let server = source.servers.get_mut(&contact.destination)?;
        let is_reached = contact.succeeded();
        (server.failed, server.reached) =
            (server.failed + u32::from(!is_reached), server.reached + u32::from(is_reached));
        server.bytes += contact.record.forward.payload + contact.record.backward.payload;
        let now = contact.now;
        let servers = || source.servers.iter().filter(|(_, one)| now - one.last < RECENT);
        let (known, calls) = (servers().count(), servers().map(|(_, one)| one.calls).sum::<u32>());
        let first = servers().map(|(_, one)| one.first).min()?;
        let odd = servers().filter(|(_, one)| one.odd).count();
        let dead = servers().filter(|(_, one)| one.failed > one.reached).count();
        let again = servers().filter(|(_, one)| one.calls >= 2).count();
        let reached = servers().map(|(_, one)| one.reached).sum::<u32>();
        let bytes = servers().map(|(_, one)| one.bytes).sum::<u64>();
        let is_list = (SERVERS..=p.unnamed_peers).contains(&known)
            && calls >= CALLS
            && now - first >= SPANS * SECOND
            && (odd >= 2 || (odd >= 1 && dead >= 1))
            && again >= 2
            && reached >= 2
            && real(bytes) <= 4.0 * p.bulk_bytes * f64::from(calls)
            && source.named >= NAMED;
        if !is_list || self.is_peer(contact.source, now) {
            return None;
        }
        let source = self.unnamed.get(&contact.source)?;
        let most = source.servers.iter().max_by_key(|(address, one)| (one.reached, **address))?;
        let first_at = source.servers.values().map(|one| one.first_at).min().unwrap_or(contact.at);
        let gap = real(now - first) / 1e9 / f64::from(calls.max(1));
        let call = Call {
            score: 0.7,
            beats: usize::try_from(calls).unwrap_or(usize::MAX),
            total: u64::from(calls),
            first_at,
            unit: "calls",
            unnamed: true,
            odd_port: true,
            size_spread: count(known) / count(known + 1),
            ..Call::new(Beat::of(&[gap, gap, gap])?)
        };
        Some((call, *most.0))
    }
}
