//! The service table: which rule is tried first for a port or a protocol, and which after it.
//!
//! For one port the rules stand in the order in which they win: the longest destination prefix first; among equal
//! ones a single port before a range before the whole protocol. Chains with the same end share it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use monitor_common::{
    flow,
    rule::{
        BLOCKS, CLASSES, DEFAULT_SERVICE, MAX_RULE_CHAIN, PORTS_PER_BLOCK, PROTOCOL_BLOCK, PortBlock,
        ServiceRule,
    },
};

use super::CompileError;
use crate::config::{Match, Protocol};

const NO_RULE: PortBlock = PortBlock { rules: [0; 128] };
/// Protocols with ports, in the order of their blocks.
const PORTED: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// A service as the table needs it.
pub(super) struct Entry<'a> {
    pub name: &'a str,
    /// `None`: the default service.
    pub matches: Option<&'a Match>,
    pub number: u32,
    pub limits: [u32; CLASSES],
    pub has_aggregate: bool,
    pub challenges: bool,
}

/// One way to match: a service at a destination, and how precisely it names the port (less is more precise).
#[derive(Clone, Copy)]
struct Candidate {
    entry: usize,
    destination: Destination,
    width: u32,
}

/// A destination prefix as the kernel compares it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Destination {
    address: [u64; 2],
    mask: [u64; 2],
    /// Bits of the mask.
    length: u32,
}

struct Table<'a> {
    entries: &'a [Entry<'a>],
    rules: Vec<ServiceRule>,
    /// Where a rule for this service and destination with this continuation stands.
    known: HashMap<(usize, Destination, u32), u32>,
    blocks: Vec<PortBlock>,
}

/// Blocks and rules of `entries`, of which the first is the default service.
pub(super) fn build(
    entries: &[Entry<'_>],
    capacity: u32,
) -> Result<(Vec<PortBlock>, Vec<ServiceRule>), CompileError> {
    let default = ServiceRule {
        destination: [0; 2],
        mask: [0; 2],
        service: entries[0].number,
        next: 0,
        limits: entries[0].limits,
        has_aggregate: u32::from(entries[0].has_aggregate),
        challenges: u32::from(entries[0].challenges),
    };
    let mut table = Table {
        entries,
        rules: vec![default],
        known: HashMap::new(),
        blocks: vec![NO_RULE; BLOCKS as usize],
    };
    for (position, protocol) in PORTED.into_iter().enumerate() {
        table.ports(position, protocol)?;
    }
    for protocol in 0..=u8::MAX {
        let whole = table.candidates(Protocol(protocol), None);
        let first = table.chain(whole, &|| Protocol(protocol).to_string())?;
        set(&mut table.blocks[PROTOCOL_BLOCK as usize], u32::from(protocol), first);
    }
    if table.rules.len() > capacity as usize {
        return Err(CompileError(format!(
            "capacity.rules = {capacity} is too small: {} are needed",
            table.rules.len()
        )));
    }
    Ok((table.blocks, table.rules))
}

impl Table<'_> {
    /// Fills the blocks of a protocol with ports.
    fn ports(&mut self, position: usize, protocol: Protocol) -> Result<(), CompileError> {
        // Between two boundaries every port has the same services.
        let mut boundaries = BTreeSet::from([0, 1 << 16]);
        for entry in self.entries {
            let Some(matches) = entry.matches.filter(|matches| matches.protocols.contains(&protocol)) else {
                continue;
            };
            for ports in &matches.ports {
                boundaries.insert(u32::from(ports.first));
                boundaries.insert(u32::from(ports.last) + 1);
            }
        }
        let boundaries: Vec<u32> = boundaries.into_iter().collect();
        for pair in boundaries.windows(2) {
            let (start, end) = (pair[0], pair[1]);
            let first =
                self.chain(self.candidates(protocol, Some(start)), &|| format!("{protocol} port {start}"))?;
            if first == 0 {
                continue;
            }
            for port in start..end {
                let block = position * 256 + (port / PORTS_PER_BLOCK) as usize;
                set(&mut self.blocks[block], port % PORTS_PER_BLOCK, first);
            }
        }
        Ok(())
    }

    /// Every service that matches `protocol` and `port`; without a port, those that match the whole protocol.
    fn candidates(&self, protocol: Protocol, port: Option<u32>) -> Vec<Candidate> {
        let mut found = Vec::new();
        for (position, entry) in self.entries.iter().enumerate() {
            let Some(matches) = entry.matches.filter(|matches| matches.protocols.contains(&protocol)) else {
                continue;
            };
            let width = if matches.ports.is_empty() {
                Some(u32::MAX)
            } else {
                let covers = |port: u32| {
                    let within = matches.ports.iter().filter(move |ports| {
                        (u32::from(ports.first)..=u32::from(ports.last)).contains(&port)
                    });
                    within.map(|ports| ports.count()).min()
                };
                port.and_then(covers)
            };
            let Some(width) = width else {
                continue;
            };
            let everywhere = matches.destinations.is_empty().then_some(Destination::EVERYWHERE);
            let destinations = matches.destinations.iter().map(Destination::of).chain(everywhere);
            found.extend(destinations.map(|destination| Candidate { entry: position, destination, width }));
        }
        found
    }

    /// The number of the first rule of the chain that tries `candidates` in the order in which they win.
    fn chain(
        &mut self,
        mut candidates: Vec<Candidate>,
        place: &dyn Fn() -> String,
    ) -> Result<u32, CompileError> {
        candidates.sort_by_key(|one| (std::cmp::Reverse(one.destination.length), one.width, one.entry));
        let mut seen: Vec<Destination> = Vec::new();
        candidates.retain(|one| {
            let is_new = !seen.contains(&one.destination);
            seen.push(one.destination);
            is_new
        });
        if candidates.len() > MAX_RULE_CHAIN as usize {
            let mut names: Vec<&str> = candidates.iter().map(|one| self.entries[one.entry].name).collect();
            names.dedup();
            return Err(CompileError(format!(
                "{} destinations are too many for {}: at most {MAX_RULE_CHAIN} (services {})",
                candidates.len(),
                place(),
                names.join(", ")
            )));
        }
        let mut next = 0;
        for one in candidates.iter().rev() {
            next = self.rule(one, next)?;
        }
        Ok(next)
    }

    fn rule(&mut self, one: &Candidate, next: u32) -> Result<u32, CompileError> {
        let key = (one.entry, one.destination, next);
        if let Some(number) = self.known.get(&key) {
            return Ok(*number);
        }
        let number = u16::try_from(self.rules.len()).map_err(|_| {
            CompileError("more than 65536 ways to match a service: join ports into ranges".to_owned())
        })?;
        let entry = &self.entries[one.entry];
        self.rules.push(ServiceRule {
            destination: one.destination.address,
            mask: one.destination.mask,
            service: entry.number,
            next,
            limits: entry.limits,
            has_aggregate: u32::from(entry.has_aggregate),
            challenges: u32::from(entry.challenges),
        });
        self.known.insert(key, u32::from(number));
        Ok(u32::from(number))
    }
}

