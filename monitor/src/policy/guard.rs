//! The lockout guard: whom a desired state would cut off.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Rules;

/// An address that would be dropped, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub address: IpAddr,
    pub prefix: IpNet,
    pub from: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lies in {} ({})", self.address, self.prefix, self.from)
    }
}

/// Which of `addresses` (the operator's own connections, loopback, monitoring) the rules would deny.
pub fn would_cut(rules: &Rules, addresses: &[IpAddr], now: Timestamp) -> Vec<Cut> {
    addresses
        .iter()
        .filter_map(|address| {
            let explanation = super::explain(rules, *address, None, now);
            match (explanation.exempt, explanation.denied) {
                (None, Some(denied)) => {
                    Some(Cut { address: *address, prefix: denied.prefix, from: denied.from })
                }
                _ => None,
            }
        })
        .collect()
}
