//! What makes a packet belong to a service: protocol, destination ports, destination prefixes.

use std::{fmt, str::FromStr};

use ipnet::IpNet;
use monitor_common::flow::protocol;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What matches a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub protocols: Vec<Protocol>,
    /// Empty: the whole protocol.
    pub ports: Vec<Ports>,
    /// Empty: every destination.
    pub destinations: Vec<IpNet>,
}

impl Match {
    /// Whether packets of this protocol to this port belong to it, by their destination address where it names some.
    pub fn is_for(&self, protocol: Protocol, port: u16) -> bool {
        let ports = || self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(port));
        self.protocols.contains(&protocol) && (!protocol.has_ports() || ports())
    }
}

/// An IP protocol, by name where it has one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    pub const TCP: Self = Self(protocol::TCP);
    pub const UDP: Self = Self(protocol::UDP);
    pub const SCTP: Self = Self(protocol::SCTP);
    pub const ICMP: Self = Self(protocol::ICMP);
    pub const ICMPV6: Self = Self(protocol::ICMPV6);

    const NAMES: [(&'static str, Self); 8] = [
        ("tcp", Self::TCP),
        ("udp", Self::UDP),
        ("sctp", Self::SCTP),
        ("icmp", Self::ICMP),
        ("icmpv6", Self::ICMPV6),
        ("gre", Self(protocol::GRE)),
        ("esp", Self(protocol::ESP)),
        ("ah", Self(protocol::AUTHENTICATION)),
    ];

    /// Whether its packets carry ports that can be matched.
    pub const fn has_ports(self) -> bool {
        matches!(self.0, protocol::TCP | protocol::UDP | protocol::SCTP)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, protocol)| protocol == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, protocol)) = Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(*protocol);
        }
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is no protocol: say tcp, udp, sctp, icmp, icmpv6, gre, esp, ah or a number from 0 to 255")
        })
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Self::NAMES.iter().find(|(_, protocol)| protocol == self) {
            Some((name, _)) => serializer.serialize_str(name),
            None => serializer.serialize_u8(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Protocol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a protocol: tcp, udp, sctp, icmp, icmpv6, gre, esp, ah or a number from 0 to 255",
                )
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Protocol, E> {
                u8::try_from(value)
                    .map(Protocol)
                    .map_err(|_| E::custom(format!("{value} is no protocol number: they run from 0 to 255")))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Protocol, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Protocol, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One protocol or several.
#[derive(Clone, Debug)]
pub(super) struct Protocols(pub(super) Vec<Protocol>);

impl Serialize for Protocols {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Protocols {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Protocols;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a protocol or a list of protocols")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Protocols, E> {
                Protocol::deserialize(de::value::I64Deserializer::new(value)).map(|one| Protocols(vec![one]))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Protocols, E> {
                value.parse().map(|one| Protocols(vec![one])).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, sequence: A) -> Result<Protocols, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(sequence)).map(Protocols)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A destination port, or a range with both ends included: `443`, `"8000-8010"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Ports {
    /// How many ports it covers.
    pub const fn count(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| -> Result<u16, String> {
            match text.trim().parse::<u16>() {
                Ok(0) => Err("port 0 does not exist: ports run from 1 to 65535".to_owned()),
                Ok(port) => Ok(port),
                Err(_) => Err(format!("`{}` is no port: ports run from 1 to 65535", text.trim())),
            }
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            return Err(format!("the range `{text}` is upside down: write `{last}-{first}`"));
        }
        Ok(Self { first, last })
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port (443) or a range of ports (\"8000-8010\")")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Ports, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Ports, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Ports, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Ports, if they are spelled out at all, are some ports.
pub(super) fn some_ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ports>, D::Error> {
    let ports = Vec::<Ports>::deserialize(deserializer)?;
    if ports.is_empty() {
        return Err(de::Error::custom(
            "no ports are listed: name some, or leave the key out for the whole protocol",
        ));
    }
    Ok(ports)
}
