//! One line of a list to the prefixes it names.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// The prefixes of one line; none for comments and empty lines.
pub(super) fn prefixes(line: &str) -> Result<Vec<IpNet>, String> {
    let line = line.trim();
    if line.starts_with('{') {
        return json(line);
    }
    let content =
        ["#", ";", "//"].into_iter().fold(line, |rest, sign| rest.split(sign).next().unwrap_or(rest));
    let content = content.trim().trim_end_matches(',');
    if content.is_empty() {
        return Ok(Vec::new());
    }
    if let Some((first, last)) = content.split_once('-') {
        let last = last.split([',', '\t']).next().unwrap_or(last).trim();
        let last = last.split_whitespace().next().unwrap_or(last);
        return range(first.trim(), last);
    }
    let mut columns = content.split([' ', '\t', ',']).filter(|column| !column.is_empty());
    let first = columns.next().unwrap_or(content);
    // Columns `first last length`, as some block lists have them.
    if let (Ok(_), Some(Ok(_)), Some(length)) =
        (first.parse::<IpAddr>(), columns.next().map(str::parse::<IpAddr>), columns.next())
    {
        return prefix(&format!("{first}/{length}"));
    }
    prefix(first)
}

fn prefix(text: &str) -> Result<Vec<IpNet>, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![IpNet::from(address.to_canonical())]);
    }
    let prefix: IpNet = text.parse().map_err(|_| "neither a prefix, an address nor a range".to_owned())?;
    Ok(vec![prefix.trunc()])
}

fn range(first: &str, last: &str) -> Result<Vec<IpNet>, String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("`{text}` is no address"));
    match (address(first)?, address(last)?) {
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

/// An object per line with the prefix under `cidr`; one without it describes the list.
fn json(line: &str) -> Result<Vec<IpNet>, String> {
    let object: serde_json::Value =
        serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    match object.get("cidr").and_then(serde_json::Value::as_str) {
        Some(text) => prefix(text),
        None => Ok(Vec::new()),
    }
}
