//! The host's routes as the rules ask for them: prefixes, and the interfaces that each leads out of.
//!
//! In: netlink. Out: plain values. A route over a bridge, a bond or a VLAN leads out of the interfaces below it as well, for
//! there the frames are evaluated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use datapath::Interface;
use ipnet::IpNet;
use policy::Route;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::links;

/// As they are at this moment; none when they cannot be told.
pub fn look() -> Vec<Route> {
    links::asked(gather).unwrap_or_else(|error| {
        tracing::warn!("look for routes: {error:#}");
        Vec::new()
    })
}

async fn gather() -> Result<Vec<Route>> {
    let links = Links::of(&datapath::list_interfaces()?);
    let routes = links::routes().await?;
    let all: BTreeSet<Route> = routes.iter().filter_map(|route| of(route, &links)).collect();
    Ok(all.into_iter().collect())
}

fn of(route: &RouteMessage, links: &Links) -> Option<Route> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let any: IpAddr = match route.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    let prefix = IpNet::new(destination.unwrap_or(any), route.header.destination_prefix_length).ok()?;
    let out = route.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    let via = route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => true,
        RouteAttribute::MultiPath(hops) => {
            let hop =
                |one: &RouteAttribute| matches!(one, RouteAttribute::Gateway(_) | RouteAttribute::Via(_));
            hops.iter().any(|next| next.attributes.iter().any(hop))
        }
        _ => false,
    });
    Some(Route {
        on_link: !via,
        prefix: prefix.trunc(),
        interfaces: out.flat_map(|index| links.names(index)).collect(),
    })
}

/// Interfaces by index: their names, and which lie directly below which.
#[derive(Debug, Default)]
struct Links {
    names: BTreeMap<u32, String>,
    below: BTreeMap<u32, BTreeSet<u32>>,
}

impl Links {
    fn of(interfaces: &[Interface]) -> Self {
        let mut found = Self::default();
        for one in interfaces {
            found.names.insert(one.index, one.name.clone());
            if let Some(upper) = one.master.filter(|upper| *upper != 0) {
                found.below.entry(upper).or_default().insert(one.index);
            }
            if let Some(lower) = one.parent.filter(|lower| *lower != 0 && *lower != one.index) {
                found.below.entry(one.index).or_default().insert(lower);
            }
        }
        found
    }

    /// The interface and all below it.
    fn names(&self, index: u32) -> Vec<String> {
        let (mut seen, mut left) = (BTreeSet::new(), vec![index]);
        while let Some(next) = left.pop() {
            if seen.insert(next) {
                left.extend(self.below.get(&next).into_iter().flatten());
            }
        }
        seen.iter().filter_map(|index| self.names.get(index).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_over_a_bridge_leads_out_of_its_ports() {
        let link = |index, name: &str, master, parent| Interface {
            index,
            name: name.to_owned(),
            master,
            parent,
            ..Interface::default()
        };
        let links = Links::of(&[
            link(1, "lo", None, None),
            link(2, "eth0", Some(4), None),
            link(3, "eth1.7", Some(4), Some(5)),
            link(4, "br0", None, None),
            link(5, "eth1", None, None),
            // The list names no parent that lies in another namespace.
            link(6, "veth", None, None),
        ]);
        assert_eq!(links.names(4), ["eth0", "eth1.7", "br0", "eth1"]);
        assert_eq!(links.names(6), ["veth"], "its other end is elsewhere");
        assert_eq!(links.names(2), ["eth0"]);
    }
}
