//! Peers among peers: programs that share files, chains or discoveries meet many hosts on ports of nobody, and keep in
//! touch with each as an implant does with its server.
//!
//! In: beginnings of conversations. Out: whether a source is such a peer. An implant calls few servers, so the number tells
//! them apart, at the price that one hides on a host that shares files.

use std::{collections::VecDeque, net::IpAddr};

use super::{Beacon, DAY};
use crate::contact::Contact;

/// How long a peer counts.
const RECENT: u64 = DAY / 24;
/// Outside hosts on odd ports that make a source a peer,
const PEERS: usize = 12;
/// and over UDP, which implants rarely use and never with several servers.
const OVER_UDP: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Met {
    recent: VecDeque<(u64, IpAddr, bool)>,
}

impl Beacon {
    /// Notes whom a source meets on a port of nobody.
    pub(super) fn meet_peer(&mut self, contact: &Contact<'_>) {
        let p = &self.parameters;
        let usual =
            |port: u16| port < 1024 || p.usual_ports.contains(&port) || p.heartbeat_ports.contains(&port);
        let web = matches!(contact.port, 8080 | 8443);
        let within = contact.source_inside && contact.destination_inside;
        if !contact.started() || within || usual(contact.port) || web {
            return;
        }
        let (now, inside) = (contact.now, contact.source_inside);
        let keep = |met: &Met| met.recent.back().is_some_and(|(at, ..)| now - at < RECENT);
        let Some(met) = self.peers.entry(contact.source, inside, now, keep, Met::default) else { return };
        let what = (contact.destination, contact.is_udp());
        met.recent.retain(|(at, host, udp)| (*host, *udp) != what && now - at < RECENT);
        if met.recent.len() > 2 * PEERS {
            met.recent.pop_front();
        }
        met.recent.push_back((now, what.0, what.1));
    }

    pub(super) fn is_peer(&self, source: IpAddr, now: u64) -> bool {
        let Some(met) = self.peers.get(&source) else { return false };
        let recent = || met.recent.iter().filter(|(at, ..)| now - at < RECENT);
        recent().count() >= PEERS || recent().filter(|(.., udp)| *udp).count() >= OVER_UDP
    }
}
