//! From endpoints to `[[service]]` tables.
//!
//! In: endpoints, what is configured and learned already. Out: tables with their reasons, as values and as a file. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use policy::config::{Protocol as IpProtocol, Service};
use serde::Serialize;
use tuning::proposal::Dimension;
use tuning::{Advice, Limit};

use super::listening::{Endpoint, Protocol};
use super::profile::Role;
use api::tune::Tuned;

/// The class whose sources are limited.
const CLASS: &str = "outside";

/// What a running daemon has.
#[derive(Debug, Default)]
pub struct Known {
    pub services: Vec<Service>,
    pub learned: Vec<Tuned>,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    pub schema_version: u32,
    pub services: Vec<Table>,
    /// What needs no table: a service covers it already.
    pub covered: Vec<Covered>,
}

/// A service that is configured already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Covered {
    pub name: String,
    /// As in `tcp 443`.
    pub places: Vec<String>,
    /// The limit that the daemon learned for it from the traffic of this host, as the file writes it.
    pub learned: Option<String>,
}

/// A `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    pub name: String,
    pub role: Role,
    pub protocol: Protocol,
    pub ports: Vec<u16>,
    /// Who listens there, as far as it is known.
    pub processes: Vec<String>,
    /// As the file writes it.
    pub limit: String,
}

impl Suggestion {
    pub fn of(endpoints: &[Endpoint], known: &Known) -> Self {
        // A proxy's socket and the port that it publishes are one; the container's own port tells more.
        let mut places: BTreeMap<(Protocol, u16), &Endpoint> = BTreeMap::new();
        for endpoint in endpoints {
            let known = places.entry((endpoint.protocol, endpoint.port)).or_insert(endpoint);
            if endpoint.inner_port.is_some() {
                *known = endpoint;
            }
        }
        let mut groups: BTreeMap<(Role, Protocol), (BTreeSet<u16>, BTreeSet<String>)> = BTreeMap::new();
        let mut covered: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for endpoint in places.into_values() {
            if let Some(service) = known.services.iter().find(|service| covers(service, endpoint)) {
                let place = format!("{} {}", endpoint.protocol.label(), endpoint.port);
                covered.entry(&service.name).or_default().insert(place);
                continue;
            }
            let (ports, processes) = groups.entry((Role::of(endpoint), endpoint.protocol)).or_default();
            ports.insert(endpoint.port);
            processes.extend(endpoint.process.clone());
        }
        let taken: BTreeSet<_> = known.services.iter().map(|service| service.name.clone()).collect();
        let tables = groups.into_iter().map(|((role, protocol), (ports, processes))| Table {
            name: name(role, protocol, &taken),
            role,
            protocol,
            ports: ports.into_iter().collect(),
            processes: processes.into_iter().collect(),
            limit: limit(role, protocol),
        });
        let tables = tables.collect();
        let covered = covered.into_iter().map(|(name, places)| {
            let learned = known.learned.iter().find(|tuned| tuned.service == name && tuned.class == CLASS);
            let learned = learned.and_then(|tuned| proposed(&tuned.advice));
            Covered { name: name.to_owned(), places: places.into_iter().collect(), learned }
        });
        Self { schema_version: 1, covered: covered.collect(), services: tables }
    }

    /// As text to append to the configuration.
    pub fn toml(&self) -> String {
        let mut text = "# `sluice setup` suggests these from what listens here. They observe: nothing is dropped.\n".to_owned();
        // Writing to a String cannot fail.
        for Covered { name, places, learned } in &self.covered {
            let _ = writeln!(text, "# Configured already: {name} ({}).", places.join(", "));
            if let Some(limit) = learned {
                let _ = writeln!(text, "#   Learned here: limit = {{ {limit} }} (`sluice tune show --service {name}`)");
            }
        }
        if self.services.is_empty() {
            text.push_str("# Nothing else listens beyond loopback, as far as this user can see.\n");
        }
        for Table { name, role, protocol, ports, processes, limit, .. } in &self.services {
            let holders = if processes.is_empty() { "unknown processes".to_owned() } else { processes.join(", ") };
            let _ = write!(
                text,
                "\n# {} ({holders}): {}.\n[[service]]\nname = {name:?}\nprotocol = {:?}\nports = {ports:?}\nmode = \"observe\"\n\
                 limit = {{ {limit} }}\n",
                role.label(),
                role.reason(),
                protocol.label(),
            );
        }
        text
    }
}

/// The role, with the protocol where that is not the usual one.
fn name(role: Role, protocol: Protocol, taken: &BTreeSet<String>) -> String {
    let plain = match (role, protocol) {
        (Role::Web, Protocol::Udp) => "quic".to_owned(),
        (Role::Dns | Role::Game, Protocol::Tcp) => format!("{}-tcp", role.label()),
        (_, Protocol::Tcp) | (Role::Dns | Role::Game, Protocol::Udp) => role.label().to_owned(),
        (_, Protocol::Udp) => format!("{}-udp", role.label()),
    };
    let numbered = (2..).map(|number| format!("{plain}-{number}"));
    let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name));
    free.unwrap_or(plain)
}

fn limit(role: Role, protocol: Protocol) -> String {
    let rates = role.rates(protocol);
    let (rate, burst) = rates.packets;
    let mut text = format!("packets = {rate:?}, packets_burst = {burst}");
    if let Some((rate, burst)) = rates.connections {
        let _ = write!(text, ", connections = {rate:?}, connections_burst = {burst}");
    }
    text
}

