//! Services: what matches them, and what then limits their sources.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::units::{self, Bytes, Duration, Rate};

mod aggregate;
mod matching;
mod words;
pub use matching::{Match, Ports, Protocol};

/// How a limit acts.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Off,
    /// Judge, count what would be dropped, let pass.
    #[default]
    Observe,
    Enforce,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Enforce];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// Rates of one source (or, in an aggregate, of all together). A dimension that is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[serde(deserialize_with = "units::counted::optional")]
    pub packets: Option<Rate>,
    pub packets_burst: Option<u64>,
    /// Bytes of whole frames.
    #[serde(deserialize_with = "units::of_bytes::optional")]
    pub bytes: Option<Rate>,
    pub bytes_burst: Option<Bytes>,
    /// New connections: TCP SYN without ACK.
    #[serde(deserialize_with = "units::counted::optional")]
    pub connections: Option<Rate>,
    pub connections_burst: Option<u64>,
    #[serde(deserialize_with = "units::counted::optional")]
    pub fragments: Option<Rate>,
    pub fragments_burst: Option<u64>,
    /// What a service is asked: methods and streams of HTTP in clear, exchanges of anything else over TCP, datagrams.
    #[serde(deserialize_with = "units::counted::optional")]
    pub requests: Option<Rate>,
    pub requests_burst: Option<u64>,
    /// Beginnings of TLS and QUIC.
    #[serde(deserialize_with = "units::counted::optional")]
    pub handshakes: Option<Rate>,
    pub handshakes_burst: Option<u64>,
    /// TCP connections that are open at once; no rate, so it has no burst.
    pub concurrent: Option<u32>,
}

impl Limits {
    /// Whether requests or handshakes are limited.
    pub const fn counts_requests(&self) -> bool {
        self.requests.is_some() || self.handshakes.is_some()
    }
}

/// `aggregate`: the limit of a service over all its sources. Without rates it is automatic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AggregateLimits {
    /// Absent: the mode of the service.
    pub mode: Option<Mode>,
    #[serde(deserialize_with = "units::counted::optional")]
    pub packets: Option<Rate>,
    pub packets_burst: Option<u64>,
    #[serde(deserialize_with = "units::of_bytes::optional")]
    pub bytes: Option<Rate>,
    pub bytes_burst: Option<Bytes>,
    #[serde(deserialize_with = "units::counted::optional")]
    pub connections: Option<Rate>,
    pub connections_burst: Option<u64>,
    #[serde(deserialize_with = "units::counted::optional")]
    pub fragments: Option<Rate>,
    pub fragments_burst: Option<u64>,
    /// What a service is asked: methods and streams of HTTP in clear, exchanges of anything else over TCP, datagrams.
    #[serde(deserialize_with = "units::counted::optional")]
    pub requests: Option<Rate>,
    pub requests_burst: Option<u64>,
    /// Beginnings of TLS and QUIC.
    #[serde(deserialize_with = "units::counted::optional")]
    pub handshakes: Option<Rate>,
    pub handshakes_burst: Option<u64>,
    /// TCP connections that are open at once.
    pub concurrent: Option<u32>,
    /// Share that only sources known before a flood may take, 0..1.
    pub reserve: f64,
}

impl Default for AggregateLimits {
    fn default() -> Self {
        Self::new(None, Limits::default(), 0.5)
    }
}

impl AggregateLimits {
    pub const fn new(mode: Option<Mode>, limits: Limits, reserve: f64) -> Self {
        let Limits {
            packets,
            packets_burst,
            bytes,
            bytes_burst,
            connections,
            connections_burst,
            fragments,
            fragments_burst,
            requests,
            requests_burst,
            handshakes,
            handshakes_burst,
            concurrent,
        } = limits;
        Self {
            mode,
            packets,
            packets_burst,
            bytes,
            bytes_burst,
            connections,
            connections_burst,
            fragments,
            fragments_burst,
            requests,
            requests_burst,
            handshakes,
            handshakes_burst,
            concurrent,
            reserve,
        }
    }

    pub const fn limits(&self) -> Limits {
        Limits {
            packets: self.packets,
            packets_burst: self.packets_burst,
            bytes: self.bytes,
            bytes_burst: self.bytes_burst,
            connections: self.connections,
            connections_burst: self.connections_burst,
            fragments: self.fragments,
            fragments_burst: self.fragments_burst,
            requests: self.requests,
            requests_burst: self.requests_burst,
            handshakes: self.handshakes,
            handshakes_burst: self.handshakes_burst,
            concurrent: self.concurrent,
        }
    }
}

