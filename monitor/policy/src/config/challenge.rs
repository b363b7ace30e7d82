//! `[challenge]`: what services with `challenge = true` need of the host.

use serde::{Deserialize, Serialize};

/// `[challenge]`: settings of the host's network that the daemon makes where a service challenges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Challenge {
    /// Sets `net.ipv4.tcp_syncookies` to 2, without which nothing is challenged.
    pub set_tcp_syncookies: bool,
    /// Sets `net.ipv4.tcp_timestamps` to 2, without which challenged connections have neither window scale nor SACK.
    pub set_tcp_timestamps: bool,
}
