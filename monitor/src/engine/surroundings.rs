//! What rules depend on of the host's network: next hops, resolvers in use, the ports of its own connections.
//!
//! In: netlink, `/etc/resolv.conf`, `/proc/sys`. Out: a plain value. It decides nothing.

use std::fs;
use std::net::IpAddr;

use policy::Surroundings;

use super::{cookies, links, routes};

/// Where resolvers are named: the first is what programs read, the others name the servers that a local resolver asks.
const RESOLVERS: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Longer files name no resolvers.
const LARGEST_FILE: u64 = 64 << 10;

/// As it is at this moment.
pub fn look() -> Surroundings {
    let mut all = Surroundings::default();
    all.lifelines.extend(links::neighbourhood().gateways);
    for path in RESOLVERS {
        if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST_FILE) {
            all.lifelines.extend(resolvers(&fs::read_to_string(path).unwrap_or_default()));
        }
    }
    if let Some(lowest) = lowest_port(&fs::read_to_string(PORTS).unwrap_or_default()) {
        all.ephemeral = lowest;
    }
    all.routes = routes::look();
    all.cookies = cookies::look();
    all
}

/// The `nameserver` lines of a resolv.conf (resolv.conf(5)); those on this host are no lifelines.
fn resolvers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // An address of a link may name it: `fe80::1%eth0`.
        let address = address.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical();
        (!address.is_loopback() && !address.is_unspecified()).then_some(address)
    })
}

fn lowest_port(text: &str) -> Option<u16> {
    // Port 1 may be configured; what serves stands below 1024 all the same.
    text.split_ascii_whitespace().next()?.parse::<u16>().ok().map(|port| port.max(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_named_in_lines_of_their_own() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.53\n nameserver\tfe80::1%eth0\n\
                    nameserver 127.0.0.53\nnameserver x\nnameserver\noptions edns0\nnameserver 2001:db8::53 # second\n";
        let found: Vec<_> = resolvers(text).map(|address| address.to_string()).collect();
        assert_eq!(found, ["192.0.2.53", "fe80::1", "2001:db8::53"]);
    }

    #[test]
    fn the_lowest_port_is_the_first_number() {
        assert_eq!(lowest_port("32768\t60999\n"), Some(32_768));
        assert_eq!(lowest_port("1 65535"), Some(1024));
        assert_eq!(lowest_port(""), None);
    }
}
