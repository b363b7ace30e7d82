//! Whether each packet belongs to one service: what a service matches, and whether two match the same.

use std::net::Ipv6Addr;

use ipnet::IpNet;

use super::{Problems, say};
use crate::config::{Match, Ports, Protocol, Service};

/// What one service matches, taken alone.
pub(super) fn matching(service: &Service, path: &str, found: &mut Problems) {
    let Match { protocols, ports, destinations } = &service.matches;
    if protocols.is_empty() {
        say(found, format!("{path}.protocol"), "no protocol is listed");
    }
    if let Some(without) = protocols.iter().find(|protocol| !protocol.has_ports())
        && !ports.is_empty()
    {
        say(
            found,
            format!("{path}.ports"),
            format!("{without} has no ports: leave the key out, or make it a service of its own"),
        );
    }
    for destination in destinations {
        if let IpNet::V6(v6) = destination
            && v6.contains(&Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0, 0]))
        {
            say(
                found,
                format!("{path}.destination"),
                format!("{destination} is too wide: leave the key out to match every destination"),
            );
        }
    }
}

/// Pairs of services of which neither is more specific than the other.
pub(super) fn between(services: &[Service], found: &mut Problems) {
    for (position, service) in services.iter().enumerate() {
        for earlier in &services[..position] {
            if let Some(common) = common(&earlier.matches, &service.matches) {
                say(
                    found,
                    format!("service.{}", service.name),
                    format!(
                        "the services `{}` and `{}` both match {common}: change the ports or the destination of one",
                        earlier.name, service.name
                    ),
                );
            }
        }
    }
}

/// What both match with the same precision, in words.
fn common(one: &Match, other: &Match) -> Option<String> {
    let protocol = one.protocols.iter().find(|protocol| other.protocols.contains(protocol))?;
    let ports = same_ports(*protocol, &one.ports, &other.ports)?;
    let destination = match (one.destinations.as_slice(), other.destinations.as_slice()) {
        ([], []) => String::new(),
        (some, others) => format!(" to {}", some.iter().find(|destination| others.contains(destination))?),
    };
    Some(format!("{protocol}{ports}{destination}"))
}

/// Ports that both name with the same precision: single ports beat ranges, and those the whole protocol.
fn same_ports(protocol: Protocol, one: &[Ports], other: &[Ports]) -> Option<String> {
    if !protocol.has_ports() || (one.is_empty() && other.is_empty()) {
        return Some(String::new());
    }
    one.iter().find_map(|ports| {
        let same =
            |others: &&Ports| ports.overlaps(**others) && (ports.count() == 1) == (others.count() == 1);
        other.iter().find(same).map(|others| {
            let both = Ports { first: ports.first.max(others.first), last: ports.last.min(others.last) };
            format!(" port {both}")
        })
    })
}
