//! Where the operator sits: the far end of the SSH connection that this command was typed into.
//!
//! In: `SSH_CONNECTION` of this process, or of the processes that started it (sudo clears the environment). Out: an
//! address that the daemon will not cut off without being asked twice.

use std::fs;
use std::net::IpAddr;

/// No session is deeper than this.
const ANCESTORS: usize = 32;

/// The address that the operator's SSH connection comes from, if there is one.
pub fn ssh_peer() -> Option<IpAddr> {
    if let Ok(connection) = std::env::var("SSH_CONNECTION") {
        return peer_of(&connection);
    }
    let mut process = parent_of(&fs::read_to_string("/proc/self/stat").ok()?)?;
    for _ in 0..ANCESTORS {
        if process <= 1 {
            return None;
        }
        // Unreadable for want of permission: then its ancestors may still tell.
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        if let Some(peer) = connection_in(&environment).and_then(peer_of) {
            return Some(peer);
        }
        process = parent_of(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?;
    }
    None
}

/// `SSH_CONNECTION` is "client port server port" (sshd(8)); the address may carry a zone.
fn peer_of(connection: &str) -> Option<IpAddr> {
    let address = connection.split_whitespace().next()?;
    address.split('%').next()?.parse().ok()
}

fn connection_in(environment: &[u8]) -> Option<&str> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(b"SSH_CONNECTION="))?;
    std::str::from_utf8(value).ok()
}

/// The fourth field of `/proc/PID/stat` (proc(5)); the second, in parentheses, may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{connection_in, parent_of, peer_of};

    #[test]
    fn the_far_end_of_an_ssh_connection_is_its_first_word() {
        assert_eq!(peer_of("192.0.2.7 50022 10.0.0.1 22"), "192.0.2.7".parse().ok());
        assert_eq!(peer_of("fe80::1%eth0 50022 fe80::2%eth0 22"), "fe80::1".parse().ok());
        assert_eq!(peer_of(""), None);
        assert_eq!(peer_of("nonsense"), None);
    }

    #[test]
    fn the_connection_is_found_in_another_process_environment() {
        let environment = b"HOME=/root\0SSH_CONNECTION=192.0.2.7 1 10.0.0.1 22\0TERM=x\0";
        assert_eq!(connection_in(environment).and_then(peer_of), "192.0.2.7".parse().ok());
        assert_eq!(connection_in(b"HOME=/root\0"), None);
    }

    #[test]
    fn a_process_name_with_parentheses_does_not_hide_its_parent() {
        assert_eq!(parent_of("71 (a) (b) S 70 71 71 0"), Some(70));
        assert_eq!(parent_of("broken"), None);
    }
}
