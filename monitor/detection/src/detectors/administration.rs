//! `fan_out` by the ways in which machines are administered: remote shells, SMB and RPC, remote desktops, management. Who
//! moves through a network from a stolen account uses what administrators use, from a machine that is none of theirs.
//!
//! In: contacts and what their sessions carry. Out: one signal per source (many hosts one after the other, inside or over
//! the border), or per pair (a program was copied there and started). Automation comes back to every host and works on
//! several at a time; backups fetch; domain controllers are asked for tickets as well; mail servers are sent mail.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    detect::{Detect, Scope},
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{count, median, real},
};

const SECOND: u64 = 1_000_000_000;
const WINDOW: u64 = 600 * SECOND;
/// Hosts of one source that are followed.
const PEERS: usize = 256;
/// Domain controllers: Kerberos, LDAP, global catalogue.
const DIRECTORY: [u16; 5] = [88, 389, 464, 636, 3268];
const SMB: u16 = 445;
const RPC: u16 = 135;
/// Remote management over HTTP.
const MANAGEMENT: [u16; 2] = [5985, 5986];
/// Where RPC services listen (Windows since 2008, and before).
const DYNAMIC: [std::ops::RangeInclusive<u16>; 2] = [49_152..=65_535, 1025..=5000];

/// `[detection.administration]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Inside hosts entered over SMB, RPC, remote desktop or management within ten minutes.
    pub hosts: usize,
    pub ports: Vec<u16>,
    /// Inside hosts entered over a remote shell within five minutes, one after the other.
    pub shells: usize,
    pub shell_ports: Vec<u16>,
    /// What a session sends at least in which somebody logs in, over SSH twice as much: checks of a service send less.
    pub entered_bytes: u64,
    /// Inside hosts on which SMB, RPC and a dynamic RPC service were used together.
    pub executions: usize,
    /// One is enough when this much was copied there over SMB.
    pub copied_bytes: u64,
    /// A host that sent more than this was read from: backup.
    pub fetched_bytes: u64,
    /// Outside hosts on one service between servers within ten minutes, for a source that does not offer it itself.
    pub outside_hosts: usize,
    pub server_ports: Vec<u16>,
    pub sources: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            hosts: 6,
            ports: vec![135, 139, 445, 3389, 5985, 5986],
            shells: 10,
            shell_ports: vec![22, 23, 5900],
            entered_bytes: 500,
            executions: 3,
            copied_bytes: 30_000,
            fetched_bytes: 1_000_000,
            outside_hosts: 40,
            server_ports: vec![22, 23, 25, 445, 1433, 2323, 3306, 3389, 5432, 5900, 5985, 6379],
            sources: 4096,
        }
    }
}

#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    first: u64,
    first_at: u64,
    last: u64,
    sessions: u32,
    administered: bool,
    shell: bool,
    smb: bool,
    rpc: bool,
    dynamic: bool,
    directory: bool,
    sent: u64,
    fetched: u64,
    /// Its one step was reported.
    stepped: bool,
}

#[derive(Debug, Default)]
struct Source {
    peers: BTreeMap<IpAddr, Peer>,
    /// Outside hosts by service, with the time of each contact.
    outside: BTreeMap<u16, VecDeque<(u64, u64, IpAddr)>>,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug)]
pub struct Administration {
    parameters: Parameters,
    sources: Bounded<IpAddr, Source>,
    /// Inside hosts that offer a service between servers.
    offers: Bounded<(IpAddr, u16), ()>,
}

/// What was found, and how much of it.
struct Found {
    target: Option<IpAddr>,
    port: Option<u16>,
    measured: usize,
    threshold: usize,
    unit: &'static str,
    first_at: u64,
}

