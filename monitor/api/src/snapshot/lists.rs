//! The lists of the configuration in the snapshot.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One list of `[[access.lists]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListState {
    pub name: String,
    /// `deny` or `exempt`.
    pub action: String,
    /// Prefixes that are in force.
    pub prefixes: u64,
    /// Entries that were not taken.
    pub skipped: u64,
    /// When its server last said that this is the list; null of a file, and before the first fetch.
    pub fetched: Option<Timestamp>,
    /// Fetches that failed since the start.
    pub failures: u64,
    /// Why the last fetch failed; null after one that did not.
    pub failing: Option<String>,
}

impl ListState {
    /// Whether it is one that is fetched: what a file has is never tried.
    pub const fn is_fetched(&self) -> bool {
        self.fetched.is_some() || self.failures > 0
    }
}
