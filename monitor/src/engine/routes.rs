//! The host's routes as the rules ask for them: prefixes, and the interfaces that each leads out of.
//!
//! In: netlink. Out: plain values. A route over a bridge, a bond or a VLAN leads out of the interfaces below it as well, for
//! there the frames are evaluated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use policy::Route;
use rtnetlink::new_connection;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::LinkAttribute;
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
    let links = Links::ask().await?;
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
    async fn ask() -> Result<Self> {
        let (connection, handle, _) = new_connection().context("open a netlink socket")?;
        let task = tokio::spawn(connection);
        let mut found = Self::default();
        let mut messages = handle.link().get().execute();
        while let Some(message) = messages.try_next().await.context("list the interfaces")? {
            found.take(message.header.index, &message.attributes);
        }
        task.abort();
        Ok(found)
    }

    fn take(&mut self, index: u32, attributes: &[LinkAttribute]) {
        // The other end of a pair that lies in another namespace has a number of that namespace.
        let elsewhere = attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_)));
        for attribute in attributes {
            match attribute {
                LinkAttribute::IfName(name) => {
                    self.names.insert(index, name.clone());
                }
                LinkAttribute::Controller(upper) if *upper != 0 => {
                    self.below.entry(*upper).or_default().insert(index);
                }
                LinkAttribute::Link(lower) if *lower != 0 && *lower != index && !elsewhere => {
                    self.below.entry(index).or_default().insert(*lower);
                }
                _ => {}
            }
        }
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
        let mut links = Links::default();
        let name = |name: &str| LinkAttribute::IfName(name.to_owned());
        links.take(1, &[name("lo")]);
        links.take(2, &[name("eth0"), LinkAttribute::Controller(4)]);
        links.take(3, &[name("eth1.7"), LinkAttribute::Controller(4), LinkAttribute::Link(5)]);
        links.take(4, &[name("br0")]);
        links.take(5, &[name("eth1")]);
        links.take(6, &[name("veth"), LinkAttribute::Link(2), LinkAttribute::LinkNetNsId(0)]);
        assert_eq!(links.names(4), ["eth0", "eth1.7", "br0", "eth1"]);
        assert_eq!(links.names(6), ["veth"], "its other end is elsewhere");
        assert_eq!(links.names(2), ["eth0"]);
    }
}