/// What was learned, as the file writes it.
fn proposed(advice: &Advice) -> Option<String> {
    let Advice::Proposal(proposal) = advice else { return None };
    let of = |dimension: &Option<Dimension>| dimension.as_ref().map(|dimension| dimension.limit);
    written([("packets", of(&proposal.packets)), ("connections", of(&proposal.connections))])
}

fn written(limits: [(&str, Option<Limit>); 2]) -> Option<String> {
    let parts = limits.into_iter().filter_map(|(key, limit)| {
        let Limit { per_second, burst } = limit?;
        Some(format!("{key} = \"{per_second}/s\", {key}_burst = {burst}"))
    });
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn covers(service: &Service, endpoint: &Endpoint) -> bool {
    let protocol = match endpoint.protocol {
        Protocol::Tcp => IpProtocol::TCP,
        Protocol::Udp => IpProtocol::UDP,
    };
    let matches = &service.matches;
    let port = matches.ports.iter().any(|ports| (ports.first..=ports.last).contains(&endpoint.port));
    matches.protocols.contains(&protocol) && port
}

#[cfg(test)]
mod tests {
    use policy::config::Config;

    use tuning::Limit;

    use super::{Endpoint, Known, Protocol, Suggestion, written};

    fn endpoint(protocol: Protocol, port: u16, process: &str) -> Endpoint {
        Endpoint { protocol, port, process: Some(process.to_owned()), inner_port: None }
    }

    fn everything() -> Vec<Endpoint> {
        let mut all: Vec<_> = [443, 80, 8080, 22, 5432, 25, 25_565, 4711]
            .into_iter()
            .map(|port| endpoint(Protocol::Tcp, port, "somebody"))
            .collect();
        all.extend([53, 443, 27_015, 4711].into_iter().map(|port| endpoint(Protocol::Udp, port, "else")));
        all.push(endpoint(Protocol::Tcp, 53, "else"));
        all
    }

    #[test]
    fn every_profile_is_a_valid_configuration_that_drops_nothing() {
        let suggestion = Suggestion::of(&everything(), &Known::default());
        let text = suggestion.toml();
        let config = Config::parse(&text, "suggested").unwrap_or_else(|error| panic!("{error}\n{text}"));
        policy::check(&config, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let names: Vec<_> = config.services.iter().map(|service| service.name.as_str()).collect();
        let wanted =
            ["web", "quic", "api", "dns-tcp", "dns", "ssh", "database", "mail", "game-tcp", "game", "other", "other-udp"];
        assert_eq!(names, wanted, "{text}");
        assert!(config.services.iter().all(|service| service.protection.mode == policy::config::Mode::Observe));
        assert!(text.contains("ports = [80, 443]") && text.contains("# web (somebody): "), "{text}");
    }

    #[test]
    fn what_is_configured_already_is_named_and_not_suggested_again() {
        let toml = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [443, \"8000-8100\"]\n";
        let known = Known { services: Config::parse(toml, "test").unwrap().services, ..Known::default() };
        let suggestion = Suggestion::of(&everything(), &known);
        let covered = &suggestion.covered[0];
        assert_eq!((covered.name.as_str(), covered.places.join(", ").as_str()), ("web", "tcp 443, tcp 8080"));
        let web: Vec<_> = suggestion.services.iter().filter(|table| table.ports.contains(&80)).collect();
        // Port 80 is left, under a name that is free.
        assert_eq!((web.len(), web[0].name.as_str()), (1, "web-2"));
        Config::parse(&format!("{toml}{}", suggestion.toml()), "both").unwrap();
    }

    #[test]
    fn a_port_that_a_container_publishes_has_the_role_of_the_containers_port() {
        let proxy = endpoint(Protocol::Tcp, 31_000, "docker-proxy");
        let published = Endpoint { inner_port: Some(5432), ..endpoint(Protocol::Tcp, 31_000, "container db") };
        for endpoints in [[proxy.clone(), published.clone()], [published, proxy]] {
            let suggestion = Suggestion::of(&endpoints, &Known::default());
            let names: Vec<_> = suggestion.services.iter().map(|table| table.name.as_str()).collect();
            assert_eq!(names, ["database"], "{suggestion:?}");
        }
    }

    #[test]
    fn what_was_learned_is_written_as_the_file_writes_it() {
        let limit = |per_second, burst| Some(Limit { per_second, burst });
        let text = written([("packets", limit(500, 2000)), ("connections", limit(7, 30))]).unwrap();
        let toml = format!("[[service]]\nname = \"a\"\nprotocol = \"tcp\"\nlimit = {{ {text} }}\n");
        let config = Config::parse(&toml, "learned").unwrap();
        assert_eq!(config.services[0].protection.limit.packets_burst, Some(2000));
        assert_eq!(config.services[0].protection.limit.connections_burst, Some(30));
        assert_eq!(written([("packets", None), ("connections", None)]), None);
    }

    #[test]
    fn a_host_on_which_nothing_listens_gets_no_table() {
        let text = Suggestion::of(&[], &Known::default()).toml();
        assert!(text.contains("Nothing else listens") && !text.contains("[[service]]"), "{text}");
        Config::parse(&text, "empty").unwrap();
    }
}
