//! The lockout guard: whom a desired state would cut off, and whom it would begin to limit.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{EffectiveService, Rules};
use crate::config::Mode;

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

/// An address that would be held to a limit that did not hold it before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tightened {
    pub address: IpAddr,
    pub service: String,
    /// The limit, in words.
    pub limit: String,
}

impl fmt::Display for Tightened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} would be limited at {} to {}", self.address, self.service, self.limit)
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

/// At which services `new` would enforce a limit on one of `addresses` that `old` did not enforce.
///
/// Exempt addresses are never limited. A service that exists only in `new` counts as having had no limit.
pub fn would_limit(old: &Rules, new: &Rules, addresses: &[IpAddr], now: Timestamp) -> Vec<Tightened> {
    let mut found = Vec::new();
    let names: Vec<String> = new.services().into_iter().map(|EffectiveService { name, .. }| name).collect();
    for address in addresses {
        let before = super::explain(old, *address, None, now);
        let after = super::explain(new, *address, None, now);
        if after.exempt.is_some() {
            continue;
        }
        for name in &names {
            let limit = |explanation: &super::Explanation| {
                let applied = explanation.limits.iter().find(|applied| applied.service == *name)?;
                (applied.mode == Mode::Enforce && explanation.exempt.is_none()).then_some(applied.limit)
            };
            if let Some(limits) = limit(&after)
                && limit(&before) != Some(limits)
                && limits != crate::config::Limits::default()
            {
                found.push(Tightened { address: *address, service: name.clone(), limit: limits.to_string() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc};

    use jiff::Timestamp;

    use super::{would_cut, would_limit};
    use crate::{config::Config, policy::Rules};

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

    #[test]
    fn a_new_limit_on_the_operator_is_named_and_an_old_one_is_not() {
        let open = rules("");
        let limited = rules("[default]\nmode = \"enforce\"\nlimit = { packets = \"10/s\" }\n");
        let operator = [address("192.0.2.9")];
        let found = would_limit(&open, &limited, &operator, Timestamp::UNIX_EPOCH);
        assert_eq!(found[0].to_string(), "192.0.2.9 would be limited at default to packets 10/s");
        assert!(would_limit(&limited, &limited, &operator, Timestamp::UNIX_EPOCH).is_empty());
    }
}