impl Destination {
    const EVERYWHERE: Self = Self { address: [0; 2], mask: [0; 2], length: 0 };

    fn of(prefix: &IpNet) -> Self {
        let (address, length) = match prefix {
            IpNet::V4(v4) => (flow::mapped(v4.network().octets()), u32::from(v4.prefix_len()) + 96),
            IpNet::V6(v6) => (v6.network().octets(), u32::from(v6.prefix_len())),
        };
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let (high, low) = flow::halves(&address);
        let (mask_high, mask_low) = flow::halves(&mask.to_be_bytes());
        Self { address: [high & mask_high, low & mask_low], mask: [mask_high, mask_low], length }
    }
}

/// Two numbers a word, the even port in the low half.
fn set(block: &mut PortBlock, place: u32, rule: u32) {
    let word = &mut block.rules[(place / 2) as usize];
    *word =
        if place.is_multiple_of(2) { (*word & 0xffff_0000) | rule } else { (*word & 0xffff) | rule << 16 };
}

/// The number of the service that a packet is for, found as the kernel finds it; without a port, as of a later fragment.
pub(super) fn find(
    blocks: &[PortBlock],
    rules: &[ServiceRule],
    protocol: u32,
    port: Option<u16>,
    destination: IpAddr,
) -> u32 {
    let table = PORTED.iter().position(|ported| u32::from(ported.0) == protocol).zip(port);
    let (block, place) = match table {
        Some((table, port)) => (table * 256 + usize::from(port) / 256, usize::from(port) % 256),
        None => (PROTOCOL_BLOCK as usize, protocol as usize % 256),
    };
    let pair = blocks.get(block).map_or(0, |block| block.rules[place / 2]);
    let mut number = if place.is_multiple_of(2) { pair & 0xffff } else { pair >> 16 };
    let destination = match destination {
        IpAddr::V4(v4) => flow::mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    };
    let (high, low) = flow::halves(&destination);
    loop {
        let Some(rule) = rules.get(number as usize) else { return DEFAULT_SERVICE };
        let matches = high & rule.mask[0] == rule.destination[0] && low & rule.mask[1] == rule.destination[1];
        if number == 0 || matches {
            return rule.service;
        }
        number = rule.next;
    }
}

#[cfg(test)]
mod tests;
