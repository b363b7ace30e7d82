//! What the daemon says of itself, and what it finds on disk: version, problems, tables, store, pins.

use std::path::Path;

use policy::Cookies;
use policy::config::{Capacity, Config};

use super::{Check, State, read};
use crate::cli::{Exit, Failure, figures};
use api::Versioned;
use crate::engine::delta::Flags;
use crate::engine::{cookies, read_configuration};
use crate::daemon;
use crate::snapshot::{Confinement, Snapshot};

/// Below it the store and the alert log may fail soon.
const LEAST_FREE_BYTES: u64 = 64 << 20;
/// Tables with more than one part in so many of the machine's memory are too large.
const LARGEST_SHARE: u64 = 4;
/// The daemon copies the database once an hour.
const OLDEST_COPY: std::time::Duration = std::time::Duration::from_hours(3);
/// A source with this share of all packets is probably an address that many clients share.
const SHARED_ADDRESS: f64 = 0.6;
const SHARED_ADDRESS_PACKETS: u64 = 10_000;

pub fn checks(config: Option<&Path>, status: Result<&Versioned<Snapshot>, &Failure>) -> Vec<Check> {
    let mut checks = Vec::new();
    let config = read_config(config, &mut checks);
    match status {
        Ok(status) => checks.extend(of_snapshot(&status.answer, env!("CARGO_PKG_VERSION"))),
        Err(failure) if failure.exit == Exit::NotRunning => checks.push(
            Check::failed("daemon", "no daemon answers on the control socket").mend("systemctl start sluice"),
        ),
        Err(failure) => checks.push(Check::unknown("daemon", failure.message.clone())),
    }
    checks.push(tables(&config.capacity, memory_total()));
    checks.extend(challenge(&config, cookies::look()));
    checks.push(disk(&config.state.directory));
    checks.push(store(&config.state.directory, std::time::SystemTime::now()));
    checks.extend(pins(&config.bpf.pin_directory));
    checks
}

/// What services that challenge find in this network namespace.
fn challenge(config: &Config, cookies: Cookies) -> Option<Check> {
    if !config.challenges() {
        return None;
    }
    let set = |name: &str| format!("sysctl -w net.ipv4.{name}=2, and write it to /etc/sysctl.d");
    Some(if !cookies.always {
        Check::failed("challenge", "net.ipv4.tcp_syncookies is not 2, so nothing is challenged").mend(set("tcp_syncookies"))
    } else if !cookies.stamps {
        let told = "net.ipv4.tcp_timestamps is not 2, so challenged connections have no window scale and no SACK";
        Check::warning("challenge", told).mend(set("tcp_timestamps"))
    } else {
        Check::ok("challenge", "listeners take SYN cookies with all options")
    })
}

fn read_config(path: Option<&Path>, checks: &mut Vec<Check>) -> Config {
    let setting = read_configuration(path, Flags::default());
    let parsed = setting.map_err(anyhow::Error::from).and_then(|setting| Ok(setting.parse()?));
    match parsed {
        Ok(config) => {
            let advice = config.advice();
            let name = "configuration";
            checks.push(match advice.first() {
                None => Check::ok(name, "valid"),
                Some(first) => Check::warning(name, first.clone()).mend("sluice config check"),
            });
            config
        }
        Err(error) => {
            checks.push(Check::failed("configuration", format!("{error:#}")).mend("sluice config check"));
            Config::embedded()
        }
    }
}

fn of_snapshot(snapshot: &Snapshot, own_version: &str) -> Vec<Check> {
    let mut checks = Vec::new();
    let version = &snapshot.build.version;
    checks.push(if version == own_version {
        Check::ok("daemon", format!("version {version}, guarding"))
    } else {
        Check::warning("daemon", format!("version {version} runs, and this binary is version {own_version}"))
            .mend("systemctl restart sluice")
    });
    checks.extend(snapshot.problems.iter().map(|problem| Check::failed("problem", problem.clone())));
    if !snapshot.interfaces.iter().any(|interface| interface.ifindex != 0 && interface.problem.is_none()) {
        checks.push(Check::failed("guard", "no interface is guarded").mend("name one under [interfaces]"));
    }
    if let Some(loaded) = snapshot.reload.succeeded_at {
        checks.push(Check::ok("reload", format!("the configuration was loaded {}", figures::ago(loaded, snapshot.at))));
    }
    for map in &snapshot.maps {
        let Some(entries) = map.entries.filter(|entries| entries * 10 >= map.capacity * 7 && map.capacity > 0) else {
            continue;
        };
        checks.push(
            Check::warning("tables", format!("{} holds {entries} of {}", map.name, map.capacity))
                .mend("raise its key under [capacity] and restart"),
        );
    }
    checks.extend(shared_address(snapshot));
    checks.extend(confinement(&snapshot.confinement));
    checks
}

