//! Weak signals about one source that agree: what it looked for, what it tried, where it went, whom it calls. One of them
//! alone is worth knowing; three of different tactics within an hour, one of them a way out, are one story and a warning; two are when the way out
//! is nearly a warning by itself.
//! Without a way out they are monitoring, which looks for hosts, logs in on them and meets many.
//!
//! In: signals before they become findings. Out: the story, once it has three chapters.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    bounded::{Bounded, StateSize},
    contact::Inside,
    finding::{Detector, Party, Severity, Signal},
};

const SECOND: u64 = 1_000_000_000;
const MEMORY: u64 = 3600 * SECOND;
/// Tactics that agree,
const CHAPTERS: usize = 3;
/// and how many are enough when a way out is one that nearly weighs enough by itself.
const STRONG_CHAPTERS: usize = 2;
/// Weight of a beacon that is nearly a warning.
const STRONG: i64 = 1;

/// What an attacker wants of a step (MITRE ATT&CK's tactics, as far as headers show them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tactic {
    Discovery,
    CredentialAccess,
    LateralMovement,
    CommandAndControl,
    Exfiltration,
}

impl Detector {
    /// The tactic that it shows; `None` where honest hosts do it as much.
    pub const fn tactic(self) -> Option<Tactic> {
        match self {
            Self::PortScan
            | Self::HostScan
            | Self::SlowScan
            | Self::UdpScan
            | Self::OutOfStateScan
            | Self::IcmpSweep
            | Self::NdSweep => Some(Tactic::Discovery),
            Self::BruteForce => Some(Tactic::CredentialAccess),
            Self::FanOut | Self::NewEdge => Some(Tactic::LateralMovement),
            Self::Beacon | Self::DnsTunnel | Self::IcmpTunnel => Some(Tactic::CommandAndControl),
            Self::Exfiltration => Some(Tactic::Exfiltration),
            _ => None,
        }
    }

    /// The technique of MITRE ATT&CK that it shows.
    pub const fn technique(self) -> Option<&'static str> {
        match self {
            Self::PortScan | Self::SlowScan | Self::UdpScan | Self::OutOfStateScan => Some("T1046"),
            Self::HostScan | Self::IcmpSweep | Self::NdSweep | Self::ArpSweep => Some("T1018"),
            Self::BruteForce => Some("T1110"),
            Self::FanOut | Self::NewEdge => Some("T1021"),
            Self::Beacon => Some("T1071"),
            Self::DnsTunnel => Some("T1071.004"),
            Self::IcmpTunnel => Some("T1095"),
            Self::Exfiltration => Some("T1041"),
            Self::SynFlood | Self::UdpFlood | Self::IcmpFlood | Self::FragmentFlood | Self::OutboundFlood => {
                Some("T1498.001")
            }
            Self::Reflection => Some("T1498.002"),
            Self::CleartextCredentials => Some("T1040"),
            Self::ProtocolMismatch => Some("T1572"),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Chapter {
    at: u64,
    detector: Detector,
    /// A way out that is nearly a warning alone.
    strong: bool,
}

#[derive(Debug, Default)]
struct Story {
    chapters: BTreeMap<Tactic, Chapter>,
    /// Until when it was reported: one warning an hour.
    reported_until: u64,
}

#[derive(Debug)]
pub struct Incidents {
    stories: Bounded<IpAddr, Story>,
}

impl Incidents {
    pub fn new(capacity: usize) -> Self {
        Self { stories: Bounded::new("incidents", capacity) }
    }

    pub fn size(&self) -> StateSize {
        self.stories.size()
    }

    /// Adds a signal to its subject's story; the detectors of the story once it is one.
    pub fn add(&mut self, signal: &Signal, now: u64, inside: &Inside) -> Option<Vec<Detector>> {
        let address = signal.subject.address().filter(|address| inside.contains(*address))?;
        let tactic = signal.detector.tactic()?;
        // Monitoring calls the hosts that it watches.
        let calls_inside = tactic == Tactic::CommandAndControl
            && signal.target.as_ref().and_then(Party::address).is_some_and(|target| inside.contains(target));
        if calls_inside {
            return None;
        }
        let keep = |story: &Story| story.chapters.values().any(|one| now - one.at < MEMORY);
        let story = self.stories.entry(address, true, now, keep, Story::default)?;
        story.chapters.retain(|_, one| now - one.at < MEMORY);
        let weight = signal.evidence.get("weight").and_then(serde_json::Value::as_i64);
        let is_out = tactic == Tactic::CommandAndControl;
        let strong =
            is_out && (signal.severity >= Severity::Warning || weight.is_some_and(|one| one >= STRONG));
        let before = story.chapters.get(&tactic).is_some_and(|one| one.strong);
        let chapter = Chapter { at: now, detector: signal.detector, strong: strong || before };
        story.chapters.insert(tactic, chapter);
        let ways_out = [Tactic::CommandAndControl, Tactic::Exfiltration];
        let enough = if story.chapters.values().any(|one| one.strong) { STRONG_CHAPTERS } else { CHAPTERS };
        let is_whole = story.chapters.len() >= enough
            && ways_out.iter().any(|tactic| story.chapters.contains_key(tactic));
        if !is_whole || now < story.reported_until {
            return None;
        }
        story.reported_until = now + MEMORY;
        Some(story.chapters.values().map(|one| one.detector).collect())
    }
}
