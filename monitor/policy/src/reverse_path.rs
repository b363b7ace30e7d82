//! Where an address can come from: which guarded interfaces a privileged source may arrive through.
//!
//! In: the host's routes, the slots of guarded interfaces, the prefixes that grant something. Out: a mask of slots for each
//! prefix, the longest of which holds. It judges by the longest route, as Linux's strict `rp_filter` does, with two
//! differences: links' own addresses may come from any interface, and a private source comes over a default route only where
//! the link itself is private.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Surroundings;

/// A route of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub prefix: IpNet,
    /// The interfaces that it leads out of, those below them included.
    pub interfaces: BTreeSet<String>,
    /// Without a next hop.
    pub on_link: bool,
}

/// A mask of slots in which every interface may carry the source.
pub(super) const ANYWHERE: u16 = u16::MAX;
/// Frames of interfaces that are not listed: test runs and replay know no routes.
const UNLISTED: u16 = 1;
/// More prefixes than these say nothing that the first ones do not; a router knows a million routes.
const MOST: usize = 4096;

/// Which slots each of `privileged` may come through, and the host's own and impossible addresses; nothing where no route or no
/// interface is known.
pub(super) fn arrivals(
    surroundings: &Surroundings,
    privileged: impl IntoIterator<Item = IpNet>,
    own: &[IpAddr],
) -> BTreeMap<IpNet, u16> {
    let mut all = BTreeMap::new();
    if surroundings.slots.is_empty() || surroundings.routes.is_empty() {
        return all;
    }
    let ways = Ways { surroundings };
    for prefix in privileged {
        let prefix = prefix.trunc();
        all.insert(prefix, ways.mask(prefix));
        let within = surroundings
            .routes
            .iter()
            .map(|route| route.prefix)
            .filter(|route| *route != prefix && prefix.contains(route));
        for route in within {
            if all.len() >= MOST {
                return all;
            }
            all.entry(route).or_insert_with(|| ways.mask(route));
        }
    }
    let nowhere = UNLISTED | ways.slot("lo");
    let impossible = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::1/128", "ff00::/8"];
    all.extend(impossible.iter().filter_map(|text| Some((text.parse().ok()?, nowhere))));
    // Who has no address yet asks for one from these.
    all.extend(["0.0.0.0/32", "::/128"].iter().filter_map(|text| Some((text.parse().ok()?, ANYWHERE))));
    all.extend(
        own.iter()
            .filter(|address| !is_of_link(IpNet::from(**address)))
            .map(|address| (IpNet::from(*address), nowhere)),
    );
    all
}

struct Ways<'a> {
    surroundings: &'a Surroundings,
}

impl Ways<'_> {
    fn slot(&self, interface: &str) -> u16 {
        self.surroundings.slots.get(interface).map_or(0, |slot| 1u16.checked_shl(*slot).unwrap_or(0))
    }

    fn mask(&self, prefix: IpNet) -> u16 {
        if is_of_link(prefix) {
            return ANYWHERE;
        }
        let routes = || self.surroundings.routes.iter().filter(|route| route.prefix.contains(&prefix));
        let Some(longest) = routes().map(|route| route.prefix.prefix_len()).max() else {
            return UNLISTED;
        };
        let by_default = longest == 0 && is_private(prefix);
        let interfaces = routes()
            .filter(|route| route.prefix.prefix_len() == longest)
            .flat_map(|route| &route.interfaces)
            .filter(|name| !by_default || self.is_private_link(name, prefix));
        interfaces.fold(UNLISTED, |mask, name| mask | self.slot(name))
    }

    /// Whether a private network of the prefix's family is on this link.
    fn is_private_link(&self, interface: &str, prefix: IpNet) -> bool {
        let same_family = |one: IpNet| one.addr().is_ipv4() == prefix.addr().is_ipv4();
        self.surroundings.routes.iter().any(|route| {
            route.on_link
                && same_family(route.prefix)
                && is_private(route.prefix)
                && route.interfaces.contains(interface)
        })
    }
}

/// Addresses of one link: routes do not say which.
fn is_of_link(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(v4) => v4.prefix_len() >= 16 && v4.network().is_link_local(),
        IpNet::V6(v6) => v6.prefix_len() >= 10 && v6.network().is_unicast_link_local(),
    }
}