/// What a daemon that was taken over could still do to the host.
fn confinement(confinement: &Confinement) -> Vec<Check> {
    let name = "confinement";
    let mut checks = vec![Check::ok(name, daemon::confine::sentence(confinement))];
    let missing = confinement.missing.iter().map(|missing| Check::warning(name, missing.clone()));
    let make_user = "useradd --system --shell /usr/sbin/nologin --home-dir /var/lib/sluice sluice, then restart";
    checks.extend(missing.map(|check| {
        if check.finding.contains("no user") { check.mend(make_user) } else { check }
    }));
    checks
}

/// Many clients behind one address (NAT, a load balancer) share one limit.
fn shared_address(snapshot: &Snapshot) -> Option<Check> {
    let all: u64 = snapshot.totals.iter().map(|total| total.ended.packets).sum();
    let largest = snapshot.sources.by_rate.iter().max_by_key(|source| source.total.packets)?;
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = largest.total.packets as f64 / all.max(1) as f64;
    (all >= SHARED_ADDRESS_PACKETS && share >= SHARED_ADDRESS).then(|| {
        let source = largest.source;
        Check::warning(
            "shared address",
            format!("{source} sends {} of all packets: many clients may share it", figures::percent(share)),
        )
        .mend("give its prefix a [[class]] with a limit of its own")
    })
}

