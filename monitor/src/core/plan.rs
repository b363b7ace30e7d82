//! A change that a command, a finding or tuning asks for: planned as a value, made by the core.

use super::delta::Delta;

/// What to change, and what to say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One line for the history.
    pub what: String,
    pub delta: Delta,
    /// What a machine's decision rests on.
    pub evidence: Option<serde_json::Value>,
    /// What people should know once it is made.
    pub warnings: Vec<String>,
}

impl Plan {
    pub fn new(what: String, delta: Delta) -> Self {
        Self { what, delta, evidence: None, warnings: Vec::new() }
    }
}