impl Administration {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            sources: Bounded::new("administration", parameters.sources),
            offers: Bounded::new("administration_offers", parameters.sources),
        }
    }

    fn outward(&mut self, contact: &Contact<'_>) -> Option<Found> {
        let (now, port) = (contact.now, contact.port);
        let offers = self.offers.get(&(contact.source, port)).is_some();
        if offers || !contact.delta.completed || !self.parameters.server_ports.contains(&port) {
            return None;
        }
        let keep = |source: &Source| now - source.touched < WINDOW;
        let source = self.sources.entry(contact.source, true, now, keep, Source::default)?;
        source.touched = now;
        let hosts = source.outside.entry(port).or_default();
        while hosts.len() >= PEERS || hosts.front().is_some_and(|(at, ..)| now - at > WINDOW) {
            hosts.pop_front();
        }
        if hosts.iter().any(|(.., host)| *host == contact.destination) {
            return None;
        }
        hosts.push_back((now, contact.at, contact.destination));
        let threshold = self.parameters.outside_hosts;
        let over = hosts.len() >= threshold && (hosts.len() == threshold || now >= source.quiet_until);
        over.then(|| Found {
            target: None,
            port: Some(port),
            measured: hosts.len(),
            threshold,
            unit: "outside hosts",
            first_at: hosts.front().map_or(contact.at, |(_, at, _)| *at),
        })
    }

    fn inward(&mut self, contact: &Contact<'_>) -> Option<Found> {
        let p = &self.parameters;
        let (now, port) = (contact.now, contact.port);
        let administered = p.ports.contains(&port);
        let shell = p.shell_ports.contains(&port);
        let directory = DIRECTORY.contains(&port);
        // Remote desktops lie within the range of dynamic ports.
        let is_known = administered || shell || directory;
        let dynamic = !is_known && DYNAMIC.iter().any(|range| range.contains(&port));
        if !(administered || shell || dynamic || directory) || !contact.succeeded() {
            return None;
        }
        // A dynamic port says something only beside the mapper that named it.
        if dynamic && !self.sources.get(&contact.source)?.peers.contains_key(&contact.destination) {
            return None;
        }
        let keep = |source: &Source| now - source.touched < WINDOW;
        let source = self.sources.entry(contact.source, true, now, keep, Source::default)?;
        source.touched = now;
        if source.peers.len() >= PEERS && !source.peers.contains_key(&contact.destination) {
            source.peers.retain(|_, peer| now - peer.last < WINDOW);
            if source.peers.len() >= PEERS {
                return None;
            }
        }
        let peer = source.peers.entry(contact.destination).or_default();
        if peer.first == 0 || now - peer.last > WINDOW {
            *peer = Peer { directory: peer.directory, ..Peer::default() };
            (peer.first, peer.first_at) = (now, contact.began_at());
        }
        peer.last = now;
        peer.sessions += u32::from(contact.delta.completed && (administered || shell));
        let sent = contact.record.forward.payload;
        peer.administered |= administered && (port == RPC || sent >= p.entered_bytes);
        peer.shell |= shell && sent >= 2 * p.entered_bytes;
        peer.smb |= port == SMB;
        peer.rpc |= port == RPC;
        peer.dynamic |= dynamic;
        peer.directory |= directory;
        peer.fetched += contact.delta.backward.payload;
        if port == SMB {
            peer.sent += contact.delta.forward.payload;
        }
        let copied = peer.sent >= p.copied_bytes && peer.sent > 2 * peer.fetched;
        let first_at = peer.first_at;
        if peer.smb && peer.rpc && peer.dynamic && !peer.directory && copied && now >= source.quiet_until {
            return Some(Found {
                target: Some(contact.destination),
                port: Some(SMB),
                measured: 1,
                threshold: 1,
                unit: "remote executions",
                first_at,
            });
        }
        if let Some(found) = peer.step(contact, p) {
            return Some(found);
        }
        if now < source.quiet_until {
            return None;
        }
        let entered = |of: &dyn Fn(&Peer) -> bool| -> Vec<&Peer> {
            let recent = source.peers.values().filter(|peer| now - peer.first <= WINDOW);
            recent.filter(|peer| of(peer) && !peer.directory && peer.fetched < p.fetched_bytes).collect()
        };
        let found = |peers: &[&Peer], threshold: usize, unit| Found {
            target: None,
            port: None,
            measured: peers.len(),
            threshold,
            unit,
            first_at: peers.iter().map(|peer| peer.first_at).min().unwrap_or(contact.at),
        };
        let executed = entered(&|peer| peer.smb && peer.rpc && peer.dynamic);
        if executed.len() >= p.executions {
            return Some(found(&executed, p.executions, "remote executions"));
        }
        let hosts = entered(&|peer| peer.administered);
        if hosts.len() >= p.hosts {
            return Some(found(&hosts, p.hosts, "administered hosts"));
        }
        let shells = entered(&|peer| peer.shell && now - peer.first <= WINDOW / 2);
        if shells.len() >= p.shells && is_one_by_one(&shells) {
            return Some(found(&shells, p.shells, "hosts with shells"));
        }
        None
    }
}

