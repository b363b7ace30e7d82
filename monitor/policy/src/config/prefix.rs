//! Prefixes as people write them: `192.0.2.0/24`, `2001:db8::/32`, or one address without a length.
//!
//! A prefix with bits set behind its length is an error that shows the corrected form, never silently cut.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serializer, de};

/// The prefix in `text`.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return refuse_mapped(IpNet::from(address));
    }
    let prefix: IpNet = text.parse().map_err(|_| {
        format!("`{text}` is no address or prefix: write it as in \"192.0.2.0/24\" or \"2001:db8::/32\"")
    })?;
    let cut = prefix.trunc();
    if cut != prefix {
        return Err(format!(
            "`{text}` has bits set behind its length: write `{cut}` (or `{}` for the one address)",
            prefix.addr()
        ));
    }
    refuse_mapped(prefix)
}

/// IPv4 packets are judged as IPv4; a mapped IPv6 prefix would never match.
fn refuse_mapped(prefix: IpNet) -> Result<IpNet, String> {
    if let IpNet::V6(v6) = prefix
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
    {
        return Err(format!("`{prefix}` is an IPv4 prefix in IPv6 form: write `{v4}/{length}`"));
    }
    Ok(prefix)
}

/// Its textual form is read by [`parse_prefix`].
struct Written(IpNet);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_prefix(&text).map(Self).map_err(de::Error::custom)
    }
}

pub(super) fn serialize<S: Serializer>(prefixes: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(prefixes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<Written>::deserialize(deserializer).map(|written| written.into_iter().map(|one| one.0).collect())
}

/// Prefixes under names.
pub(super) mod by_name {
    use std::collections::BTreeMap;

    use super::{Deserialize, Deserializer, IpNet, Serializer, Written};

    #[derive(serde::Serialize)]
    #[serde(transparent)]
    struct Many<'a>(&'a BTreeMap<String, Vec<IpNet>>);

    pub fn serialize<S: Serializer>(
        named: &BTreeMap<String, Vec<IpNet>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(&Many(named), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Vec<IpNet>>, D::Error> {
        let written = BTreeMap::<String, Vec<Written>>::deserialize(deserializer)?;
        let plain = |list: Vec<Written>| list.into_iter().map(|one| one.0).collect();
        Ok(written.into_iter().map(|(name, list)| (name, plain(list))).collect())
    }
}
