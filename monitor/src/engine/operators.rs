//! The SSH sessions of this host.
//!
//! In: the kernel's list of TCP sockets. Out: addresses of far ends. It decides nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SSH: u16 = 22;
const ESTABLISHED: &str = "01";

/// The far end of the SSH session that this process was started from.
pub fn session() -> Option<IpAddr> {
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    connection.split(' ').next()?.parse::<IpAddr>().ok().map(|peer| peer.to_canonical())
}

/// Far ends of all SSH connections that stand now. Anybody can open one, so it is no proof of anything by itself.
pub fn established() -> BTreeSet<IpAddr> {
    let mut peers = BTreeSet::new();
    for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        peers.extend(ssh_peers(&fs::read_to_string(file).unwrap_or_default()));
    }
    peers
}

/// Far ends of established connections to local port 22, from the text of `/proc/net/tcp` or `tcp6`.
fn ssh_peers(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
        let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok())?;
        let peer = address(remote.rsplit_once(':')?.0)?;
        (state == ESTABLISHED && port == SSH).then_some(peer)
    })
}

/// The kernel prints addresses as words of 32 bits in host order.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn only_established_connections_to_the_ssh_port_count() {
        let v4 = "  sl  local_address rem_address   st\n   \
                  0: 0A00000A:0016 0500000A:D431 01 00000000:00000000\n   \
                  1: 0A00000A:0016 0600000A:D431 06 00000000:00000000\n   \
                  2: 0A00000A:01BB 0700000A:D431 01 00000000:00000000\n";
        let v6 = "  sl  local_address rem_address   st\n   \
                  0: 0000000000000000FFFF00000A00000A:0016 0000000000000000FFFF00000800000A:D431 01\n   \
                  1: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:D431 01\n";
        let peers: Vec<_> = ssh_peers(v4).chain(ssh_peers(v6)).map(|peer| peer.to_string()).collect();
        assert_eq!(peers, ["10.0.0.5", "10.0.0.8", "2001:db8::2"]);
    }
}
