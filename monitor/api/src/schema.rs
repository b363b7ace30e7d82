//! How types of other crates look on the wire, where those crates know nothing of schemas: stand-ins for `#[schemars(with)]`.

use std::borrow::Cow;

use ipnet::IpNet;
use monitor_common::verdict::Reason;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// One IPv4 or IPv6 address.
#[derive(Debug)]
pub struct Address;

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An IPv4 or IPv6 address.",
            "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}],
        })
    }
}

/// A prefix: `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Debug)]
pub struct Prefix;

const V4_PREFIX: &str = "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}\
    (25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])/(3[0-2]|[12]?[0-9])$";
/// All eight groups, or up to seven before or after `::`. An answer may also shorten a run in the middle.
const V6_PREFIX: &str = "^(([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|([0-9a-f]{1,4}:){1,7}:|:(:[0-9a-f]{1,4}){1,7}|::)\
    /(12[0-8]|1[01][0-9]|[1-9]?[0-9])$";
const V6_SHORTENED: &str =
    "^[0-9a-f]{1,4}(:[0-9a-f]{0,4}){1,6}:[0-9a-f]{1,4}/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$";
/// As the standard prints IPv4 within IPv6.
const V6_MAPPED: &str = "^::(ffff:)?[0-9]+(\\.[0-9]+){3}/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$";

impl JsonSchema for Prefix {
    fn schema_name() -> Cow<'static, str> {
        "Prefix".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({
            "type": "string",
            "description": "A prefix, such as 10.0.0.0/8 or 2001:db8::/32.",
            "anyOf": [{"pattern": V4_PREFIX}, {"pattern": V6_PREFIX}],
        });
        if generator.contract().is_serialize()
            && let Some(forms) = schema.get_mut("anyOf").and_then(|forms| forms.as_array_mut())
        {
            forms.extend([V6_SHORTENED, V6_MAPPED].map(|pattern| serde_json::json!({"pattern": pattern})));
        }
        schema
    }
}

/// A prefix, or one address in its place.
#[derive(Debug)]
pub struct PrefixOrAddress;

impl JsonSchema for PrefixOrAddress {
    fn schema_name() -> Cow<'static, str> {
        "PrefixOrAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A prefix, such as 10.0.0.0/8 or 2001:db8::/32, or one address.",
            "anyOf": [{"pattern": V4_PREFIX}, {"pattern": V6_PREFIX}, {"format": "ipv4"}, {"format": "ipv6"}],
        })
    }
}

/// Why packets ended as they did, by the label of the metric.
#[derive(Debug)]
pub struct ReasonLabel;

impl JsonSchema for ReasonLabel {
    fn schema_name() -> Cow<'static, str> {
        "Reason".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let labels: Vec<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        json_schema!({"type": "string", "description": "How packets ended.", "enum": labels})
    }
}

/// A prefix as people write it: `10.0.0.0/8`, or one address.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map(|prefix| prefix.trunc())
        .map_err(|_| {
            format!("`{text}` is neither an address nor a prefix such as 10.0.0.0/8 or 2001:db8::/32")
        })
}

/// Whether a word can only be meant as an address, right or wrong: `10.0.0` is no name of a host or a workload.
pub fn is_meant_as_address(word: &str) -> bool {
    let only = |others: &str, digit: fn(&char) -> bool| {
        word.chars().all(|letter| digit(&letter) || others.contains(letter))
    };
    let dotted = word.contains('.')
        && only("./:", char::is_ascii_digit)
        && word.contains(|letter: char| letter.is_ascii_digit());
    let colons = word.matches(':').count() > 1 && only(":./%", char::is_ascii_hexdigit);
    dotted || colons || word.contains("::")
}

/// Reads a prefix, or one address.
pub fn prefix_or_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_prefix(&text).map_err(serde::de::Error::custom)
}

/// The same where it may be left out.
pub fn optional_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_prefix(&text)).transpose().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::parse_prefix;

    #[test]
    fn a_prefix_is_also_a_plain_address_and_loses_its_host_bits() {
        for (text, wanted) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(parse_prefix(text).unwrap().to_string(), wanted);
        }
        assert!(parse_prefix("10.0.0.0/33").is_err());
        assert!(parse_prefix("example.org").is_err());
    }
}
