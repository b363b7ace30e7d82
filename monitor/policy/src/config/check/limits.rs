//! Rates and bursts: what the kernel's bucket can hold, and what would never open.

use monitor_common::{
    bucket::RateError,
    rule::{BYTES, CONNECTIONS, FRAGMENTS, HANDSHAKES, PACKETS, REQUESTS},
};

use super::{Problems, say};
use crate::config::{ASSUMED_TICK_NS, Bytes, LARGEST_FRAME, Limits, Quantity, quantities};

/// Fastest rates that are taken: beyond what any interface carries.
const MOST_PACKETS: u64 = 1_000_000_000;
const MOST_BYTES: u64 = 125_000_000_000;

pub(super) fn limits(path: &str, limits: &Limits, opens: bool, found: &mut Problems) {
    let pairs = [
        ("packets", limits.packets.is_some(), limits.packets_burst.is_some()),
        ("bytes", limits.bytes.is_some(), limits.bytes_burst.is_some()),
        ("connections", limits.connections.is_some(), limits.connections_burst.is_some()),
        ("fragments", limits.fragments.is_some(), limits.fragments_burst.is_some()),
        ("requests", limits.requests.is_some(), limits.requests_burst.is_some()),
        ("handshakes", limits.handshakes.is_some(), limits.handshakes_burst.is_some()),
    ];
    for (key, has_rate, has_burst) in pairs {
        if has_burst && !has_rate {
            say(found, format!("{path}.{key}_burst"), format!("a burst needs a rate: set `{key}` as well"));
        }
    }
    if limits.connections.is_some() && !opens {
        say(
            found,
            format!("{path}.connections"),
            "new connections are counted for tcp only: limit `packets`",
        );
    }
    if limits.concurrent.is_some() && !opens {
        say(found, format!("{path}.concurrent"), "open connections are counted for tcp only");
    }
    if limits.concurrent == Some(0) {
        say(
            found,
            format!("{path}.concurrent"),
            "no connection at all: deny the source instead (access.denied), or use mode = \"off\"",
        );
    }
    for one in quantities(limits) {
        let key = match one.dimension {
            PACKETS => "packets",
            BYTES => "bytes",
            CONNECTIONS => "connections",
            FRAGMENTS => "fragments",
            REQUESTS => "requests",
            HANDSHAKES => "handshakes",
            _ => continue,
        };
        quantity(&format!("{path}.{key}"), &format!("{path}.{key}_burst"), &one, found);
    }
}

pub(super) fn quantity(path: &str, burst_path: &str, quantity: &Quantity, found: &mut Problems) {
    let is_bytes = quantity.dimension == BYTES;
    let most = if is_bytes { MOST_BYTES } else { MOST_PACKETS };
    if quantity.units > most {
        let most = if is_bytes { "1 Tbit/s" } else { "1G/s" };
        say(found, path, format!("is too fast to mean anything: at most {most}"));
        return;
    }
    let problem = match quantity.rate(ASSUMED_TICK_NS) {
        Ok(_) => return,
        Err(RateError::ZeroRate) => {
            say(
                found,
                path,
                "a rate of nothing would drop everything: deny the source instead (access.denied), or use mode = \"off\"",
            );
            return;
        }
        Err(RateError::TooSlow) => {
            "lasts longer at this rate than the kernel's clock can hold (2.2 years): lower it".to_owned()
        }
        Err(RateError::BurstBelowTick(smallest)) if is_bytes => format!(
            "is too small: one frame of {LARGEST_FRAME} bytes and what the rate admits in two ticks of 4 ms must fit; the smallest is \"{}\"",
            Bytes(smallest)
        ),
        Err(RateError::BurstBelowTick(smallest)) => {
            format!(
                "is too small: what the rate admits in two ticks of 4 ms must fit; the smallest is {smallest}"
            )
        }
    };
    say(found, burst_path, problem);
}
