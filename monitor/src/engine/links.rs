//! What the host's network looks like: indexes of interfaces, its own addresses, and a nudge whenever they change.
//!
//! In: netlink. Out: plain values. It changes nothing; attaching is the datapath's.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use rtnetlink::{MulticastGroup, RouteMessageBuilder, new_connection, new_multicast_connection};
use tokio::sync::watch;

use crate::core::ports::Neighbourhood;

/// Routes that are looked at besides default routes.
const MOST_ROUTES: usize = 10_000;

/// The interfaces with a default route of either family, in any table of routes, every next hop of one counted.
pub fn with_default_route() -> Result<Vec<String>> {
    if let Ok(names) = asked(ask_for_default_routes) {
        return Ok(names.into_iter().collect());
    }
    // Without netlink: the first next hop of each route.
    let v4 = fs::read_to_string("/proc/net/route").context("read /proc/net/route")?;
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    Ok(default_routes(&v4, &v6).into_iter().collect())
}

/// What the routes of this moment say; without netlink only the first next hop of each.
pub fn neighbourhood() -> Neighbourhood {
    match asked(routes) {
        Ok(routes) => neighbours(&routes),
        Err(error) => {
            tracing::warn!("look for gateways and networks: {error:#}");
            let v4 = fs::read_to_string("/proc/self/net/route").unwrap_or_default();
            let v6 = fs::read_to_string("/proc/self/net/ipv6_route").unwrap_or_default();
            Neighbourhood { gateways: next_hops(&v4, &v6).collect(), networks: Vec::new() }
        }
    }
}

/// Next hops in the texts of `/proc/net/route` and `/proc/net/ipv6_route`.
fn next_hops(v4: &str, v6: &str) -> impl Iterator<Item = IpAddr> {
    let of_v4 = v4.lines().skip(1).filter_map(|line| {
        let hop = u32::from_str_radix(line.split_ascii_whitespace().nth(2)?, 16).ok()?;
        Some(IpAddr::from(hop.to_ne_bytes()))
    });
    let of_v6 = v6.lines().filter_map(|line| {
        let hop = u128::from_str_radix(line.split_ascii_whitespace().nth(4)?, 16).ok()?;
        Some(IpAddr::from(Ipv6Addr::from_bits(hop)))
    });
    of_v4.chain(of_v6).filter(|hop| !hop.is_unspecified())
}

fn neighbours(routes: &[RouteMessage]) -> Neighbourhood {
    let mut found = Neighbourhood::default();
    for route in routes {
        if route.header.kind != RouteType::Unicast {
            continue;
        }
        let hops = route.attributes.iter().flat_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => hops.iter().flat_map(|hop| hop.attributes.iter()).collect(),
            other => vec![other],
        });
        let via: Vec<_> = hops.filter_map(gateway).collect();
        let destination = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        });
        let length = route.header.destination_prefix_length;
        let network = destination.and_then(|address| IpNet::new(address, length).ok());
        // A route of one address is a neighbour, not a network.
        let on_link = via.is_empty() && length > 0;
        found.networks.extend(network.filter(|net| on_link && net.prefix_len() < net.max_prefix_len()));
        found.gateways.extend(via);
    }
    found
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
            Some(IpAddr::V4(*v4))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
            Some(IpAddr::V6(*v6))
        }
        _ => None,
    }
}

fn socket() -> Result<OwnedFd> {
    let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
    rustix::net::socket(family, kind, None).context("open a socket")
}

/// What `ask` answers, from within a runtime as well, where nothing may be waited for.
pub fn asked<T: Send, F: Future<Output = Result<T>>>(ask: impl FnOnce() -> F + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let answer = || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(ask());
        // Not `scope.spawn`, which panics when the kernel has no thread to give.
        let thread = std::thread::Builder::new().spawn_scoped(scope, answer).context("start a thread")?;
        thread.join().map_err(|_| anyhow::anyhow!("the thread that asks for routes ended"))?
    })
}

