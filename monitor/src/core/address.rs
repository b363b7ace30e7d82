//! Addresses as the kernel writes them.

use std::net::IpAddr;

use monitor_common::flow::{Address, BanKey, halves, mapped};

/// The key under which the kernel bans `address`, which is a source's network address.
pub fn key(address: IpAddr) -> BanKey {
    let (high, low) = halves(&bytes(address));
    BanKey { high, low }
}

/// An address as the kernel writes it.
pub fn bytes(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}