impl Peer {
    /// Commands were given to one host: management over HTTP, or RPC without the directory that clients ask. Worth knowing
    /// once; with a way out it is a story.
    fn step(&mut self, contact: &Contact<'_>, p: &Parameters) -> Option<Found> {
        let managed =
            MANAGEMENT.contains(&contact.port) && contact.record.forward.payload >= 2 * p.entered_bytes;
        let executed = self.rpc && self.dynamic && contact.record.forward.payload >= p.entered_bytes;
        if self.stepped || self.directory || !contact.ended() || !(managed || executed) {
            return None;
        }
        self.stepped = true;
        Some(Found {
            target: Some(contact.destination),
            port: Some(contact.port),
            measured: 1,
            threshold: 1,
            unit: "managed hosts",
            first_at: self.first_at,
        })
    }
}

/// A person or a worm goes from host to host; automation works on several at a time and comes back.
fn is_one_by_one(peers: &[&Peer]) -> bool {
    let mut starts: Vec<u64> = peers.iter().map(|peer| peer.first).collect();
    starts.sort_unstable();
    let mut gaps: Vec<f64> = starts.windows(2).map(|pair| real(pair[1] - pair[0]) / 1e9).collect();
    let sessions: u32 = peers.iter().map(|peer| peer.sessions).sum();
    median(&mut gaps) >= 2.0 && f64::from(sessions) <= 2.0 * count(peers.len())
}

impl Detect for Administration {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        if contact.observed().is_some() || !contact.is_tcp() || is_group(contact.destination) {
            return;
        }
        let port = contact.port;
        if contact.destination_inside
            && contact.delta.completed
            && self.parameters.server_ports.contains(&port)
        {
            self.offers.entry((contact.destination, port), true, contact.now, |()| true, || ());
        }
        if !contact.source_inside {
            return;
        }
        let found = if contact.destination_inside { self.inward(contact) } else { self.outward(contact) };
        let Some(found) = found else { return };
        if let Some(source) = self.sources.get_mut(&contact.source) {
            source.quiet_until = contact.now + SECOND;
        }
        signals.push(Signal {
            detector: Detector::FanOut,
            severity: if found.unit == "managed hosts" { Severity::Info } else { Severity::Warning },
            subject: Party::Address(contact.source),
            target: found.target.map(Party::Address),
            service: found.port.map(|port| Service::new(contact.protocol, port)),
            first_seen: found.first_at,
            measured: count(found.measured),
            threshold: count(found.threshold),
            unit: found.unit,
            window_s: WINDOW / SECOND,
            confidence: 0.75,
            evidence: evidence(json!({
                "last": format!("{}:{}", contact.destination, contact.port),
            })),
            workload: contact.workload.map(str::to_owned),
        });
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.sources.size(), self.offers.size()]
    }
}
