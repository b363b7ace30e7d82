//! Why a source is treated as it is, by the rules alone (the engine adds bans, buckets and counters).

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    EffectiveService, LimitKind, Rules,
    access::{Grant, covering},
    limits::{aggregate_mode, of_class},
    prefixes::{Ruling, Weighed},
};
use crate::config::{BanRule, DEFAULT_SERVICE, Limits, Mode, OUTSIDE_CLASS};

/// What the rules say about one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub address: IpAddr,
    /// What counts as this source: the address cut to `[source]`'s length.
    pub source: IpNet,
    pub exempt: Option<Ground>,
    pub denied: Option<Ground>,
    pub class: String,
    /// The prefix that gave the class; absent for `outside`.
    pub classed_by: Option<Ground>,
    /// What applies at each service that was asked for, in the order of the file, the default service last.
    pub limits: Vec<AppliedLimit>,
}

/// A prefix that decided, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    pub prefix: IpNet,
    /// `access.denied`, `class gateway`, `the list drop.txt`, or who made it and why.
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The limit of this source at one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedLimit {
    pub service: String,
    pub mode: Mode,
    /// Where the limit stands: `service web`, `service web, class inside`, `set at run time`.
    pub from: String,
    pub limit: Limits,
    pub trial: Limits,
    pub ban: Option<BanRule>,
    pub aggregate_mode: Mode,
    pub aggregate: Limits,
}

/// What the rules say about `address` at `service`, or at every service.
pub fn explain(rules: &Rules, address: IpAddr, service: Option<&str>, now: Timestamp) -> Explanation {
    let address = address.to_canonical();
    let statements = covering(rules, address, now);
    let ruling = statements
        .iter()
        .enumerate()
        .fold(Ruling::default(), |ruling, (position, statement)| ruling.with(position, statement));
    let ground = |weighed: Option<Weighed>| {
        let statement = &statements[weighed?.position];
        let until = match statement.grant {
            Grant::Permission { until, .. } => until,
            Grant::Class(_) | Grant::Lifeline | Grant::Arrives(_) => None,
        };
        Some(Ground { prefix: statement.prefix, from: statement.source.to_string(), until })
    };
    let classes = rules.classes();
    let class = ruling.class.and_then(|weighed| match statements[weighed.position].grant {
        Grant::Class(number) => classes.get(usize::try_from(number).ok()?).copied(),
        _ => None,
    });
    let class = class.unwrap_or(OUTSIDE_CLASS);
    let mut limits: Vec<AppliedLimit> = rules
        .services()
        .iter()
        .filter(|one| service.is_none_or(|wanted| wanted == one.name))
        .map(|one| applied(rules, one, class))
        .collect();
    if limits.len() > 1 {
        // The default service is what is left after all others.
        limits.rotate_left(1);
    }
    Explanation {
        address,
        source: source_of(rules, address),
        exempt: ground(ruling.exempt),
        denied: ground(ruling.denied),
        class: class.to_owned(),
        classed_by: ground(ruling.class),
        limits,
    }
}

/// What counts as one source with this address.
pub(super) fn source_of(rules: &Rules, address: IpAddr) -> IpNet {
    IpNet::new(address, rules.config.source.bits(address)).unwrap_or_else(|_| IpNet::from(address)).trunc()
}

fn applied(rules: &Rules, service: &EffectiveService, class: &str) -> AppliedLimit {
    let protection = &service.protection;
    let of = of_class(protection, class);
    let set = rules.limits.keys().rfind(|name| {
        name.service == service.name
            && name.kind == LimitKind::PerSource
            && name.class.as_deref().is_none_or(|named| named == class)
    });
    let place = if service.name == DEFAULT_SERVICE {
        "default".to_owned()
    } else {
        format!("service {}", service.name)
    };
    let from = match set {
        Some(_) => format!("{place}, set at run time"),
        None if protection.class.contains_key(class) => format!("{place}, class {class}"),
        None => place,
    };
    AppliedLimit {
        service: service.name.clone(),
        mode: of.mode,
        from,
        limit: of.limit,
        trial: of.trial,
        ban: of.ban,
        aggregate_mode: aggregate_mode(protection),
        aggregate: protection.aggregate.limits(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::{Explanation, explain};
    use crate::{
        AccessEntry, Permission, Rules,
        config::{Config, Mode},
    };

    const FILE: &str = r#"
        [source]
        ipv6_prefix = 56
        [access]
        exempt = ["192.0.2.7"]
        denied = ["192.0.2.0/24", "2001:db8::/32"]
        [[class]]
        name = "gateway"
        prefixes = ["198.51.100.0/24"]
        [[service]]
        name = "web"
        protocol = "tcp"
        ports = [443]
        mode = "enforce"
        limit = { packets = "1k/s" }
        [service.class.gateway]
        mode = "observe"
    "#;

    fn of(address: &str) -> Explanation {
        let rules = Rules::new(Arc::new(Config::parse(FILE, "test").expect("valid")));
        explain(&rules, address.parse().expect("an address"), None, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_denied_address_names_its_prefix_and_where_it_stands() {
        let denied = of("192.0.2.9").denied.expect("denied");
        assert_eq!(
            (denied.prefix.to_string().as_str(), denied.from.as_str()),
            ("192.0.2.0/24", "access.denied")
        );
    }

    #[test]
    fn an_exemption_stands_beside_the_denial_it_beats() {
        let explanation = of("192.0.2.7");
        assert_eq!(explanation.exempt.expect("exempt").from, "access.exempt");
        assert!(explanation.denied.is_some());
    }

    #[test]
    fn a_class_brings_its_own_limit() {
        let explanation = of("198.51.100.3");
        assert_eq!(explanation.class, "gateway");
        assert_eq!(explanation.classed_by.expect("classed").from, "class gateway");
        let web = &explanation.limits[0];
        assert_eq!((web.mode, web.from.as_str()), (Mode::Observe, "service web, class gateway"));
        assert_eq!(explanation.limits[1].service, "default");
    }

    #[test]
    fn inside_is_a_class_and_the_rest_is_outside() {
        assert_eq!(of("10.1.2.3").class, "inside");
        assert_eq!(of("203.0.113.1").class, "outside");
        assert!(of("203.0.113.1").classed_by.is_none());
    }

    #[test]
    fn the_source_is_the_address_cut_to_its_length() {
        assert_eq!(of("2001:db8:1:2ff::1").source.to_string(), "2001:db8:1:200::/56");
        assert_eq!(of("::ffff:192.0.2.9").source.to_string(), "192.0.2.9/32");
    }

    #[test]
    fn what_was_made_at_run_time_names_its_maker_until_its_end() {
        let mut rules = Rules::new(Arc::new(Config::default()));
        rules.access.push(AccessEntry {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            permission: Permission::Deny,
            until: Some(Timestamp::from_second(100).expect("in range")),
            reason: "scanning".to_owned(),
            origin: "uid 1000".to_owned(),
        });
        let at = |second| {
            let now = Timestamp::from_second(second).expect("in range");
            explain(&rules, "203.0.113.5".parse().expect("an address"), None, now).denied
        };
        assert_eq!(at(99).expect("denied").from, "uid 1000: scanning");
        assert_eq!(at(100), None);
    }
}