/// Addresses that no network outside uses (RFC 1918, RFC 6598, RFC 4193).
fn is_private(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(v4) => {
            let [first, second, ..] = v4.network().octets();
            let shared = first == 100 && second & 0xc0 == 64;
            let length = if first == 10 {
                8
            } else if first == 172 {
                12
            } else if shared {
                10
            } else {
                16
            };
            (v4.network().is_private() || shared) && v4.prefix_len() >= length
        }
        IpNet::V6(v6) => v6.prefix_len() >= 7 && v6.network().is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, interfaces: &[&str]) -> Route {
        Route {
            on_link: !prefix.ends_with("/0"),
            prefix: prefix.parse().expect("a prefix"),
            interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn surroundings(routes: Vec<Route>) -> Surroundings {
        let slots = [("eth0", 1), ("eth1", 2), ("lo", 3)].map(|(name, slot)| (name.to_owned(), slot)).into();
        Surroundings { routes, slots, ..Surroundings::default() }
    }

    /// Where a packet of `source` may come in, by the longest prefix that covers it.
    fn check(surroundings: &Surroundings, privileged: &[&str], source: &str, expected: u16) {
        let source: IpAddr = source.parse().expect("an address");
        let privileged = privileged.iter().map(|text| text.parse().expect("a prefix"));
        let all = arrivals(surroundings, privileged, &["192.0.2.1".parse().expect("an address")]);
        let found = all.iter().filter(|(prefix, _)| prefix.contains(&source));
        let found = found.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(ANYWHERE, |(_, mask)| *mask);
        assert_eq!(found, expected, "{source}: {all:?}");
    }

    const INSIDE: [&str; 4] = ["10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "fe80::/10"];

    #[test]
    fn on_a_public_host_no_private_source_comes_from_outside() {
        let public = surroundings(vec![
            route("0.0.0.0/0", &["eth0"]),
            route("192.0.2.0/24", &["eth0"]),
            route("::/0", &["eth0"]),
        ]);
        check(&public, &INSIDE, "10.1.1.1", 1);
        check(&public, &INSIDE, "192.0.2.1", 1 | 8);
        check(&public, &INSIDE, "127.0.0.1", 1 | 8);
        check(&public, &INSIDE, "224.0.0.1", 1 | 8);
        check(&public, &INSIDE, "0.0.0.0", ANYWHERE);
        check(&public, &INSIDE, "fe80::1", ANYWHERE);
        check(&public, &INSIDE, "169.254.9.9", ANYWHERE);
        check(&public, &INSIDE, "198.51.100.9", ANYWHERE);
        // An exempt address of the outside comes by the default route.
        check(&public, &["198.51.100.0/24"], "198.51.100.9", 1 | 2);
        check(&public, &["fd00::/8"], "fd00::1", 1);
    }

    #[test]
    fn behind_a_private_gateway_private_sources_come_by_the_default_route() {
        let private = surroundings(vec![route("0.0.0.0/0", &["eth0"]), route("10.3.4.0/24", &["eth0"])]);
        check(&private, &INSIDE, "10.9.9.9", 1 | 2);
        check(&private, &INSIDE, "192.168.7.7", 1 | 2);
        // A private network behind a public gateway makes no private link.
        let behind = Route { on_link: false, ..route("10.1.0.0/16", &["eth0"]) };
        let public =
            surroundings(vec![route("0.0.0.0/0", &["eth0"]), route("192.0.2.0/24", &["eth0"]), behind]);
        check(&public, &INSIDE, "10.1.1.1", 1 | 2);
        check(&public, &INSIDE, "10.2.1.1", 1);
    }

    #[test]
    fn the_longest_route_says_where_a_source_comes_from() {
        let two = surroundings(vec![
            route("0.0.0.0/0", &["eth0"]),
            route("10.5.0.0/16", &["eth1"]),
            route("10.5.6.0/24", &["wg0"]),
            route("10.7.0.0/16", &["eth0", "eth1"]),
        ]);
        check(&two, &INSIDE, "10.5.1.1", 1 | 4);
        check(&two, &INSIDE, "10.5.6.1", 1);
        check(&two, &INSIDE, "10.7.1.1", 1 | 2 | 4);
        check(&two, &["10.5.0.9/32"], "10.5.0.9", 1 | 4);
    }

    #[test]
    fn without_routes_or_interfaces_nothing_is_said() {
        assert!(arrivals(&surroundings(Vec::new()), [], &[]).is_empty());
        let unguarded =
            Surroundings { slots: BTreeMap::new(), ..surroundings(vec![route("0.0.0.0/0", &["eth0"])]) };
        assert!(arrivals(&unguarded, [], &[]).is_empty());
    }
}
