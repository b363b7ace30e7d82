//! The stage of every live test: an honest client, an attacker and a guarded host on one wire, each in its own namespace.
//!
//! The wire is a bridge in a fourth namespace. Everybody has an IPv4 and an IPv6 address, and can have the same on a VLAN.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Result;

use super::{
    daemon,
    flood::{Flood, Plan, Sources},
    network::{Network, Space},
    packet::packet,
};

/// The guarded interface.
pub const INTERFACE: &str = "eth0";
/// The VLAN's identifier and its interface.
pub const VLAN: u16 = 7;
pub const VLAN_INTERFACE: &str = "eth0.7";

/// Last part of everybody's addresses.
const GUARDED: u8 = 1;
const CLIENT: u8 = 2;
const ATTACKER: u8 = 3;

/// Which of the networks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Ipv4,
    Ipv6,
    Vlan,
}

/// Everybody.
#[derive(Debug)]
pub struct Scene {
    pub guarded: Space,
    pub client: Space,
    pub attacker: Space,
    pub wire: Space,
    /// Whether this kernel has VLAN interfaces, so that hosts can use real tools over [`Over::Vlan`].
    pub has_vlans: bool,
    /// Last, so that everybody above is gone before the namespaces are.
    _network: Network,
}

fn join_vlan(space: &Space, last: u8) -> Result<()> {
    let id = VLAN.to_string();
    space.ip(&["link", "add", "link", INTERFACE, "name", VLAN_INTERFACE, "type", "vlan", "id", &id])?;
    space.address(VLAN_INTERFACE, &format!("10.78.0.{last}/24"))?;
    space.ip(&["link", "set", VLAN_INTERFACE, "up"])?;
    space.quick_retransmission("10.78.0.0/24", VLAN_INTERFACE)
}

/// The port that [`Scene::flood`] sends to.
pub const FLOODED: u16 = 9999;

impl Scene {
    /// Everybody, where a daemon can guard; otherwise why it cannot.
    pub fn to_guard() -> Result<Self> {
        daemon::possible()?;
        Self::new()
    }

    /// The attacker sends UDP over IPv4 to [`FLOODED`] of the guarded host.
    pub fn flood(&self, per_second: u64, time: Duration) -> Result<Flood> {
        self.flood_from(Sources::One, FLOODED, per_second, time)
    }

    /// The same from other sources and to another port.
    pub fn flood_from(&self, sources: Sources, port: u16, per_second: u64, time: Duration) -> Result<Flood> {
        let frame = packet()
            .macs([2, 0, 0, 0, 0, 9], self.guarded_mac()?)
            .between("10.77.0.3", "10.77.0.1")
            .udp(4000, port)
            .build();
        let plan = Plan { interface: INTERFACE.to_owned(), frame, sources, per_second, time };
        Flood::start(&self.attacker, plan)
    }

    /// Everybody with links of 1500 bytes.
    pub fn new() -> Result<Self> {
        Self::with_mtu(1500)
    }

    /// Everybody with links of `mtu` bytes.
    pub fn with_mtu(mtu: u32) -> Result<Self> {
        let mut network = Network::new()?;
        let (wire, guarded) = (network.space()?, network.space()?);
        let (client, attacker) = (network.space()?, network.space()?);
        wire.ip(&["link", "add", "br0", "type", "bridge"])?;
        wire.ip(&["link", "set", "br0", "mtu", &mtu.to_string(), "up"])?;
        let mut has_vlans = true;
        for (space, port, last) in
            [(&guarded, "guarded", GUARDED), (&client, "client", CLIENT), (&attacker, "attacker", ATTACKER)]
        {
            let (v4, v6) = (format!("10.77.0.{last}/24"), format!("fd77::{last}/64"));
            network.link(space, &wire, [(INTERFACE, &[&v4, &v6]), (port, &[])])?;
            for (end, name) in [(space, INTERFACE), (&wire, port)] {
                // The tag travels within the frame, as on a real wire.
                let _ = end.run("ethtool", &["-K", name, "txvlan", "off", "rxvlan", "off"]);
                end.ip(&["link", "set", name, "mtu", &mtu.to_string()])?;
            }
            wire.ip(&["link", "set", port, "master", "br0"])?;
            space.quick_retransmission("10.77.0.0/24", INTERFACE)?;
            space.quick_retransmission("fd77::/64", INTERFACE)?;
            has_vlans = has_vlans && join_vlan(space, last).is_ok();
        }
        Ok(Self { guarded, client, attacker, wire, has_vlans, _network: network })
    }

    fn address(over: Over, last: u8) -> IpAddr {
        match over {
            Over::Ipv4 => IpAddr::from([10, 77, 0, last]),
            Over::Vlan => IpAddr::from([10, 78, 0, last]),
            Over::Ipv6 => IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(last)]),
        }
    }

    pub fn guarded_address(&self, over: Over) -> IpAddr {
        Self::address(over, GUARDED)
    }

    pub fn client_address(&self, over: Over) -> IpAddr {
        Self::address(over, CLIENT)
    }

    pub fn attacker_address(&self, over: Over) -> IpAddr {
        Self::address(over, ATTACKER)
    }

    pub fn service(&self, over: Over, port: u16) -> SocketAddr {
        SocketAddr::new(self.guarded_address(over), port)
    }

    /// The MAC address of the guarded interface.
    pub fn guarded_mac(&self) -> Result<[u8; 6]> {
        let text = self.guarded.ip(&["-br", "link", "show", "dev", INTERFACE])?;
        let mac = text.split_whitespace().find(|word| word.matches(':').count() == 5).unwrap_or_default();
        let bytes = mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Vec<_>>();
        bytes.try_into().map_err(|_| anyhow::anyhow!("no MAC address in {text}"))
    }

    /// Loses no packet while it is not attacked: everybody has found everybody.
    pub fn warm_up(&self, over: Over) -> Result<()> {
        let target = self.guarded_address(over).to_string();
        for space in [&self.client, &self.attacker] {
            space.run("ping", &["-c", "2", "-i", "0.2", "-W", "2", &target])?;
        }
        Ok(())
    }
}
