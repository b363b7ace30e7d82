//! Findings in the snapshot, in short.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tally;

/// Open findings in short; filled when detection runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    pub open: u64,
    /// Raised since the start, by detector and severity.
    pub raised: Vec<FindingCount>,
    /// Signals that became no finding or no notification of their own, by reason.
    #[serde(default)]
    pub shed: Vec<Tally>,
    /// Records that reached the detectors.
    pub records: u64,
    /// Seconds until edges that were never seen before are judged; 0 when they are.
    pub edges_in_s: u64,
    /// Seconds until unusual hours are judged; 0 when they are.
    pub hours_in_s: u64,
    /// How full the detectors' memories are.
    pub memories: Vec<Memory>,
}

/// One of the detectors' memories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    pub name: String,
    pub entries: u64,
    pub capacity: u64,
    /// Entries that were still of use and made room for others.
    pub evicted: u64,
    /// New keys that found no room.
    pub refused: u64,
}

/// Findings of one detector and severity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingCount {
    pub detector: String,
    pub severity: String,
    pub open: u64,
    pub raised: u64,
}