/// All routes of both families, of every table.
pub async fn routes() -> Result<Vec<RouteMessage>> {
    let (connection, handle, _) = new_connection().context("open a netlink socket")?;
    let task = tokio::spawn(connection);
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    let mut all = Vec::new();
    for wanted in [v4, v6] {
        let mut routes = handle.route().get(wanted).execute();
        while let Some(route) = routes.try_next().await.context("list the routes")? {
            // A router knows a million routes, and they say nothing here.
            if route.header.destination_prefix_length == 0 || all.len() < MOST_ROUTES {
                all.push(route);
            }
        }
    }
    task.abort();
    Ok(all)
}

async fn ask_for_default_routes() -> Result<BTreeSet<String>> {
    let indexes: BTreeSet<u32> = routes().await?.iter().flat_map(ways_out).collect();
    let socket = socket()?;
    let name = |index| rustix::net::netdevice::index_to_name(&socket, index).ok();
    Ok(indexes.into_iter().filter_map(name).filter(|name| name != "lo").collect())
}

/// The indexes of the interfaces that a default route leads out of; none for every other route.
fn ways_out(route: &RouteMessage) -> Vec<u32> {
    if route.header.destination_prefix_length != 0 || route.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let of_attribute = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    };
    route.attributes.iter().flat_map(of_attribute).collect()
}

fn default_routes(v4: &str, v6: &str) -> BTreeSet<String> {
    const UP: u32 = 1;
    const REJECT: u32 = 0x200;
    let usable = |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (UP | REJECT) == UP);
    let mut names = BTreeSet::new();
    for line in v4.lines().skip(1) {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        if let [name, "00000000", _, flags, _, _, _, "00000000", ..] = fields[..]
            && usable(flags)
        {
            names.insert(name.to_owned());
        }
    }
    for line in v6.lines() {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        if let [destination, "00", _, _, _, _, _, _, flags, name] = fields[..]
            && destination.bytes().all(|byte| byte == b'0')
            && usable(flags)
            && name != "lo"
        {
            names.insert(name.to_owned());
        }
    }
    names
}

/// The host's own addresses.
pub async fn own_addresses() -> Result<Vec<IpAddr>> {
    let (connection, handle, _) = new_connection().context("open a netlink socket")?;
    let task = tokio::spawn(connection);
    let mut messages = handle.address().get().execute();
    let mut addresses = BTreeSet::new();
    while let Some(message) = messages.try_next().await.context("list the host's addresses")? {
        addresses.extend(message.attributes.iter().filter_map(|attribute| match attribute {
            AddressAttribute::Address(address) | AddressAttribute::Local(address) => Some(*address),
            _ => None,
        }));
    }
    task.abort();
    Ok(addresses.into_iter().collect())
}

/// A counter that moves whenever an interface, an address or a default route appears, changes or goes.
pub fn follow() -> Result<watch::Receiver<u64>> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, handle, mut messages) =
        new_multicast_connection(&groups).context("open a netlink socket for news of interfaces")?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(connection);
    tokio::spawn(async move {
        // The handle keeps the connection alive.
        let _handle = handle;
        while let Some((message, _)) = messages.next().await {
            if sender.is_closed() {
                break;
            }
            if concerns_guarding(&message) {
                sender.send_modify(|count| *count += 1);
            }
        }
    });
    Ok(receiver)
}

/// A router learns thousands of routes a second; only default routes choose interfaces.
fn concerns_guarding(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    match &message.payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
        ) => route.header.destination_prefix_length == 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{default_routes, next_hops};

    #[test]
    #[cfg(target_endian = "little")]
    fn routers_are_the_next_hops_of_routes() {
        let v4 = "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t0202000A\t0003\neth0\t0002000A\t00000000\t0001\n";
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                  fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
                  fd770000000000000000000000000000 40 00000000000000000000000000000000 00 \
                  00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n";
        let found: Vec<_> = next_hops(v4, v6).map(|hop| hop.to_string()).collect();
        assert_eq!(found, ["10.0.2.2", "fe80::1"]);
    }

    #[test]
    fn interfaces_with_a_default_route_of_either_family_are_found_once() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  eth1\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe80000000000000000000000000000a 00000400 00000001 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 fe80000000000000000000000000000a 00000400 00000001 00000000 00000003 wan6\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        let found: Vec<_> = default_routes(v4, &v6).into_iter().collect();
        assert_eq!(found, ["eth0", "wan6"]);
    }
}
