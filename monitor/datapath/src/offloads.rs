//! What a network card does to packets before XDP sees them, and how many queues it has: `ethtool` by its ioctl.
//!
//! In: an interface's name. Out: plain values. It changes nothing and needs no capability.

use std::io;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

// Numbers of linux/sockios.h and linux/ethtool.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const GCHANNELS: u32 = 0x3c;
const SS_FEATURES: u32 = 4;
/// Letters of a feature's name.
const NAME: usize = 32;
/// Far more than any kernel has.
const MOST_FEATURES: usize = 1024;

/// What matters to XDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Packets are merged before XDP: in hardware or by the driver (LRO), or as GRO in hardware.
    pub merges: Vec<&'static str>,
    /// VLAN tags are taken off the frame before XDP.
    pub strips_vlan_tags: bool,
    /// Receive queues in use and at most; `None` where the driver does not say.
    pub queues: Option<(u32, u32)>,
}

/// Asks the driver of an interface.
pub fn offloads(interface: &str) -> Result<Offloads> {
    let active =
        active_features(interface).with_context(|| format!("ask for the offloads of {interface}"))?;
    let is_on = |wanted: &str| active.iter().any(|name| name == wanted);
    // As `ethtool -K` calls them.
    let merging = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];
    Ok(Offloads {
        merges: merging.into_iter().filter(|(name, _)| is_on(name)).map(|(_, short)| short).collect(),
        strips_vlan_tags: is_on("rx-vlan-hw-parse"),
        queues: queues(interface).ok(),
    })
}

fn active_features(interface: &str) -> io::Result<Vec<String>> {
    // struct ethtool_sset_info: cmd, reserved, mask of 64 bits, then a count for each bit.
    let mut info = vec![0_u8; 20];
    put(&mut info, 0, GSSET_INFO);
    put(&mut info, 8, 1 << SS_FEATURES);
    ask(interface, &mut info)?;
    let count = (get(&info, 16) as usize).min(MOST_FEATURES);
    // struct ethtool_gstrings: cmd, set, length, then the names.
    let mut names = vec![0_u8; 12 + count * NAME];
    put(&mut names, 0, GSTRINGS);
    put(&mut names, 4, SS_FEATURES);
    put(&mut names, 8, u32::try_from(count).unwrap_or(0));
    ask(interface, &mut names)?;
    // struct ethtool_gfeatures: cmd, blocks, then for each 32 features: available, requested, active, never changed.
    let blocks = count.div_ceil(32);
    let mut features = vec![0_u8; 8 + blocks * 16];
    put(&mut features, 0, GFEATURES);
    put(&mut features, 4, u32::try_from(blocks).unwrap_or(0));
    ask(interface, &mut features)?;
    Ok(read_active(&names[12..], &features[8..]))
}

/// The names whose bit is set among the active ones.
fn read_active(names: &[u8], blocks: &[u8]) -> Vec<String> {
    let numbered = names.chunks_exact(NAME).enumerate();
    let active = numbered.filter(|(number, _)| get(blocks, number / 32 * 16 + 8) >> (number % 32) & 1 == 1);
    active
        .map(|(_, name)| {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        })
        .collect()
}

fn queues(interface: &str) -> io::Result<(u32, u32)> {
    // struct ethtool_channels: cmd, most of rx, tx, other and combined, then how many of each.
    let mut channels = vec![0_u8; 36];
    put(&mut channels, 0, GCHANNELS);
    ask(interface, &mut channels)?;
    let sum = |rx: usize, combined: usize| get(&channels, rx).saturating_add(get(&channels, combined));
    Ok((sum(20, 32), sum(4, 16)))
}

/// Hands `request` to the driver, which answers in the same place.
fn ask(interface: &str, request: &mut [u8]) -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all fields of `ifreq` are integers, bytes or pointers, for which zero is a value.
    let mut asking: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = asking.ifr_name.len() - 1;
    for (to, byte) in asking.ifr_name.iter_mut().take(room).zip(interface.bytes()) {
        *to = byte.cast_signed();
    }
    asking.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: both structs outlive the call, and each request above is as long as its command's answer: the counts in it
    // bound what the kernel writes.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut asking) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_ne_bytes());
    }
}

fn get(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::{NAME, offloads, read_active};

    #[test]
    fn active_features_are_named_by_their_bit() {
        let mut names = vec![0_u8; 34 * NAME];
        for (number, name) in [(0, "rx-checksum"), (1, "rx-lro"), (33, "rx-vlan-hw-parse")] {
            names[number * NAME..][..name.len()].copy_from_slice(name.as_bytes());
        }
        let mut blocks = vec![0_u8; 32];
        // The second feature is active, the first is only available and requested.
        (blocks[0], blocks[4], blocks[8]) = (0b11, 0b01, 0b10);
        blocks[16 + 8] = 0b10;
        assert_eq!(read_active(&names, &blocks), ["rx-lro", "rx-vlan-hw-parse"]);
        assert_eq!(read_active(&names, &blocks[..16]), ["rx-lro"]);
        assert_eq!(read_active(&[], &[]), [""; 0]);
    }

    #[test]
    fn loopback_answers_and_a_missing_interface_does_not() {
        let loopback = offloads("lo").unwrap();
        assert!(!loopback.strips_vlan_tags, "{loopback:?}");
        assert!(offloads("no-such-link").is_err());
        assert!(offloads(&"x".repeat(300)).is_err());
    }
}
