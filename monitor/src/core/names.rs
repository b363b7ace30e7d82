//! Numbers of the kernel to names: services, interfaces, classes and the prefixes that count as one source.

use std::collections::HashMap;
use std::net::IpAddr;

use datapath::{Guarded, Kernel};
use ipnet::IpNet;
use policy::Image;
use policy::config::Source as SourceBits;

use super::sources::Row;
use crate::snapshot::{Count, Source};

/// How numbers become names, at one moment.
pub struct Names<'a> {
    pub image: &'a Image,
    pub interfaces: &'a [Guarded],
    pub kernel: &'a dyn Kernel,
    /// The workloads of this host that send from a prefix.
    pub workloads: &'a HashMap<IpNet, String>,
    pub bits: SourceBits,
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

/// The prefix that counts as one source.
pub fn source_of(bits: SourceBits, address: IpAddr) -> IpNet {
    IpNet::new(address, bits.bits(address)).unwrap_or_else(|_| IpNet::from(address)).trunc()
}

impl Names<'_> {
    pub fn prefix(&self, address: IpAddr) -> IpNet {
        source_of(self.bits, address)
    }

    pub fn service(&self, number: u32) -> String {
        self.image.service_name(number).map_or_else(|| format!("retired-{number}"), str::to_owned)
    }

    pub fn interface(&self, slot: u32) -> String {
        let known = self.interfaces.iter().find(|interface| interface.slot == slot);
        known.map_or_else(|| format!("slot-{slot}"), |interface| interface.name.clone())
    }

    pub fn source(&self, row: &Row) -> Source {
        let Row { key, entry, rates, .. } = row;
        let source = self.prefix(row.address());
        // Others send from a prefix as well, and which of its addresses sent this is not known.
        let is_one_host = source.prefix_len() == source.max_prefix_len();
        let class = self.image.class_name(entry.class.into()).unwrap_or("unknown");
        Source {
            source,
            service: self.service(key.service),
            class: class.to_owned(),
            interface: self.interface(entry.interface.into()),
            total: Count { packets: entry.total().packets, bytes: entry.total().bytes },
            dropped: Count { packets: entry.dropped.packets, bytes: entry.dropped.bytes },
            would_drop: Count { packets: entry.would_drop.packets, bytes: entry.would_drop.bytes },
            connections: entry.opened(),
            packets_per_second: rates.packets,
            bytes_per_second: rates.bytes,
            dropped_per_second: rates.dropped,
            would_drop_per_second: rates.would_drop,
            first_seen: self.kernel.wall(entry.first_seen),
            last_seen: self.kernel.wall(entry.last_seen),
            exceeding: row.exceeding(),
            workload: self.workloads.get(&source).filter(|_| is_one_host).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_the_prefix_it_counts_under() {
        let bits = SourceBits { ipv4_prefix: 32, ipv6_prefix: 64 };
        assert_eq!(source_of(bits, "10.0.0.5".parse().unwrap()).to_string(), "10.0.0.5/32");
        assert_eq!(source_of(bits, "2001:db8::7".parse().unwrap()).to_string(), "2001:db8::/64");
    }
}