/// `ban`: when repeated excess shuts a source out for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanRule {
    /// Packets over the limit within `within`.
    pub after: u32,
    #[serde(default = "BanRule::within")]
    pub within: Duration,
    /// How long the first ban lasts.
    #[serde(rename = "for", default = "BanRule::first")]
    pub first: Duration,
    /// Each further ban is this many times as long.
    #[serde(default = "BanRule::growth")]
    pub growth: u32,
    #[serde(default = "BanRule::longest")]
    pub longest: Duration,
    /// Ban sources that did not prove their address as well: whoever forges an address then bans its owner.
    #[serde(default)]
    pub unproven: bool,
    #[serde(default)]
    pub scope: BanScope,
}

/// `ban.scope`: what a ban that nobody ordered refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BanScope {
    /// What answers this host still passes; what it depends on or contacted is not banned.
    #[default]
    NewContacts,
    Everything,
}

impl BanRule {
    fn within() -> Duration {
        Duration::from_secs(10)
    }
    fn first() -> Duration {
        Duration::from_secs(60)
    }
    fn growth() -> u32 {
        2
    }
    fn longest() -> Duration {
        Duration::from_secs(3600)
    }
}

/// What applies to the sources of a service (or, as `[default]`, to all that no service matches).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protection {
    pub mode: Mode,
    pub limit: Limits,
    /// A limit on trial beside the one in force: counts, never drops.
    pub trial: Limits,
    #[serde(deserialize_with = "aggregate::word_or_table")]
    pub aggregate: AggregateLimits,
    /// Unproven sources that a limit refuses are asked to prove their address, with a SYN cookie.
    pub challenge: bool,
    /// What becomes of TCP connections whose first data is not encrypted; absent: nobody looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban: Option<BanRule>,
    /// What differs for sources of a class, by its name.
    pub class: BTreeMap<String, ClassProtection>,
}

impl Protection {
    /// Whether requests or handshakes are limited, of any class.
    pub fn counts_requests(&self) -> bool {
        self.limits().any(|limits| limits.counts_requests())
    }

    /// Whether connections are followed: because they are limited, of any class, or because of their encryption.
    pub fn follows_connections(&self) -> bool {
        self.checks_encryption() || self.limits().any(|limits| limits.concurrent.is_some())
    }

    /// Whether anybody looks at the first data of connections.
    pub fn checks_encryption(&self) -> bool {
        self.encryption.is_some_and(|mode| mode != Mode::Off)
    }

    fn limits(&self) -> impl Iterator<Item = Limits> {
        let own = self.class.values().flat_map(|class| [class.limit, class.trial]).flatten();
        own.chain([self.limit, self.trial, self.aggregate.limits()])
    }
}

/// `[service.class.NAME]`: what differs for sources of one class. What is absent is inherited from the service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassProtection {
    pub mode: Option<Mode>,
    /// Replaces the service's limit as a whole; an empty table is "no limit".
    pub limit: Option<Limits>,
    pub trial: Option<Limits>,
    pub ban: Option<BanRule>,
}

/// `[[service]]`: a name, what matches it, and what applies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "ServiceTable", into = "ServiceTable")]
pub struct Service {
    pub name: String,
    pub matches: Match,
    pub protection: Protection,
}

/// The table as it stands in the file: flat, because serde cannot flatten and refuse unknown keys at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    name: String,
    protocol: matching::Protocols,
    #[serde(default, deserialize_with = "matching::some_ports", skip_serializing_if = "Vec::is_empty")]
    ports: Vec<Ports>,
    #[serde(default, with = "super::prefix")]
    destination: Vec<IpNet>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    limit: Limits,
    #[serde(default)]
    trial: Limits,
    #[serde(default, deserialize_with = "aggregate::word_or_table")]
    aggregate: AggregateLimits,
    #[serde(default)]
    challenge: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<BanRule>,
    #[serde(default)]
    class: BTreeMap<String, ClassProtection>,
}

impl From<ServiceTable> for Service {
    fn from(table: ServiceTable) -> Self {
        let ServiceTable {
            name,
            protocol,
            ports,
            destination,
            mode,
            limit,
            trial,
            aggregate,
            challenge,
            encryption,
            ban,
            class,
        } = table;
        Self {
            name,
            matches: Match { protocols: protocol.0, ports, destinations: destination },
            protection: Protection { mode, limit, trial, aggregate, challenge, encryption, ban, class },
        }
    }
}

impl From<Service> for ServiceTable {
    fn from(service: Service) -> Self {
        let Service { name, matches, protection } = service;
        let Match { protocols, ports, destinations } = matches;
        let Protection { mode, limit, trial, aggregate, challenge, encryption, ban, class } = protection;
        Self {
            name,
            protocol: matching::Protocols(protocols),
            ports,
            destination: destinations,
            mode,
            limit,
            trial,
            aggregate,
            challenge,
            encryption,
            ban,
            class,
        }
    }
}
