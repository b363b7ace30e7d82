//! Sockets that wait for anybody, with the processes that hold them.
//!
//! In: `/proc`. Out: endpoints. What this user may not read is left out: the endpoint then has no process.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cli::{Exit, Failure};

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where others reach this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    pub protocol: Protocol,
    pub port: u16,
    /// The name of the process, or of the container behind a published port.
    pub process: Option<String>,
    /// The port within the container, which tells its role.
    pub inner_port: Option<u16>,
}

/// The lists, with the state of a socket that waits for anybody.
const LISTS: [(&str, Protocol, &str); 4] = [
    ("/proc/self/net/tcp", Protocol::Tcp, "0A"),
    ("/proc/self/net/tcp6", Protocol::Tcp, "0A"),
    ("/proc/self/net/udp", Protocol::Udp, "07"),
    ("/proc/self/net/udp6", Protocol::Udp, "07"),
];
/// From here on the kernel gives ports to clients, unless it was told otherwise.
const EPHEMERAL: u16 = 32_768;

/// Everything that listens beyond loopback in this network namespace.
pub fn endpoints() -> Result<Vec<Endpoint>, Failure> {
    let table = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
    // A kernel without IPv6 has no lists of it.
    let first = table(LISTS[0].0).map_err(|error| Failure::new(Exit::Failed, format!("{error:#}")))?;
    let processes = processes(Path::new("/proc"));
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ephemeral = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(EPHEMERAL);
    let mut found = Vec::new();
    for (path, protocol, state) in LISTS {
        let text = if path == LISTS[0].0 { first.clone() } else { table(path).unwrap_or_default() };
        for (port, inode) in waiting(&text, state) {
            // An unconnected UDP socket on such a port is a client that waits for its answer.
            if protocol == Protocol::Udp && port >= ephemeral {
                continue;
            }
            let process = processes.get(&inode).cloned();
            found.push(Endpoint { protocol, port, process, inner_port: None });
        }
    }
    found.sort();
    found.dedup_by(|one, other| (one.protocol, one.port) == (other.protocol, other.port));
    Ok(found)
}

/// Ports and inodes of the sockets in a list that are in `state` and not bound to loopback.
fn waiting<'a>(list: &'a str, state: &'a str) -> impl Iterator<Item = (u16, u64)> + 'a {
    list.lines().skip(1).filter_map(move |line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let inode = fields.get(9)?.parse().ok()?;
        (fields.get(3) == Some(&state) && port != 0 && !is_loopback(address)).then_some((port, inode))
    })
}

/// Addresses are words of 32 bits in the order of this host's bytes.
fn is_loopback(address: &str) -> bool {
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match address.len() {
        8 => word(0).is_some_and(|bytes| bytes[0] == 127),
        32 => {
            let words = [word(0), word(8), word(16), word(24)];
            let mapped = words[..3] == [Some([0; 4]), Some([0; 4]), Some([0, 0, 0xff, 0xff])];
            words == [Some([0; 4]), Some([0; 4]), Some([0; 4]), Some([0, 0, 0, 1])]
                || mapped && words[3].is_some_and(|bytes| bytes[0] == 127)
        }
        _ => false,
    }
}

/// The names of the processes that hold sockets, by the socket's inode.
fn processes(proc: &Path) -> HashMap<u64, String> {
    let mut holders = HashMap::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let folder = process.path();
        let Ok(name) = fs::read_to_string(folder.join("comm")) else { continue };
        for descriptor in fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                holders.entry(inode).or_insert_with(|| name.trim().to_owned());
            }
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, processes, waiting};

    #[test]
    #[cfg(target_endian = "little")]
    fn sockets_that_wait_for_others_are_found() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 101 1\n\
             1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 102 1\n\
             2: 0A00000A:0016 0500000A:D431 01 00000000:00000000 00:00000000 00000000 0 0 103 1\n\
             3: 0A00000A:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 104 1\n\
             4: short\n";
        assert_eq!(waiting(list, "0A").collect::<Vec<_>>(), [(443, 101), (22, 104)]);
        for (address, expected) in [
            ("0100007F", true),
            ("00000000", false),
            ("00000000000000000000000001000000", true),
            ("0000000000000000FFFF00000100007F", true),
            ("0000000000000000FFFF00000100000A", false),
            ("00000000000000000000000000000000", false),
        ] {
            assert_eq!(is_loopback(address), expected, "{address}");
        }
    }

    #[test]
    fn the_process_of_a_socket_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket));
        let link = std::fs::read_link(link).unwrap();
        let inode = link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']');
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        let found = processes(std::path::Path::new("/proc"));
        assert_eq!(found.get(&inode.parse().unwrap()).map(String::as_str), Some(own.trim()));
    }
}
