//! The sessions of this host.
//!
//! In: the system's records of sessions, the kernel's sockets. Out: addresses. A connection to a port proves
//! nothing about its peer. It decides nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

const SSH: u16 = 22;
const ESTABLISHED: &str = "01";

/// The far end of the SSH session that this process was started from.
pub fn session() -> Option<IpAddr> {
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    connection.split(' ').next()?.parse::<IpAddr>().ok().map(|peer| peer.to_canonical())
}

/// Where people who logged in came from, by utmp and by logind.
pub fn authenticated() -> BTreeSet<IpAddr> {
    let is_running = |process: u32| Path::new(&format!("/proc/{process}")).exists();
    let mut all: BTreeSet<IpAddr> = logins(&fs::read("/run/utmp").unwrap_or_default(), is_running).collect();
    for session in fs::read_dir("/run/systemd/sessions").into_iter().flatten().flatten() {
        all.extend(remote_host(&fs::read_to_string(session.path()).unwrap_or_default()));
    }
    all
}

/// Addresses in the records of utmp (`struct utmp` of glibc, 384 bytes) whose session is somebody's and whose process runs.
fn logins(utmp: &[u8], is_running: impl Fn(u32) -> bool) -> impl Iterator<Item = IpAddr> {
    const RECORD: usize = 384;
    const USER_PROCESS: u32 = 7;
    const ADDRESS: usize = 348;
    utmp.chunks_exact(RECORD).filter_map(move |record| {
        let word = |at: usize| record.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        // The kind is a short; what pads it is whatever was there.
        let kind = word(0)? & 0xffff;
        if kind != USER_PROCESS || !is_running(word(4)?) {
            return None;
        }
        let bytes = <[u8; 16]>::try_from(record.get(ADDRESS..ADDRESS + 16)?).ok()?;
        let address = if bytes[4..] == [0; 12] {
            IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?)
        } else {
            IpAddr::from(bytes).to_canonical()
        };
        (!address.is_unspecified()).then_some(address)
    })
}

/// The address in a session file of logind; what is a name proves nothing.
fn remote_host(session: &str) -> Option<IpAddr> {
    let value = |key: &str| session.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let stands = matches!(value("STATE"), Some("active" | "online"));
    let host = value("REMOTE_HOST").filter(|_| stands && value("CLASS") == Some("user"))?;
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
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
    fn only_people_who_logged_in_and_are_still_there_count() {
        let record = |kind: u16, process: u32, address: &[u8]| {
            let mut record = [0u8; 384];
            record[..2].copy_from_slice(&kind.to_ne_bytes());
            record[4..8].copy_from_slice(&process.to_ne_bytes());
            record[348..348 + address.len()].copy_from_slice(address);
            record
        };
        let v6 = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        let utmp = [
            record(7, 10, &[192, 0, 2, 7]),
            record(7, 11, &v6),
            record(8, 12, &[192, 0, 2, 8]),
            record(7, 99, &[192, 0, 2, 9]),
            record(7, 13, &[]),
        ]
        .concat();
        let found: Vec<_> = logins(&utmp, |process| process < 99).map(|peer| peer.to_string()).collect();
        assert_eq!(found, ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(logins(&utmp[..383], |_| true).count(), 0);
    }

    #[test]
    fn a_session_of_logind_counts_while_it_stands_and_names_an_address() {
        let session = |state: &str, host: &str| {
            format!("# private\nUID=0\nSTATE={state}\nREMOTE=1\nCLASS=user\nREMOTE_HOST={host}\n")
        };
        let found = |state, host| remote_host(&session(state, host)).map(|address| address.to_string());
        assert_eq!(found("active", "::ffff:192.0.2.7"), Some("192.0.2.7".to_owned()));
        assert_eq!(found("online", "2001:db8::7"), Some("2001:db8::7".to_owned()));
        assert_eq!((found("closing", "192.0.2.7"), found("active", "gate.example")), (None, None));
        assert_eq!(remote_host("STATE=active\nCLASS=greeter\nREMOTE_HOST=192.0.2.7\n"), None);
    }

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
