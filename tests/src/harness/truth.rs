//! What the captures with known truth hold, as their index says: who attacks, and which detectors name him rightly.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A line of the index.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    pub file: String,
    pub category: String,
    pub packets: String,
    /// Kinds of attacks by attacker, who is named as in [`super::verdicts::Attack::who`].
    pub attackers: BTreeMap<String, Vec<String>>,
    pub verdict: String,
}

impl Truth {
    /// The whole index.
    pub fn read_all(directory: &Path) -> Result<Vec<Self>> {
        let path = directory.join("truth.jsonl");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        text.lines().map(|line| serde_json::from_str(line).context("a line of truth.jsonl")).collect()
    }

    /// Whether being missed is no failure.
    pub fn does_not_count(&self) -> bool {
        ["gray", "hard", "bonus", "optional"].iter().any(|word| self.verdict.contains(word))
    }
}

/// The detectors that name a kind of attack rightly.
pub fn acceptable(kind: &str) -> &'static [&'static str] {
    match kind {
        "vscan" => &["port_scan", "slow_scan", "syn_flood", "out_of_state_scan"],
        "hscan" | "slow" => &["host_scan", "slow_scan"],
        "udp_scan" => &["udp_scan"],
        "hsweep_icmp" => &["icmp_sweep"],
        "arp_sweep" => &["arp_sweep"],
        "syn_flood" => &["syn_flood", "outbound_flood", "port_scan"],
        "syn_flood_spoofed" => &["syn_flood"],
        "udp_amp" => &["reflection", "udp_flood"],
        "icmp6_flood" => &["icmp_flood", "outbound_flood"],
        "beacon" | "beacon_inconn" => &["beacon"],
        "icmp_tunnel" => &["icmp_tunnel"],
        "dns_tunnel" => &["dns_tunnel"],
        "lateral" => &["fan_out", "new_edge"],
        "bruteforce_ssh" => &["brute_force"],
        _ => &[],
    }
}
