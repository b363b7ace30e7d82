//! The guarded hosts of a live run: one for each protection, all with the same services, each on a wire of its own to the
//! one outside from which honest clients and floods come.
//!
//! Each host's wire has one receive queue, which a thread of the kernel serves on the hosts' processor: what receiving costs is
//! that thread's run time. Everything outside runs on the other processor.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use monitor_tests::harness::{
    daemon::Daemon,
    live::BareDrop,
    network::{Network, Space, run},
    processor,
};

use super::load::Services;

/// Where the outside runs: floods and honest clients.
pub const OUTSIDE: usize = 0;
/// Where the hosts run: receiving, services, the daemon.
pub const INSIDE: usize = 1;

/// How eagerly all of it runs, beside whatever else the machine does: alike, as on a host of their own.
pub const EAGER: i32 = -19;
pub const SLICE: Duration = Duration::from_micros(500);

/// Ports: honest questions over UDP, over TCP; a service that is flooded; one whose limits no flood exceeds.
pub const ASKED_UDP: u16 = 7000;
pub const ASKED_TCP: u16 = 7001;
pub const FLOODED: u16 = 7100;
pub const HARMLESS: u16 = 7200;
/// What one source may send to the flooded service, packets a second.
pub const SOURCE_LIMIT: u64 = 1000;

/// Honest clients: addresses 10.81.x.2 and on.
pub const CLIENTS: u8 = 16;
/// The first 16 bits of every honest address.
const NETWORK: u16 = 0x0a51;

const RULES: &str = r#"
[access]
inside = []
[flood]
known_after = "2s"
[[service]]
name = "asked-udp"
protocol = "udp"
ports = [7000]
mode = "enforce"
limit = { packets = "2k/s" }
aggregate = { packets = "32k/s" }
[[service]]
name = "asked-tcp"
protocol = "tcp"
ports = [7001]
mode = "enforce"
limit = { connections = "200/s", connections_burst = 400 }
aggregate = { connections = "4k/s" }
[[service]]
name = "flooded"
protocol = "udp"
ports = [7100]
mode = "enforce"
limit = { packets = "1k/s" }
aggregate = { packets = "20k/s" }
[[service]]
name = "harmless"
protocol = "udp"
ports = [7200]
mode = "enforce"
limit = { packets = "1k/s" }
"#;

/// The same limits for nftables, as far as it has them: it reserves nothing for those it knows.
const NFT: &str = r"
table netdev guard {
  set asked { type ipv4_addr; size 131072; flags dynamic,timeout; timeout 10s; }
  set opening { type ipv4_addr; size 131072; flags dynamic,timeout; timeout 10s; }
  set flooding { type ipv4_addr; size 131072; flags dynamic,timeout; timeout 10s; }
  set others { type ipv4_addr; size 131072; flags dynamic,timeout; timeout 10s; }
  chain ingress {
    type filter hook ingress device DEVICE priority 0; policy accept;
    udp dport 7000 update @asked { ip saddr limit rate over 2000/second burst 2000 packets } drop
    udp dport 7000 limit rate over 32000/second burst 32000 packets drop
    tcp dport 7001 tcp flags & (syn | ack) == syn update @opening { ip saddr limit rate over 200/second burst 400 packets } drop
    tcp dport 7001 tcp flags & (syn | ack) == syn limit rate over 4000/second burst 4000 packets drop
    udp dport 7100 update @flooding { ip saddr limit rate over 1000/second burst 1000 packets } drop
    udp dport 7100 limit rate over 20000/second burst 20000 packets drop
    udp dport 7200 update @others { ip saddr limit rate over 1000/second burst 1000 packets } drop
  }
}
";

/// What stands before a host's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    None,
    Floor,
    Nftables,
    Sluice,
}

impl Protection {
    pub const ALL: [Self; 4] = [Self::None, Self::Floor, Self::Nftables, Self::Sluice];

    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Floor => "bare drop",
            Self::Nftables => "nftables",
            Self::Sluice => "sluice",
        }
    }
}

/// What holds a protection in place.
#[expect(dead_code, reason = "held until the host goes")]
enum Guard {
    None,
    Rules,
    Bare(BareDrop),
    Daemon(Box<Daemon>),
}

/// One host.
pub struct Host {
    pub protection: Protection,
    pub services: Services,
    pub outside: Space,
    /// The outside's interface to it.
    pub wire: String,
    number: u8,
    mac: [u8; 6],
    receivers: Vec<i32>,
    guard: Guard,
}

/// Everybody.
pub struct Hosts {
    pub hosts: Vec<Host>,
    /// Last, so that everything within is gone before the namespaces are.
    _network: Network,
}

impl Hosts {
    pub fn new() -> Result<Self> {
        let mut network = Network::new()?;
        let outside = network.space()?;
        // Answers to sources that do not exist end here, without a word.
        outside.set("net/ipv4/conf/all/rp_filter", "0")?;
        let mut hosts = Vec::new();
        for (number, protection) in (0..).zip(Protection::ALL) {
            let space = network.space()?;
            let host = Host::new(&network, &outside, &space, number, protection);
            hosts.push(host.with_context(|| format!("the host with protection: {}", protection.label()))?);
        }
        Ok(Self { hosts, _network: network })
    }
}

