//! The rules of the benchmark: a configuration of twenty services, compiled as the daemon compiles its own.
//!
//! In: what the kernel's clock and key are, whether new sources may enter as they come, whether prefixes are loaded.
//! Out: an [`Image`] to apply.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use datapath::Datapath;
use ipnet::IpNet;
use monitor_tests::harness::rules;
use policy::Image;

const SERVICES: u16 = 20;
/// The port of the service that every case sends to.
pub const PORT: u16 = FIRST_PORT + 5;
const FIRST_PORT: u16 = 80;

/// Denied prefixes that are loaded, of each family, and classed ones.
const DENIED: u32 = 5000;
const CLASSED: u32 = 500;

/// A source that is denied in every image.
pub const DENIED_SOURCE: u32 = 0xc633_6407;
const DENIED_PREFIX: &str = "198.51.100.0/24";

/// Which rules a case runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// New sources stand behind the sketch, as the configuration's default has it; else all may enter at once.
    pub flood: bool,
    /// With 10,000 denied and 1,000 classed prefixes of both families.
    pub loaded: bool,
}

/// The image of a setting.
pub fn build(datapath: &Datapath, setting: Setting) -> Result<Image> {
    rules::compile_for(datapath, &text(setting))
}

/// The limits are real and wide: nothing that a case sends is dropped by them.
fn text(setting: Setting) -> String {
    let mut denied = format!("\"{DENIED_PREFIX}\"");
    let mut classed = String::from("\"203.0.113.0/24\"");
    if setting.loaded {
        let mut seed = 1;
        for _ in 0..DENIED {
            let _ = write!(denied, ",\"{}\",\"{}\"", v4(&mut seed), v6(&mut seed));
        }
        for _ in 0..CLASSED {
            let _ = write!(classed, ",\"{}\",\"{}\"", v4(&mut seed), v6(&mut seed));
        }
    }
    let mut text = format!(
        "[access]\ndenied = [{denied}]\n[[class]]\nname = \"partners\"\nprefixes = [{classed}]\n[flood]\nhold = \"1s\"\n"
    );
    if !setting.flood {
        text += "new_sources = \"10M/s\"\nburst = 10000000\n";
    }
    for number in 0..SERVICES {
        let port = FIRST_PORT + number;
        let _ = write!(
            text,
            "[[service]]\nname = \"service-{number}\"\nprotocol = [\"tcp\", \"udp\"]\nports = [{port}]\nmode = \"enforce\"\n\
             limit = {{ packets = \"100M/s\", bytes = \"400 Gbit/s\", connections = \"100M/s\" }}\n"
        );
    }
    text
}

fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 16
}

/// A prefix as block lists have them, outside of the networks that the cases send from (198.16.0.0/12).
#[expect(clippy::cast_possible_truncation, reason = "bits of a random number")]
fn v4(seed: &mut u64) -> IpNet {
    loop {
        let (address, length) = (next(seed) as u32, 18 + (next(seed) % 15) as u8);
        let first = address >> 24;
        if (1..224).contains(&first) && first != 127 && address >> 20 != 0xc61 {
            return net(IpAddr::V4(Ipv4Addr::from_bits(address)), length);
        }
    }
}

/// A prefix of IPv6, from a /32 to a /64, outside of the networks that the cases send from.
fn v6(seed: &mut u64) -> IpNet {
    let high = 0x2400_0000_0000_0000 | (next(seed) << 20 & 0x07ff_ffff_ffff_ffff);
    let length = 32 + (next(seed) % 33) as u8;
    net(IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64)), length)
}

fn net(address: IpAddr, length: u8) -> IpNet {
    IpNet::new_assert(address, length).trunc()
}
