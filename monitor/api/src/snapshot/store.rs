//! The size of the store in the snapshot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How large the store is, and what went to keep it within its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreState {
    /// Bytes that are in use.
    pub bytes: u64,
    /// What it may grow to.
    pub most_bytes: u64,
    /// Closed findings that went for want of room, since the start.
    pub shed_findings: u64,
    /// Changes of the history that did.
    pub shed_changes: u64,
    /// Nothing is left that may go.
    pub full: bool,
}
