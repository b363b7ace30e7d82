//! What the daemon says of itself, and what it finds on disk: version, problems, tables, store, pins.

use std::path::Path;

use policy::config::Config;

use super::{Check, State};
use crate::cli::{Exit, Failure, figures};
use api::Versioned;
use crate::engine::delta::Flags;
use crate::engine::read_configuration;
use crate::snapshot::Snapshot;

/// Below it the store and the alert log may fail soon.
const LEAST_FREE_BYTES: u64 = 64 << 20;
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
    checks.push(disk(&config.state.directory));
    checks.extend(pins(&config.bpf.pin_directory));
    checks
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
    use super::of_snapshot;
    use crate::cli::doctor::State;
    use crate::cli::samples::snapshot;

    fn state(checks: &[crate::cli::doctor::Check], name: &str) -> Option<State> {
        checks.iter().find(|check| check.name == name).map(|check| check.state)
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
        seen.interfaces.clear();
        assert_eq!(state(&of_snapshot(&seen, &version), "guard"), Some(State::Failed));
    }
}
