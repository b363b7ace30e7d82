//! One entry of a list to the prefixes that it names: an address, a prefix, a range, with a mask, with a port.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

/// Why an entry is not understood.
pub(super) const NOT_UNDERSTOOD: &str = "neither a prefix, an address nor a range";

/// An address in any spelling; one of IPv4 within IPv6 is of IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    // `ipfilter.dat` pads every number to three digits.
    let padded = text.len() == 15 && text.split('.').all(|part| part.len() == 3);
    let numbers = text.split('.').map(str::parse::<u8>);
    let octets: Vec<u8> = numbers.collect::<Result<_, _>>().ok().filter(|_| padded)?;
    <[u8; 4]>::try_from(octets).ok().map(IpAddr::from)
}

/// A prefix with its length or its mask, or `a.b.c.*`.
fn prefix(text: &str) -> Option<IpNet> {
    if let Some(rest) = text.strip_suffix(".*") {
        let rest = rest.trim_end_matches(".*");
        let given = rest.split('.').count();
        let bits = u8::try_from(8 * given).ok().filter(|bits| (8..32).contains(bits))?;
        let address = format!("{rest}{}", ".0".repeat(4 - given)).parse::<Ipv4Addr>().ok()?;
        return Some(IpNet::V4(Ipv4Net::new(address, bits).ok()?));
    }
    let (network, length) = text.split_once('/')?;
    let length = length.trim();
    if let Ok(mask) = length.parse::<Ipv4Addr>() {
        return masked(address(network)?, mask);
    }
    let prefix: IpNet = format!("{network}/{length}").parse().ok()?;
    Some(canonical(prefix.trunc()))
}

/// A network with a mask of ones followed by zeros.
pub(super) fn masked(network: IpAddr, mask: Ipv4Addr) -> Option<IpNet> {
    IpNet::with_netmask(network, IpAddr::V4(mask)).ok().map(|prefix| prefix.trunc())
}

/// A prefix of IPv4 within IPv6 is one of IPv4.
fn canonical(prefix: IpNet) -> IpNet {
    if let IpNet::V6(v6) = prefix
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.network().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return IpNet::V4(v4);
    }
    prefix
}

/// All prefixes between two addresses, both included.
pub(super) fn range(first: IpAddr, last: IpAddr) -> Result<Vec<IpNet>, String> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ok(Ipv4Subnets::new(first, last, 0).map(IpNet::from).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ok(Ipv6Subnets::new(first, last, 0).map(IpNet::from).collect())
        }
        (first, last) if first.is_ipv4() == last.is_ipv4() => Err("the range is upside down".to_owned()),
        _ => Err("the ends of the range are of two families".to_owned()),
    }
}

/// Two addresses joined by a dash; `None` when it is something else with a dash in it.
fn joined(text: &str) -> Option<(IpAddr, IpAddr)> {
    let (first, last) = text.split_once('-')?;
    Some((address(first.trim())?, address(last.trim())?))
}

/// The prefixes of one entry; `None` when it is none.
pub(super) fn read(text: &str) -> Option<Result<Vec<IpNet>, String>> {
    let text = text.trim();
    if let Some(address) = address(text) {
        return Some(Ok(vec![IpNet::from(address)]));
    }
    if let Some(prefix) = prefix(text) {
        return Some(Ok(vec![prefix]));
    }
    if let Some((first, last)) = joined(text) {
        return Some(range(first, last));
    }
    // An address with a port: `192.0.2.1:443`, `[2001:db8::1]:443`.
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bracketed.or_else(|| host.parse::<Ipv4Addr>().is_ok().then_some(host))?;
    Some(Ok(vec![IpNet::from(address(host)?)]))
}

/// The prefixes of an entry that must be one.
pub(super) fn required(text: &str) -> Result<Vec<IpNet>, String> {
    read(text).unwrap_or_else(|| Err(NOT_UNDERSTOOD.to_owned()))
}
