//! The network interfaces of our namespace over rtnetlink: names, MTU, and what XDP program holds them.
//!
//! In: one dump request. Out: plain descriptions. It changes nothing.

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub up: bool,
    pub loopback: bool,
    /// Whether its frames begin with an Ethernet header; those of tun, `WireGuard`, PPP and IP tunnels begin with IP.
    pub ethernet: bool,
    /// The program in its XDP hook.
    pub xdp: Option<Xdp>,
    /// The driver's kind of a virtual interface, such as `veth`, `vlan`, `bond` or `bridge`; empty for hardware.
    pub kind: String,
    /// The index of the interface whose frames it carries, where that is in our namespace: a VLAN's parent.
    pub parent: Option<u32>,
    /// The index of the bond, bridge or team that it is a member of.
    pub master: Option<u32>,
    /// The kind of that one.
    pub master_kind: String,
    /// Receive queues.
    pub queues: u32,
    /// Packets received since it was made.
    pub received: u64,
}

impl Interface {
    /// The index of the interface whose XDP hook sees this one's frames: a bond for its member, the parent for a VLAN.
    pub fn carrier(&self) -> Option<u32> {
        match self.master_kind.as_str() {
            "bond" | "team" => self.master,
            _ if self.kind == "vlan" => self.parent,
            _ => None,
        }
    }
}

/// A program in an XDP hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    pub mode: Mode,
    pub program: u32,
}

/// Where XDP runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the socket buffer.
    Native,
    /// In the network stack, after the socket buffer.
    Generic,
    /// On the card.
    Offload,
    /// In several of these at once.
    Multiple,
}

impl Mode {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
            Self::Multiple => "multiple",
        }
    }
}

// Numbers of linux/rtnetlink.h and linux/if_link.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
pub(super) const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x301;
pub(super) const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
// Kinds of link layer of linux/if_arp.h.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_STATS64: u16 = 23;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const NESTED: u16 = 0x8000;

/// All interfaces of our network namespace, by index.
pub fn list() -> Result<Vec<Interface>> {
    let socket = open().context("open a netlink socket")?;
    let mut request = Vec::with_capacity(HEADER + LINK_HEADER);
    request.extend_from_slice(&32_u32.to_ne_bytes());
    request.extend_from_slice(&RTM_GETLINK.to_ne_bytes());
    request.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 8 + LINK_HEADER]);
    rustix::net::send(&socket, &request, SendFlags::empty()).context("ask for the list of interfaces")?;
    let mut interfaces = Vec::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let (length, _) = rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())
            .context("read the list of interfaces")?;
        if read_messages(buffer.get(..length).unwrap_or_default(), &mut interfaces)? {
            interfaces.sort_by_key(|interface| interface.index);
            return Ok(interfaces);
        }
    }
}

/// The interface with this name, or an error that names those that are nearest.
pub fn find(name: &str) -> Result<Interface> {
    let all = list()?;
    if let Some(found) = all.iter().find(|interface| interface.name == name) {
        return Ok(found.clone());
    }
    let mut near: Vec<&str> = all.iter().filter(|i| !i.loopback).map(|i| i.name.as_str()).collect();
    near.sort_by_key(|other| distance(name, other));
    near.truncate(3);
    if near.is_empty() {
        bail!("there is no interface {name:?}, and none but loopback");
    }
    bail!("there is no interface {name:?}; the nearest names are {}", near.join(", "))
}

pub(super) fn open() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0: routing.
        None,
    )?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// Adds the interfaces in one datagram; true when the dump is over.
