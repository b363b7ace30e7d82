//! What is valid and still probably not meant: told by `sluice config check` and in the log, never an error.

use super::metrics::Metrics;
use super::{Config, DEFAULT_SERVICE, Limits, Mode, Protection, Protocol, Service};

pub(super) fn advice(config: &Config) -> Vec<String> {
    let mut told = Vec::new();
    let services = config.services.iter().map(|service| (service.name.as_str(), &service.protection));
    let all: Vec<(&str, &Protection)> =
        std::iter::once((DEFAULT_SERVICE, &config.default)).chain(services).collect();
    let of_mode = |mode| {
        let names = all.iter().filter(|(_, protection)| protection.mode == mode).map(|(name, _)| *name);
        names.collect::<Vec<_>>()
    };
    let (observing, enforcing) = (of_mode(Mode::Observe), of_mode(Mode::Enforce));
    if !enforcing.is_empty() && !observing.is_empty() {
        told.push(format!("these only observe and drop nothing: {}", observing.join(", ")));
    }
    if config.interfaces.watch_only && !enforcing.is_empty() {
        let names = enforcing.join(", ");
        told.push(format!("interfaces.watch_only: nothing is dropped, though these enforce: {names}"));
    }
    for (name, protection) in &all {
        let enforces = protection.mode == Mode::Enforce
            || protection.class.values().any(|class| class.mode == Some(Mode::Enforce));
        if protection.ban.is_some() && !enforces {
            told.push(format!("{name}: `ban` has no effect while the mode is {}", protection.mode));
        }
    }
    for (name, protection) in &all {
        if protection.challenge
            && protection.mode != Mode::Enforce
            && protection.aggregate.mode != Some(Mode::Enforce)
        {
            let mode = protection.mode;
            told.push(format!(
                "{name}: `challenge` has no effect while the mode is {mode}: nothing is refused"
            ));
        }
        if protection.follows_connections() && !config.interfaces.egress {
            told.push(format!(
                "{name}: `concurrent` and `encryption` have no effect without interfaces.egress: no server's answer is seen"
            ));
        }
        if is_without_limit(protection) {
            let but = if protection.aggregate.is_automatic() { " but strangers in a flood" } else { "" };
            told.push(format!(
                "{name}: it enforces and has no limit, so nothing is dropped for its rate{but}"
            ));
        }
    }
    for service in &config.services {
        told.extend(too_little_for_tcp(service));
    }
    for denied in &config.access.denied {
        if let Some(exempt) = config.access.exempt.iter().find(|exempt| exempt.contains(denied)) {
            told.push(format!("access.denied {denied} lies in the exempt {exempt} and is never dropped"));
        }
    }
    let Metrics { enabled, listen, web_config_file, allow_unauthenticated, .. } = &config.metrics;
    if *enabled && !listen.ip().is_loopback() && web_config_file.is_none() {
        let then =
            if *allow_unauthenticated { "is open to" } else { "is not served, as it would be open to" };
        told.push(format!(
            "metrics.listen {listen} {then} the network without a password: name a metrics.web_config_file"
        ));
    }
    told
}

/// Enforces, and limits neither sources, of any class, nor all of them together.
fn is_without_limit(protection: &Protection) -> bool {
    let is_none = |limits: &Limits| *limits == Limits::default();
    let classes = protection.class.values();
    protection.mode == Mode::Enforce
        && is_none(&protection.limit)
        && is_none(&protection.aggregate.limits())
        && classes.filter_map(|class| class.limit.as_ref()).all(is_none)
}

/// Packets per second below which a source cannot load one page: a connection alone takes about ten.
const LEAST_FOR_TCP: f64 = 50.0;

fn too_little_for_tcp(service: &Service) -> Option<String> {
    let rate = service.protection.limit.packets?;
    let burst = service.protection.limit.packets_burst.unwrap_or(0);
    let is_tcp = service.matches.protocols == [Protocol::TCP];
    (is_tcp && rate.amount_per_second() < LEAST_FOR_TCP && burst < 1000).then(|| {
        format!(
            "{}: {rate} packets of each source are less than one page needs (a TCP connection alone takes about ten \
             packets); limit `connections`, or learn what is sent: `sluice tune show`",
            service.name
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(Config::parse(text, "test").expect("valid").advice(), expected);
    }

    #[test]
    fn the_defaults_need_no_advice() {
        check("", &[]);
        check(Config::default_file(), &[]);
    }

    #[test]
    fn a_forgotten_dry_run_is_told() {
        let text = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nmode = \"enforce\"\n";
        let without = "web: it enforces and has no limit, so nothing is dropped for its rate";
        let automatic = format!("{without} but strangers in a flood");
        check(text, &["these only observe and drop nothing: default", &automatic]);
        let off = "aggregate = \"off\"\n";
        check(&format!("{text}{off}"), &["these only observe and drop nothing: default", without]);
        let limits = "limit = { packets = \"2k/s\" }\n";
        check(&format!("{text}{limits}"), &["these only observe and drop nothing: default"]);
    }

    #[test]
    fn a_limit_that_no_page_fits_through_is_told() {
        let told = |protocol: &str, limit: &str| {
            let service = format!("[[service]]\nname = \"web\"\nprotocol = \"{protocol}\"\nports = [80]\n");
            Config::parse(&format!("{service}limit = {{ {limit} }}\n"), "test").expect("valid").advice()
        };
        let advice = told("tcp", "packets = \"10/s\"");
        assert!(advice.len() == 1 && advice[0].starts_with("web: 10/s packets of each source"), "{advice:?}");
        for (protocol, limit) in [
            ("tcp", "packets = \"2k/s\""),
            ("tcp", "packets = \"10/s\", packets_burst = 5000"),
            ("tcp", "connections = \"10/s\""),
            ("udp", "packets = \"10/s\""),
        ] {
            assert!(told(protocol, limit).is_empty(), "{protocol} {limit}");
        }
    }

    #[test]
    fn a_ban_that_cannot_happen_is_told() {
        check("[default.ban]\nafter = 5\n", &["default: `ban` has no effect while the mode is observe"]);
    }

    #[test]
    fn a_denial_within_an_exemption_is_told() {
        check(
            "[access]\nexempt = [\"192.0.2.0/24\"]\ndenied = [\"192.0.2.7\"]\n",
            &["access.denied 192.0.2.7/32 lies in the exempt 192.0.2.0/24 and is never dropped"],
        );
    }
}
