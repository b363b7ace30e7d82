//! What detection says: a [`Finding`], its severity, and the report that replay prints. Plain data with the names and
//! the JSON form that scripts and judges rely on (`schema_version` 1).

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::flow::protocol;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// The detectors. The names are API: findings, metrics, silences and documents use exactly these.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    PortScan,
    HostScan,
    SlowScan,
    UdpScan,
    OutOfStateScan,
    IcmpSweep,
    NdSweep,
    ArpSweep,
    BruteForce,
    Beacon,
    LongConnection,
    Exfiltration,
    DnsTunnel,
    IcmpTunnel,
    FanOut,
    NewEdge,
    RateShift,
    SynFlood,
    UdpFlood,
    IcmpFlood,
    FragmentFlood,
    Reflection,
    OutboundFlood,
    SpoofedSource,
    OffHours,
    ThrottledInsider,
    PlaintextService,
    CleartextCredentials,
    WeakTls,
    ProtocolMismatch,
}

impl Detector {
    pub const ALL: [Self; 30] = [
        Self::PortScan,
        Self::HostScan,
        Self::SlowScan,
        Self::UdpScan,
        Self::OutOfStateScan,
        Self::IcmpSweep,
        Self::NdSweep,
        Self::ArpSweep,
        Self::BruteForce,
        Self::Beacon,
        Self::LongConnection,
        Self::Exfiltration,
        Self::DnsTunnel,
        Self::IcmpTunnel,
        Self::FanOut,
        Self::NewEdge,
        Self::RateShift,
        Self::SynFlood,
        Self::UdpFlood,
        Self::IcmpFlood,
        Self::FragmentFlood,
        Self::Reflection,
        Self::OutboundFlood,
        Self::SpoofedSource,
        Self::OffHours,
        Self::ThrottledInsider,
        Self::PlaintextService,
        Self::CleartextCredentials,
        Self::WeakTls,
        Self::ProtocolMismatch,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::PortScan => "port_scan",
            Self::HostScan => "host_scan",
            Self::SlowScan => "slow_scan",
            Self::UdpScan => "udp_scan",
            Self::OutOfStateScan => "out_of_state_scan",
            Self::IcmpSweep => "icmp_sweep",
            Self::NdSweep => "nd_sweep",
            Self::ArpSweep => "arp_sweep",
            Self::BruteForce => "brute_force",
            Self::Beacon => "beacon",
            Self::LongConnection => "long_connection",
            Self::Exfiltration => "exfiltration",
            Self::DnsTunnel => "dns_tunnel",
            Self::IcmpTunnel => "icmp_tunnel",
            Self::FanOut => "fan_out",
            Self::NewEdge => "new_edge",
            Self::RateShift => "rate_shift",
            Self::SynFlood => "syn_flood",
            Self::UdpFlood => "udp_flood",
            Self::IcmpFlood => "icmp_flood",
            Self::FragmentFlood => "fragment_flood",
            Self::Reflection => "reflection",
            Self::OutboundFlood => "outbound_flood",
            Self::SpoofedSource => "spoofed_source",
            Self::OffHours => "off_hours",
            Self::ThrottledInsider => "throttled_insider",
            Self::PlaintextService => "plaintext_service",
            Self::CleartextCredentials => "cleartext_credentials",
            Self::WeakTls => "weak_tls",
            Self::ProtocolMismatch => "protocol_mismatch",
        }
    }

    /// Scans and guessing: what else could explain regular connections of the same pair.
    pub const PROBING: [Self; 6] = [
        Self::PortScan,
        Self::HostScan,
        Self::SlowScan,
        Self::UdpScan,
        Self::OutOfStateScan,
        Self::BruteForce,
    ];
}

impl Detector {
    /// Floods that are spread over the addresses of a network or fall on one.
    pub const OF_CROWDS: [Self; 3] = [Self::SynFlood, Self::UdpFlood, Self::Reflection];