impl Host {
    fn new(
        network: &Network,
        outside: &Space,
        space: &Space,
        number: u8,
        protection: Protection,
    ) -> Result<Self> {
        // The kernel's receiving threads carry the interface's name, of which they keep ten letters.
        let tag = std::process::id() & 0xfff;
        let (near, wire) = (format!("h{tag:x}{number}"), format!("w{tag:x}{number}"));
        let subnet = format!("10.81.{number}.0/24");
        let own = format!("10.81.{number}.1/24");
        let clients: Vec<String> = (2..2 + CLIENTS).map(|last| format!("10.81.{number}.{last}/24")).collect();
        let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
        network.link(space, outside, [(&near, &[&own]), (&wire, &clients)])?;
        let (mac, far_mac) = (mac_of(space, &near)?, mac_of(outside, &wire)?);
        for last in 2..2 + CLIENTS {
            let address = format!("10.81.{number}.{last}");
            space.ip(&[
                "neigh",
                "replace",
                &address,
                "lladdr",
                &far_mac,
                "dev",
                &near,
                "nud",
                "permanent",
            ])?;
        }
        let address = format!("10.81.{number}.1");
        outside.ip(&["neigh", "replace", &address, "lladdr", &mac, "dev", &wire, "nud", "permanent"])?;
        space.ip(&["route", "add", "default", "via", &format!("10.81.{number}.2"), "dev", &near])?;
        space.quick_retransmission(&subnet, &near)?;
        outside.quick_retransmission(&subnet, &wire)?;
        space.set("net/ipv4/conf/all/rp_filter", "0")?;
        let receivers = receive_on(space, &near, INSIDE)?;
        receive_on(outside, &wire, OUTSIDE)?;
        let services = Services::start(space, Ipv4Addr::new(10, 81, number, 1), INSIDE)?;
        let guard = protect(space, &near, protection)?;
        let mac = bytes_of(&mac).with_context(|| format!("the address {mac}"))?;
        Ok(Self { protection, services, outside: outside.clone(), wire, number, mac, receivers, guard })
    }

    /// Where to send frames.
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    pub fn address(&self) -> String {
        format!("10.81.{}.1", self.number)
    }

    pub fn service(&self, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 81, self.number, 1], port))
    }

    /// Addresses of honest clients.
    pub fn clients(&self) -> Vec<SocketAddr> {
        (2..2 + CLIENTS).map(|last| SocketAddr::from(([10, 81, self.number, last], 0))).collect()
    }

    /// How long the host has worked so far, in nanoseconds: receiving, services and the daemon. Who of them pays for a packet
    /// on its way to a service that wakes up is for the scheduler to say, so only the sum means anything.
    pub fn worked(&self) -> Result<u64> {
        let receiving: std::io::Result<u64> =
            self.receivers.iter().map(|thread| processor::run_time(*thread)).sum();
        let guard = match &self.guard {
            Guard::Daemon(daemon) => processor::process_run_time(daemon.id().context("the daemon runs")?)?,
            _ => 0,
        };
        Ok(receiving.context("read how long receiving took")? + self.services.run_time()? + guard)
    }

    /// Whether it is still guarded as it should be.
    pub fn ensure_guarded(&self) -> Result<()> {
        if let Guard::Daemon(daemon) = &self.guard {
            daemon.json(&["status"]).context("the daemon does not answer any more")?;
        }
        Ok(())
    }
}

/// Lets threads of the kernel on this processor receive for the interface.
fn receive_on(space: &Space, interface: &str, processor: usize) -> Result<Vec<i32>> {
    // A veth without a program receives in threads only when it aggregates.
    space.run("ethtool", &["-K", interface, "gro", "on"])?;
    // Interfaces of another namespace are in no /sys but one that is mounted there.
    let path = format!("/sys/class/net/{interface}/threaded");
    run("ip", &["netns", "exec", space.name(), "sh", "-c", &format!("echo 1 > {path}")])?;
    let threads = processor::kernel_threads(&format!("napi/{interface}-"));
    ensure!(!threads.is_empty(), "{interface} has no receiving thread");
    for thread in &threads {
        processor::pin(*thread, processor).context("pin a receiving thread")?;
        // Before everything else, as interrupts are.
        processor::first(*thread).context("prefer a receiving thread")?;
    }
    Ok(threads)
}

fn protect(space: &Space, interface: &str, protection: Protection) -> Result<Guard> {
    Ok(match protection {
        Protection::None => Guard::None,
        Protection::Floor => Guard::Bare(BareDrop::attach(space, interface, NETWORK)?),
        Protection::Nftables => {
            let directory = tempfile::tempdir()?;
            let file = directory.path().join("rules.nft");
            std::fs::write(&file, NFT.replace("DEVICE", interface))?;
            space.run("nft", &["-f", &file.display().to_string()])?;
            Guard::Rules
        }
        Protection::Sluice => {
            let daemon = Daemon::start(space, &[interface], RULES)?;
            processor::pin_process(daemon.id().context("the daemon runs")?, INSIDE)?;
            Guard::Daemon(Box::new(daemon))
        }
    })
}

fn mac_of(space: &Space, interface: &str) -> Result<String> {
    let text = space.ip(&["-br", "link", "show", "dev", interface])?;
    let mac = text.split_whitespace().find(|word| word.matches(':').count() == 5);
    Ok(mac.with_context(|| format!("no MAC address in {text}"))?.to_owned())
}

fn bytes_of(mac: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().ok()
}