fn read_messages(mut datagram: &[u8], interfaces: &mut Vec<Interface>) -> Result<bool> {
    while datagram.len() >= HEADER {
        let length = word(datagram, 0) as usize;
        let kind = half(datagram, 4);
        let Some(body) = datagram.get(HEADER..length) else {
            bail!("the kernel's list of interfaces is cut short")
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let error = io::Error::from_raw_os_error(-word(body, 0).cast_signed());
                return Err(error).context("the kernel refuses the list of interfaces");
            }
            RTM_NEWLINK => interfaces.extend(read_link(body)),
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn read_link(body: &[u8]) -> Option<Interface> {
    let attributes = body.get(LINK_HEADER..)?;
    let flags = word(body, 8);
    let mut interface = Interface {
        index: word(body, 4),
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        ethernet: matches!(half(body, 2), ARPHRD_ETHER | ARPHRD_LOOPBACK),
        ..Interface::default()
    };
    let mut elsewhere = false;
    for (kind, value) in Attributes(attributes) {
        match kind {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_MTU => interface.mtu = word(value, 0),
            IFLA_LINK => interface.parent = Some(word(value, 0)),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_MASTER => interface.master = Some(word(value, 0)),
            IFLA_LINKINFO => read_kinds(value, &mut interface),
            // `struct rtnl_link_stats64` begins with the received packets.
            IFLA_STATS64 => {
                interface.received =
                    value.first_chunk().map_or(0, |packets: &[u8; 8]| u64::from_ne_bytes(*packets));
            }
            IFLA_NUM_RX_QUEUES => interface.queues = word(value, 0),
            IFLA_XDP => interface.xdp = read_xdp(value),
            _ => {}
        }
    }
    if elsewhere {
        interface.parent = None;
    }
    Some(interface)
}

fn read_kinds(attributes: &[u8], interface: &mut Interface) {
    for (kind, value) in Attributes(attributes) {
        match kind {
            IFLA_INFO_KIND => interface.kind = text(value),
            IFLA_INFO_SLAVE_KIND => interface.master_kind = text(value),
            _ => {}
        }
    }
}

/// A string of the kernel's, up to its zero.
fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn read_xdp(attributes: &[u8]) -> Option<Xdp> {
    let mut attached = 0;
    let mut program = 0;
    for (kind, value) in Attributes(attributes) {
        match kind {
            IFLA_XDP_ATTACHED => attached = value.first().copied().unwrap_or_default(),
            // With several programs there is no PROG_ID; the driver's is the one that counts.
            IFLA_XDP_PROG_ID | IFLA_XDP_DRV_PROG_ID => program = word(value, 0),
            _ => {}
        }
    }
    let mode = match attached {
        1 => Mode::Native,
        2 => Mode::Generic,
        3 => Mode::Offload,
        4 => Mode::Multiple,
        _ => return None,
    };
    Some(Xdp { mode, program })
}

/// Walks `struct rtattr`s.
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(half(self.0, 0));
        let value = self.0.get(4..length)?;
        let kind = half(self.0, 2) & !NESTED;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

pub(super) fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

/// Edit distance, for near names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let here = (corner + usize::from(left != *right)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = here;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{
        Attributes, IFLA_IFNAME, IFLA_LINK, IFLA_LINK_NETNSID, IFLA_MASTER, Interface, LINK_HEADER, distance,
        find, list, read_link,
    };

    #[test]
    fn loopback_is_listed() {
        let all = list().expect("a list");
        let loopback = all.iter().find(|interface| interface.loopback).expect("a loopback interface");
        assert_eq!((loopback.name.as_str(), loopback.index), ("lo", 1));
        assert!(loopback.mtu > 0 && loopback.ethernet);
    }

    #[test]
    fn a_bond_stands_for_its_members_and_a_parent_for_its_vlans() {
        let check = |kind: &str, master_kind: &str, carrier: Option<u32>| {
            let (kind, master_kind) = (kind.to_owned(), master_kind.to_owned());
            let interface =
                Interface { kind, master_kind, parent: Some(7), master: Some(9), ..Interface::default() };
            assert_eq!(interface.carrier(), carrier, "{interface:?}");
        };
        check("", "bond", Some(9));
        check("", "team", Some(9));
        // XDP in a bridge is generic only, so its port is guarded.
        check("", "bridge", None);
        check("vlan", "", Some(7));
        check("vlan", "bond", Some(9));
        check("vlan", "bridge", Some(7));
        // A veth names its other end as its parent.
        check("veth", "", None);
    }

    #[test]
    fn a_parent_in_another_namespace_is_not_named() {
        let attribute = |kind: u16, value: &[u8; 4]| {
            [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes()[..], &value[..]].concat()
        };
        let mut body = vec![0; LINK_HEADER];
        body.extend(attribute(IFLA_IFNAME, b"veth"));
        body.extend(attribute(IFLA_LINK, &2_u32.to_ne_bytes()));
        body.extend(attribute(IFLA_MASTER, &4_u32.to_ne_bytes()));
        let ours = read_link(&body).expect("a link");
        assert_eq!((ours.name.as_str(), ours.parent, ours.master), ("veth", Some(2), Some(4)));
        body.extend(attribute(IFLA_LINK_NETNSID, &0_u32.to_ne_bytes()));
        let elsewhere = read_link(&body).expect("a link");
        assert_eq!((elsewhere.parent, elsewhere.master), (None, Some(4)));
    }

    #[test]
    fn a_missing_interface_is_refused_with_near_names() {
        let error = find("no-such-interface").expect_err("there is none").to_string();
        assert!(error.contains("no-such-interface"), "{error}");
    }

    #[test]
    fn near_names_are_near() {
        assert_eq!(distance("eth0", "eth0"), 0);
        assert_eq!(distance("eth0", "eth1"), 1);
        assert_eq!(distance("ens3", "enp3s0"), 3);
    }

    #[test]
    fn cut_attributes_end_the_walk() {
        for bytes in [&[][..], &[0, 0], &[3, 0, 1, 0], &[9, 0, 1, 0, 1], &[255, 255, 1, 0, 1, 2, 3, 4]] {
            assert_eq!(Attributes(bytes).count(), 0, "{bytes:?}");
        }
    }
}
