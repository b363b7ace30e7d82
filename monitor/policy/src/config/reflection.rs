//! `[reflection]`: what becomes of answers that nobody asked for.

use serde::{Deserialize, Serialize};

use super::Mode;

/// `[reflection]`: UDP from ports that reflectors answer from, where this host asked nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reflection {
    pub mode: Mode,
}
