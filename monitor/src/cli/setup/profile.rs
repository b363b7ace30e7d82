//! What a service of some role usually gets from one client, with room: the rates that a new host begins to observe with.
//!
//! In: ports and names of processes. Out: a profile. The rates are per source, so that an office behind one address fits in.

use serde::Serialize;

use super::listening::{Endpoint, Protocol};

/// A role, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Web,
    Api,
    Dns,
    Ssh,
    Database,
    Mail,
    Game,
    /// Nothing tells what it is.
    Other,
}

/// The rates of one source, as the file writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub packets: (&'static str, u64),
    /// Not for UDP.
    pub connections: Option<(&'static str, u64)>,
}

/// How a role is recognised.
struct Signs {
    role: Role,
    processes: &'static [&'static str],
    tcp: &'static [u16],
    udp: &'static [u16],
}

/// In this order: a process says more than a port, and a port of an API is often a web server's.
const SIGNS: [Signs; 7] = [
    Signs { role: Role::Ssh, processes: &["sshd", "dropbear"], tcp: &[22], udp: &[] },
    Signs {
        role: Role::Dns,
        processes: &["named", "unbound", "dnsmasq", "knotd", "kresd", "nsd", "pdns_server", "pdns_recursor", "coredns", "systemd-resolve"],
        tcp: &[53, 853],
        udp: &[53, 853],
    },
    Signs {
        role: Role::Mail,
        processes: &["master", "exim4", "exim", "sendmail", "dovecot", "opensmtpd", "smtpd", "postscreen"],
        tcp: &[25, 110, 143, 465, 587, 993, 995, 4190],
        udp: &[],
    },
    Signs {
        role: Role::Database,
        processes: &["postgres", "mysqld", "mariadbd", "redis-server", "valkey-server", "mongod", "memcached", "etcd", "clickhouse-serv"],
        tcp: &[1433, 1521, 2379, 3306, 5432, 6379, 6432, 9042, 9200, 11211, 27017],
        udp: &[],
    },
    Signs {
        role: Role::Game,
        processes: &["srcds_linux", "bedrock_server", "factorio", "valheim_server", "FXServer", "teeworlds_srv", "terrariaserver"],
        tcp: &[25565],
        udp: &[2302, 2456, 7777, 19132, 25565, 27015, 27016, 30120, 34197],
    },
    Signs {
        role: Role::Web,
        processes: &["nginx", "apache2", "httpd", "caddy", "haproxy", "traefik", "envoy", "lighttpd", "varnishd", "h2o"],
        tcp: &[80, 443, 8443],
        udp: &[443],
    },
    Signs {
        role: Role::Api,
        processes: &["node", "java", "gunicorn", "uvicorn", "puma", "dotnet", "beam.smp", "php-fpm", "deno", "bun"],
        tcp: &[3000, 5000, 8000, 8008, 8080, 8081, 8888, 9000, 50051],
        udp: &[],
    },
];

