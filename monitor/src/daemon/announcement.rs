//! What a start says: which configuration, which interfaces in which mode, who observes and who enforces, and where the
//! daemon listens. And, while it runs, the status line of the service manager.
//!
//! In: a snapshot. Out: sentences. It logs nothing by itself.

use std::collections::BTreeMap;

use policy::config::{Config, Mode};

use crate::snapshot::{Interface, Snapshot};

/// So many names are said, and then how many more.
const MOST_NAMES: usize = 12;

/// What is guarded now, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guarding {
    /// Whether any interface is.
    pub any: bool,
    pub status: String,
}

/// For the status line, and for the log when it changes.
pub(super) fn guarding(snapshot: &Snapshot) -> Guarding {
    let (held, bare): (Vec<_>, Vec<_>) = snapshot.interfaces.iter().partition(|row| row.problem.is_none());
    let any = !held.is_empty();
    let mut status = if any {
        format!("guarding {}", together(held.into_iter().map(shown)))
    } else {
        "nothing is guarded".to_owned()
    };
    if !bare.is_empty() {
        status.push_str("; not guarded: ");
        status.push_str(&together(bare.into_iter().map(|row| row.name.clone())));
    }
    Guarding { any, status }
}

fn shown(row: &Interface) -> String {
    let (name, mode) = (&row.name, row.mode.label());
    match row.stands_for.as_slice() {
        [] => format!("{name} ({mode})"),
        members => format!("{name} ({mode}, for {})", members.join(" and ")),
    }
}

/// Where the configuration comes from.
pub(super) fn configuration(snapshot: &Snapshot) -> String {
    match (&snapshot.reload.path, &snapshot.reload.error) {
        (_, Some(_)) => "configuration: the last good one".to_owned(),
        (Some(path), None) => format!("configuration: {path}"),
        (None, None) => "configuration: the embedded default".to_owned(),
    }
}

/// Which services drop, which only count, and which have no limit.
pub(super) fn modes(snapshot: &Snapshot, config: &Config) -> String {
    let mut strongest: BTreeMap<&str, Mode> =
        snapshot.services.iter().map(|service| (service.name.as_str(), Mode::Off)).collect();
    for limit in &snapshot.limits {
        let known = strongest.entry(&limit.service).or_insert(Mode::Off);
        if rank(limit.mode) > rank(*known) {
            *known = limit.mode;
        }
    }
    let of = |mode| {
        let names = strongest.iter().filter(|(_, found)| **found == mode).map(|(name, _)| (*name).to_owned());
        let told = together(names);
        if told.is_empty() { "none".to_owned() } else { told }
    };
    let mut told = format!(
        "services that enforce: {}; that observe: {}; without a limit: {}",
        of(Mode::Enforce),
        of(Mode::Observe),
        of(Mode::Off)
    );
    if config.interfaces.watch_only {
        told.push_str("; interfaces.watch_only: nothing is dropped");
    }
    told
}

const fn rank(mode: Mode) -> u8 {
    match mode {
        Mode::Off => 0,
        Mode::Observe => 1,
        Mode::Enforce => 2,
    }
}

/// Names of any number, in a line.
fn together(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    match names.len().checked_sub(MOST_NAMES) {
        Some(more @ 1..) => format!("{} and {more} more", names[..MOST_NAMES].join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use policy::config::Config;

    use super::{configuration, guarding, modes, together};
    use crate::cli::samples::snapshot;
    use crate::snapshot::{AttachMode, Service};
    use policy::config::Mode;

    #[test]
    fn the_status_line_says_what_is_guarded_and_what_is_not() {
        let mut snapshot = snapshot();
        assert_eq!(guarding(&snapshot).status, "guarding eth0 (native)");
        let mut taken = snapshot.interfaces[0].clone();
        snapshot.interfaces[0].stands_for = vec!["eth1".to_owned(), "eth2".to_owned()];
        (taken.name, taken.mode, taken.problem) =
            ("eth9".to_owned(), AttachMode::Absent, Some("its hook is taken".to_owned()));
        snapshot.interfaces.push(taken.clone());
        let told = guarding(&snapshot);
        assert_eq!(told.status, "guarding eth0 (native, for eth1 and eth2); not guarded: eth9");
        assert!(told.any);
        snapshot.interfaces = vec![taken];
        let told = guarding(&snapshot);
        assert_eq!((told.any, told.status.as_str()), (false, "nothing is guarded; not guarded: eth9"));
        snapshot.interfaces.clear();
        assert_eq!(guarding(&snapshot).status, "nothing is guarded");
    }

    #[test]
    fn every_service_is_named_under_its_strongest_mode() {
        let mut snapshot = snapshot();
        snapshot.services = ["default", "dns", "web"]
            .into_iter()
            .zip(0..)
            .map(|(name, number)| Service { number, name: name.to_owned() })
            .collect();
        let mut limit = snapshot.limits[0].clone();
        (limit.service, limit.mode) = ("web".to_owned(), Mode::Observe);
        snapshot.limits = vec![limit.clone()];
        limit.mode = Mode::Enforce;
        snapshot.limits.push(limit.clone());
        (limit.service, limit.mode) = ("default".to_owned(), Mode::Observe);
        snapshot.limits.push(limit);
        let mut config = Config::default();
        let wanted = "services that enforce: web; that observe: default; without a limit: dns";
        assert_eq!(modes(&snapshot, &config), wanted);
        config.interfaces.watch_only = true;
        assert!(modes(&snapshot, &config).ends_with("nothing is dropped"));
    }

    #[test]
    fn the_configuration_is_named() {
        let mut snapshot = snapshot();
        (snapshot.reload.path, snapshot.reload.error) = (None, None);
        assert_eq!(configuration(&snapshot), "configuration: the embedded default");
        snapshot.reload.path = Some("/etc/sluice/sluice.toml".to_owned());
        assert_eq!(configuration(&snapshot), "configuration: /etc/sluice/sluice.toml");
        snapshot.reload.error = Some("line 3".to_owned());
        assert_eq!(configuration(&snapshot), "configuration: the last good one");
    }

    #[test]
    fn a_thousand_names_are_one_line() {
        let names = (0..15).map(|number| format!("e{number}"));
        assert!(together(names).ends_with("e11 and 3 more"));
    }
}
