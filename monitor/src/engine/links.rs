//! What the host's network looks like: indexes of interfaces, its own addresses, and a nudge whenever they change.
//!
//! In: netlink. Out: plain values. It changes nothing; attaching is the datapath's.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::{MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::watch;

/// The interfaces with a default route of either family.
pub fn with_default_route() -> Result<Vec<String>> {
    let v4 = fs::read_to_string("/proc/net/route").context("read /proc/net/route")?;
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    Ok(default_routes(&v4, &v6).into_iter().collect())
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

/// A counter that moves whenever an interface or an address appears, changes or goes.
pub fn follow() -> Result<watch::Receiver<u64>> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) =
        new_multicast_connection(&groups).context("open a netlink socket for news of interfaces")?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(connection);
    tokio::spawn(async move {
        // The handle keeps the connection alive.
        let _handle = handle;
        while messages.next().await.is_some() && !sender.is_closed() {
            sender.send_modify(|count| *count += 1);
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::default_routes;

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