    /// Whether it is about how much comes, from whomever: then rates are not what they usually are.
    pub const fn is_of_volume(self) -> bool {
        matches!(
            self,
            Self::RateShift
                | Self::SynFlood
                | Self::UdpFlood
                | Self::IcmpFlood
                | Self::FragmentFlood
                | Self::Reflection
                | Self::OutboundFlood
        )
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.label())
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nobody needs to be woken.
    Info,
    /// Somebody should look.
    Warning,
    /// Harm is being done.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Whom a finding is about, or whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    Address(IpAddr),
    /// Known on layer 2 only.
    Mac(u64),
    Interface(u32),
    /// A service by its configured name.
    Service(String),
    /// Addresses that are hit together.
    Network(IpNet),
}

impl Party {
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            _ => None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(out),
            Self::Mac(mac) => {
                for (index, byte) in mac.to_be_bytes()[2..].iter().enumerate() {
                    write!(out, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
                }
                Ok(())
            }
            Self::Interface(index) => write!(out, "interface {index}"),
            Self::Service(name) => out.write_str(name),
            Self::Network(prefix) => prefix.fmt(out),
        }
    }
}

/// The subject of a finding as a type, for code that acts on it; the finding itself carries it as text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub subject: Party,
    pub target: Option<Party>,
    /// The workload of this host behind the subject, if it is known.
    pub workload: Option<String>,
}

/// A protocol and a port.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Service {
    pub protocol: String,
    pub port: u16,
}

impl Service {
    pub fn new(upper: u8, port: u16) -> Self {
        let protocol = match upper {
            protocol::TCP => "tcp".to_owned(),
            protocol::UDP => "udp".to_owned(),
            protocol::SCTP => "sctp".to_owned(),
            protocol::ICMP => "icmp".to_owned(),
            protocol::ICMPV6 => "icmpv6".to_owned(),
            other => other.to_string(),
        };
        Self { protocol, port }
    }
}

/// What a detector saw, in the words of its measure. The ledger makes a [`Finding`] of it.
#[derive(Clone, Debug)]
pub struct Signal {
    pub detector: Detector,
    pub severity: Severity,
    pub subject: Party,
    pub target: Option<Party>,
    pub service: Option<Service>,
    /// When what is measured began; nanoseconds since the epoch.
    pub first_seen: u64,
    pub measured: f64,
    pub threshold: f64,
    pub unit: &'static str,
    pub window_s: u64,
    /// 0 to 1.
    pub confidence: f64,
    pub evidence: Map<String, Value>,
    pub workload: Option<String>,
}

/// Signals of one step.
pub type Signals = Vec<Signal>;

/// A signal that was judged, as `sluice alerts` and `sluice replay` print it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    pub detector: Detector,
    pub severity: Severity,
    pub subject: String,
    pub target: Option<String>,
    pub service: Option<Service>,
    pub first_seen: Timestamp,
    pub raised_at: Timestamp,
    pub last_seen: Timestamp,
    #[serde(serialize_with = "plain_number")]
    #[schemars(with = "f64")]
    pub measured: f64,
    #[serde(serialize_with = "plain_number")]
    #[schemars(with = "f64")]
    pub threshold: f64,
    pub unit: String,
    pub window_s: u64,
    pub confidence: f64,
    pub evidence: Map<String, Value>,
    pub containment: String,
}

/// Whole numbers print as such.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
#[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
fn plain_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64((number * 1000.0).round() / 1000.0)
    }
}

/// What `sluice replay -o json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`Report::SCHEMA_VERSION`].
    pub schema_version: u32,
    pub capture: CaptureSummary,
    pub verdicts: BTreeMap<String, VerdictCount>,
    /// The 100 with most packets.
    pub sources: Vec<SourceCount>,
    pub findings: Vec<Finding>,
}

impl Report {
    pub const SCHEMA_VERSION: u32 = 1;
    pub const SOURCES: usize = 100;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSummary {
    pub link_type: String,
    pub packets: u64,
    pub bytes: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    pub skipped: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    pub packets: u64,
    pub bytes: u64,
    pub would_drop: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCount {
    pub address: IpAddr,
    pub packets: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub would_drop: u64,
}
