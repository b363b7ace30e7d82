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

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc};

    use jiff::Timestamp;

    use super::would_cut;
    use crate::{Rules, config::Config};

    fn rules(text: &str) -> Rules {
        Rules::new(Arc::new(Config::parse(text, "test").expect("valid")))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_denial_of_the_operator_is_named() {
        let rules = rules("[access]\ndenied = [\"192.0.2.0/24\"]\n");
        let cuts = would_cut(&rules, &[address("192.0.2.9"), address("198.51.100.1")], Timestamp::UNIX_EPOCH);
        assert_eq!(cuts.len(), 1);
        assert_eq!(cuts[0].to_string(), "192.0.2.9 lies in 192.0.2.0/24 (access.denied)");
    }

    #[test]
    fn an_exempt_operator_is_not_cut() {
        let rules = rules("[access]\ndenied = [\"192.0.2.0/24\"]\nexempt = [\"192.0.2.9\"]\n");
        assert!(would_cut(&rules, &[address("192.0.2.9")], Timestamp::UNIX_EPOCH).is_empty());
    }
}