impl Role {
    /// By its process; without one that is known, by its port.
    pub fn of(endpoint: &Endpoint) -> Self {
        let named = |signs: &&Signs| {
            endpoint.process.as_deref().is_some_and(|process| signs.processes.contains(&process))
        };
        let port = endpoint.inner_port.unwrap_or(endpoint.port);
        let placed = |signs: &&Signs| {
            let ports = if endpoint.protocol == Protocol::Tcp { signs.tcp } else { signs.udp };
            ports.contains(&port)
        };
        SIGNS.iter().find(named).or_else(|| SIGNS.iter().find(placed)).map_or(Self::Other, |signs| signs.role)
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Api => "api",
            Self::Dns => "dns",
            Self::Ssh => "ssh",
            Self::Database => "database",
            Self::Mail => "mail",
            Self::Game => "game",
            Self::Other => "other",
        }
    }

    /// Why these rates, in one line of the file.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Web => "a browser opens a dozen connections for a page; an upload of 100 Mbit/s is 9,000 packets/s",
            Self::Api => "clients without keep-alive open a connection for each request",
            Self::Dns => "a stub resolver asks a few times a second, a busy resolver some hundred",
            Self::Ssh => "logins are rare; a copy of 500 Mbit/s is 42,000 packets/s",
            Self::Database => "few clients, each of them a whole application",
            Self::Mail => "a relay opens some connections at once and sends over them",
            Self::Game => "a client sends 60 to 130 packets/s; a household may hold several",
            Self::Other => "nothing tells what it is, so the limits are wide: see `sluice tune show` in a week",
        }
    }

    pub const fn rates(self, protocol: Protocol) -> Rates {
        const fn tcp(packets: (&'static str, u64), connections: (&'static str, u64)) -> Rates {
            Rates { packets, connections: Some(connections) }
        }
        const fn udp(packets: (&'static str, u64)) -> Rates {
            Rates { packets, connections: None }
        }
        match (self, protocol) {
            (Self::Web, Protocol::Tcp) => tcp(("20k/s", 60_000), ("50/s", 500)),
            (Self::Api | Self::Other, Protocol::Tcp) => tcp(("20k/s", 60_000), ("200/s", 2000)),
            (Self::Dns, Protocol::Tcp) => tcp(("500/s", 2000), ("20/s", 200)),
            (Self::Dns, Protocol::Udp) => udp(("500/s", 2000)),
            (Self::Ssh, Protocol::Tcp) => tcp(("60k/s", 200_000), ("60/min", 30)),
            (Self::Database, Protocol::Tcp) => tcp(("100k/s", 200_000), ("200/s", 2000)),
            (Self::Mail, Protocol::Tcp) => tcp(("10k/s", 40_000), ("10/s", 100)),
            (Self::Game, Protocol::Udp) => udp(("1k/s", 3000)),
            (Self::Game, Protocol::Tcp) => tcp(("2k/s", 10_000), ("5/s", 50)),
            (_, Protocol::Udp) => udp(("20k/s", 60_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Protocol, Role, SIGNS};

    fn check(protocol: Protocol, port: u16, process: Option<&str>, inner: Option<u16>, expected: Role) {
        let process = process.map(str::to_owned);
        let endpoint = Endpoint { protocol, port, process, inner_port: inner };
        assert_eq!(Role::of(&endpoint), expected, "{endpoint:?}");
    }

    #[test]
    fn a_process_says_more_than_a_port_and_a_containers_port_more_than_the_hosts() {
        check(Protocol::Tcp, 443, None, None, Role::Web);
        check(Protocol::Udp, 443, None, None, Role::Web);
        check(Protocol::Tcp, 8080, None, None, Role::Api);
        check(Protocol::Tcp, 8080, Some("nginx"), None, Role::Web);
        check(Protocol::Tcp, 2222, Some("sshd"), None, Role::Ssh);
        check(Protocol::Tcp, 31_000, Some("container db"), Some(5432), Role::Database);
        check(Protocol::Udp, 27_015, None, None, Role::Game);
        check(Protocol::Tcp, 27_015, None, None, Role::Other);
        check(Protocol::Udp, 53, Some("somebody"), None, Role::Dns);
        check(Protocol::Tcp, 4711, Some("somebody"), None, Role::Other);
    }

    #[test]
    fn no_port_and_no_process_has_two_roles() {
        let mut seen = std::collections::BTreeSet::new();
        for signs in &SIGNS {
            for port in signs.tcp {
                assert!(seen.insert(format!("tcp {port}")), "tcp {port}");
            }
            for port in signs.udp {
                assert!(seen.insert(format!("udp {port}")), "udp {port}");
            }
            for process in signs.processes {
                assert!(process.len() <= 15 && seen.insert((*process).to_owned()), "{process}: the kernel keeps 15 letters");
            }
        }
    }
}