fn disk(directory: &Path) -> Check {
    let shown = directory.display();
    let Ok(about) = rustix::fs::statvfs(directory) else {
        return Check::unknown("state", format!("{shown} is not there yet; the daemon creates it"));
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    if free < LEAST_FREE_BYTES {
        return Check::warning("state", format!("{shown} has {} free", figures::bytes(free)))
            .mend(format!("free space on the disk of {shown}"));
    }
    Check::ok("state", format!("{shown} has {} free", figures::bytes(free)))
}

/// All memory of this machine, in bytes.
fn memory_total() -> Option<u64> {
    let text = read("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the kernel's tables of this configuration take, against the machine's memory. All of it is there from the start.
fn tables(capacity: &Capacity, memory: Option<u64>) -> Check {
    let bytes = table_bytes(capacity);
    let shown = figures::bytes(bytes);
    let Some(memory) = memory else {
        return Check::unknown("memory", format!("the tables take about {shown}; this machine's memory cannot be read"));
    };
    let of = figures::bytes(memory);
    if bytes > memory / LARGEST_SHARE {
        return Check::warning("memory", format!("the tables take about {shown} of {of}"))
            .mend("lower the keys under [capacity] and restart");
    }
    Check::ok("memory", format!("the tables take about {shown} of {of}"))
}

/// Entries of the tables that grow with `[capacity]`, with the bytes of one: its value, its key and what the kernel adds,
/// by the kernel's own account (docs/bench/memory.md). Rings, filters and counters take the rest.
fn table_bytes(capacity: &Capacity) -> u64 {
    const REST: u64 = 8 << 20;
    let tables = [
        (capacity.sources, 256),
        (capacity.conversations, 288),
        (capacity.prefix_nodes, 128),
        (capacity.bans, 144),
        (capacity.denials, 32),
        (capacity.sketch_cells, 16),
        (capacity.limits, 384),
        (capacity.rules, 256),
    ];
    tables.into_iter().map(|(entries, bytes)| u64::from(entries) * bytes).sum::<u64>() + REST
}

/// The database, and the copy from which a damaged one is restored.
fn store(directory: &Path, now: std::time::SystemTime) -> Check {
    let about = |name: &str| std::fs::metadata(directory.join(name));
    let database = match about("sluice.db") {
        Ok(database) => database,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Check::ok("store", "no database yet; the daemon creates it");
        }
        Err(error) => return Check::unknown("store", format!("{}: {error}", directory.display())),
    };
    let size = figures::bytes(database.len());
    let age = about("sluice.db.copy").and_then(|copy| copy.modified()).ok();
    match age.map(|at| now.duration_since(at).unwrap_or_default()) {
        Some(age) if age < OLDEST_COPY => Check::ok("store", format!("{size}, with a checked copy")),
        Some(age) => {
            let hours = age.as_secs() / 3600;
            Check::warning("store", format!("{size}; its copy is {hours} hours old")).mend("journalctl -u sluice")
        }
        None => Check::warning("store", format!("{size}, without a copy")).mend("systemctl start sluice"),
    }
}

/// Directories that another version pinned.
fn pins(directory: &Path) -> Option<Check> {
    let own = format!("v{}", monitor_common::names::LAYOUT);
    let entries = std::fs::read_dir(directory).ok()?;
    let others: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('v') && *name != own)
        .collect();
    (!others.is_empty()).then(|| {
        Check::new("pins", State::Warning, format!("another version left {} in {}", others.join(", "), directory.display()))
            .mend("systemctl restart sluice")
    })
}

#[cfg(test)]
mod tests {
    use policy::config::Capacity;

    use super::{Config, Cookies, challenge, of_snapshot, store, table_bytes, tables};
    use crate::cli::doctor::State;
    use crate::cli::samples::snapshot;

    fn state(checks: &[crate::cli::doctor::Check], name: &str) -> Option<State> {
        checks.iter().find(|check| check.name == name).map(|check| check.state)
    }

    #[test]
    fn tables_are_weighed_against_the_memory() {
        let mut capacity = Capacity::default();
        let bytes = table_bytes(&capacity);
        // What the kernel accounts for the default capacities.
        assert!((56 << 20..72 << 20).contains(&bytes), "{bytes}");
        assert_eq!(tables(&capacity, Some(1 << 30)).state, State::Ok);
        assert_eq!(tables(&capacity, Some(128 << 20)).state, State::Warning);
        capacity.sources *= 64;
        assert_eq!(tables(&capacity, Some(4 << 30)).state, State::Warning);
        assert_eq!(tables(&capacity, None).state, State::Unknown);
    }

    #[test]
    fn a_store_has_a_copy_of_this_hour() {
        let directory = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::now();
        assert_eq!(store(directory.path(), now).state, State::Ok);
        std::fs::write(directory.path().join("sluice.db"), "x").unwrap();
        assert_eq!(store(directory.path(), now).state, State::Warning);
        std::fs::write(directory.path().join("sluice.db.copy"), "x").unwrap();
        assert_eq!(store(directory.path(), now).state, State::Ok);
        let later = now + std::time::Duration::from_hours(5);
        assert!(store(directory.path(), later).finding.contains("hours old"));
    }

    #[test]
    fn problems_versions_and_full_tables_are_told() {
        let mut seen = snapshot();
        let version = seen.build.version.clone();
        assert_eq!(state(&of_snapshot(&seen, &version), "daemon"), Some(State::Ok));
        assert_eq!(state(&of_snapshot(&seen, "9.9.9"), "daemon"), Some(State::Warning));
        seen.problems.push("the metrics port is taken".to_owned());
        seen.maps[0].entries = Some(seen.maps[0].capacity);
        let checks = of_snapshot(&seen, &version);
        assert_eq!(state(&checks, "problem"), Some(State::Failed));
        assert_eq!(state(&checks, "tables"), Some(State::Warning));
        assert_eq!(state(&checks, "confinement"), Some(State::Ok));
        seen.confinement.missing.push("it stays root's: there is no user `sluice`".to_owned());
        let checks = of_snapshot(&seen, &version);
        let told = checks.iter().find(|check| check.name == "confinement" && check.state == State::Warning).unwrap();
        assert!(told.command.as_deref().is_some_and(|command| command.starts_with("useradd")), "{told:?}");
        seen.interfaces.clear();
        assert_eq!(state(&of_snapshot(&seen, &version), "guard"), Some(State::Failed));
    }

    #[test]
    fn what_a_challenge_lacks_is_told_where_a_service_asks() {
        let service = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nchallenge = true\n";
        let asks = Config::parse(service, "a test").unwrap();
        let all = Cookies { always: true, stamps: true, sack: true, windows: true };
        let told = |cookies| challenge(&asks, cookies).map(|check| check.state);
        assert_eq!(told(all), Some(State::Ok));
        assert_eq!(told(Cookies { stamps: false, ..all }), Some(State::Warning));
        assert_eq!(told(Cookies { always: false, ..all }), Some(State::Failed));
        assert!(challenge(&Config::embedded(), all).is_none());
    }
}
