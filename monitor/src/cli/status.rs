//! `sluice status`: is it guarding, how well, and what is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::status::ShowStatus;
use clap::Args;
use datapath::Left;
use jiff::Timestamp;
use monitor_common::verdict::Action;

use super::table::Page;
use super::{Context, Execute, Exit, Failure, figures};
use crate::daemon;
use crate::engine::delta::Flags;
use crate::snapshot::{Findings, ListState, Snapshot, Total};

/// Shows what is guarded, what is dropped and what is wrong
///
/// Without a daemon it says which limits are still in force in the kernel.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Without a daemon: the configuration that it ran with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without a daemon: where it pinned programs and maps
    #[arg(long, value_name = "DIRECTORY")]
    pin_directory: Option<PathBuf>,
}

impl Execute for Status {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match context.ask(&ShowStatus {}) {
            Ok(status) => context.show(&status, |status, page| render(&status.answer, page)),
            Err(failure) if failure.exit == Exit::NotRunning => Err(self.without_daemon(failure)),
            Err(failure) => Err(failure),
        }
    }
}

impl Status {
    /// The failure, with what the pins say about the kernel side.
    fn without_daemon(self, mut failure: Failure) -> Failure {
        let flags = Flags { pin_directory: self.pin_directory, ..Flags::default() };
        let options = daemon::Options { config: self.config, flags };
        let panic = daemon::left_passing(&options);
        let said = match daemon::left_in_force(&options) {
            Ok((pins, left)) if panic.is_ok_and(|on| on == Some(true)) => {
                format!("PANIC: EVERYTHING PASSES, `sluice panic off` ends it; otherwise {}", in_force(&pins, &left))
            }
            Ok((pins, left)) => in_force(&pins, &left),
            Err(error) => format!("whether limits are still in force in the kernel is not known: {error:#}"),
        };
        failure.message = format!("{}; {said}", failure.message);
        failure
    }
}

/// What the kernel goes on doing without a daemon.
fn in_force(pins: &Path, left: &[Left]) -> String {
    let guarded: Vec<_> = left.iter().filter(|one| one.in_force).collect();
    let Some(oldest) = guarded.iter().map(|one| one.since).min() else {
        return format!(
            "nothing that is pinned in {} is in force in the kernel: no interface is guarded by it",
            pins.display()
        );
    };
    let names: Vec<_> = guarded.iter().map(|one| one.interface.as_str()).collect();
    let since = Timestamp::try_from(oldest).map_or_else(|_| "an unknown time".to_owned(), figures::moment);
    format!(
        "the limits of the last daemon are in force in the kernel on {} (since {since}); `sluice detach` removes them",
        names.join(", ")
    )
}

/// The whole page.
pub fn render(snapshot: &Snapshot, page: &mut Page) {
    let Snapshot { at, started, build, rules, sources, reload, .. } = snapshot;
    if let Some(panic) = &snapshot.panic {
        let (since, by) = (figures::ago(panic.since, *at), &panic.made_by);
        page.line(format!("PANIC: EVERYTHING PASSES since {since}, by {by}; `sluice panic off` ends it"));
    }
    let up = figures::span(at.as_second().saturating_sub(started.as_second()));
    page.field("sluice", format!("{}, up {up}", build.version));
    let file = reload.path.as_deref().unwrap_or("embedded default");
    let loaded = reload.succeeded_at.map(|then| figures::ago(then, *at));
    page.field("configuration", format!("{file}, loaded {}", loaded.as_deref().unwrap_or("never")));
    if let Some(error) = &reload.error {
        page.field("", format!("last reload failed {}: {error}", figures::ago(reload.at, *at)));
    }
    if !snapshot.confinement.user.is_empty() {
        page.field("runs as", daemon::confine::sentence(&snapshot.confinement));
    }
    page.field("rules", format!("generation {}, changed {} times", rules.generation, rules.flips));
    page.field("sources", format!("{} tracked, {} over a limit", sources.tracked, sources.exceeding));
    page.field("bans", snapshot.banned.all().to_string());
    page.field("containments", snapshot.containments.to_string());
    page.field("findings", findings(&snapshot.findings));
    for list in &snapshot.lists {
        page.field("list", list_line(list, *at));
    }
    let of = |bytes, most| format!("{} of {}", figures::bytes(bytes), figures::bytes(most));
    let (store, audit) = (&snapshot.store, &snapshot.audit);
    page.field(
        "store",
        format!("{}; audit {}", of(store.bytes, store.most_bytes), of(audit.bytes, audit.most_bytes)),
    );
    if let Some(pending) = &snapshot.pending {
        let left = figures::until(pending.until, *at);
        page.field("waiting", format!("change {} ({}) is taken back {left}", pending.change, pending.summary));
    }
    for problem in &snapshot.problems {
        page.field("problem", problem);
    }
    page.blank();
    interfaces(snapshot, page);
    page.blank();
    services(snapshot, page);
    fills(snapshot, page);
}

fn interfaces(snapshot: &Snapshot, page: &mut Page) {
    let rows = snapshot.interfaces.iter().map(|interface| {
        let of_it = |total: &&Total| total.interface == interface.name;
        let flows = Flows::of(snapshot.totals.iter().filter(of_it));
        let flood = match interface.flood.since {
            Some(since) if interface.flood.active => format!("since {}", figures::ago(since, snapshot.at)),
            _ => "calm".to_owned(),
        };
        let egress = if interface.egress { "followed" } else { "-" };
        let note = interface.problem.clone().unwrap_or_else(|| match interface.stands_for.as_slice() {
            [] => String::new(),
            members => format!("for {}", members.join(", ")),
        });
        let mut row = vec![interface.name.clone(), interface.mode.label().to_owned(), egress.to_owned(), flood];
        row.extend(flows.cells());
        row.push(note);
        row
    });
    let headings =
        ["INTERFACE", "MODE", "~EGRESS", "FLOOD", ">PASSED/S", ">DROPPED/S", "~>WOULD DROP/S", "~>DROPPED", ""];
    page.table(&headings, rows.collect(), "no interface is guarded; name some under [interfaces]");
    if !snapshot.unguarded.is_empty() {
        let told = snapshot.unguarded.iter();
        let told = told.map(|row| format!("{} ({}/s)", row.name, figures::rate(row.packets_per_second)));
        page.line(format!("not guarded, with traffic: {}", told.collect::<Vec<_>>().join(", ")));
    }
}

/// Every service, with or without packets: what is asked of it is decided before they come.
pub fn by_service(snapshot: &Snapshot) -> BTreeMap<&str, Vec<&Total>> {
    let mut by_service: BTreeMap<&str, Vec<&Total>> =
        snapshot.services.iter().map(|service| (service.name.as_str(), Vec::new())).collect();
    for total in &snapshot.totals {
        by_service.entry(&total.service).or_default().push(total);
    }
    by_service
}

fn services(snapshot: &Snapshot, page: &mut Page) {
    let rows = by_service(snapshot).into_iter().map(|(service, totals)| {
        let mut row = vec![service.to_owned(), snapshot.modes(service)];
        let flows = Flows::of(totals.iter().copied());
        row.extend(flows.cells());
        row.push(figures::count(flows.would_drop));
        row.push(reasons(&totals));
        row
    });
    let headings = [
        "SERVICE",
        "MODE",
        ">PASSED/S",
        ">DROPPED/S",
        "~>WOULD DROP/S",
        "~>DROPPED",
        "~>WOULD DROP",
        "DROPPED FOR",
    ];
    page.table(&headings, rows.collect(), "no service is known");
}

/// One interface: how it is guarded, and why packets end at it.
pub fn one_interface(snapshot: &Snapshot, name: &str, page: &mut Page) {
    let Some(interface) = snapshot.interfaces.iter().find(|interface| interface.name == name) else {
        return page.line(format!("{name} is not guarded"));
    };
    page.field("interface", name);
    page.field("mode", interface.mode.label());
    page.field("egress", if interface.egress { "followed" } else { "not followed" });
    page.field("floods", interface.flood.floods.to_string());
    if let Some(problem) = &interface.problem {
        page.field("problem", problem);
    }
    if !interface.stands_for.is_empty() {
        page.field("guarded for", interface.stands_for.join(", "));
    }
    page.blank();
    let rows = snapshot.totals.iter().filter(|total| total.interface == name).map(|total| {
        vec![
            total.service.clone(),
            total.reason.label().to_owned(),
            figures::rate(total.ended_per_second),
            figures::count(total.ended.packets),
            figures::bytes(total.ended.bytes),
            figures::rate(total.would_drop_per_second),
        ]
    });
    let headings = ["SERVICE", "REASON", ">PACKETS/S", ">PACKETS", "~>BYTES", "~>WOULD DROP/S"];
    page.table(&headings, rows.collect(), "no packet was seen");
}

/// Why packets of these totals were dropped, most frequent first.
pub fn reasons(totals: &[&Total]) -> String {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for total in totals.iter().filter(|total| total.reason.action() != Action::Pass) {
        *reasons.entry(total.reason.label()).or_default() += total.ended.packets;
    }
    let mut reasons: Vec<_> = reasons.into_iter().filter(|(_, packets)| *packets > 0).collect();
    reasons.sort_by_key(|(_, packets)| std::cmp::Reverse(*packets));
    reasons.into_iter().map(|(label, _)| label).collect::<Vec<_>>().join(", ")
}

/// Tables that fill up say so before they refuse.
fn fills(snapshot: &Snapshot, page: &mut Page) {
    for map in &snapshot.maps {
        let Some(entries) = map.entries else { continue };
        if map.capacity > 0 && entries.saturating_mul(10) >= map.capacity.saturating_mul(9) {
            page.blank();
            page.line(format!("map {} is {entries} of {} full", map.name, map.capacity));
        }
    }
}

/// Sums over totals.
#[derive(Debug, Default)]
pub struct Flows {
    pub passed_per_second: f64,
    pub dropped_per_second: f64,
    pub would_drop_per_second: f64,
    pub dropped: u64,
    pub would_drop: u64,
}

impl Flows {
    pub fn of<'a>(totals: impl Iterator<Item = &'a Total>) -> Self {
        let mut flows = Self::default();
        for total in totals {
            match total.reason.action() {
                Action::Pass => flows.passed_per_second += total.ended_per_second,
                Action::Drop | Action::Answer => {
                    flows.dropped_per_second += total.ended_per_second;
                    flows.dropped += total.ended.packets;
                }
            }
            flows.would_drop_per_second += total.would_drop_per_second;
            flows.would_drop += total.would_drop.packets;
        }
        flows
    }

    fn cells(&self) -> [String; 4] {
        [
            figures::rate(self.passed_per_second),
            figures::rate(self.dropped_per_second),
            figures::rate(self.would_drop_per_second),
            figures::count(self.dropped),
        ]
    }
}

/// What of a list is in force, and how fresh it is.
fn list_line(list: &ListState, at: Timestamp) -> String {
    let mut told = format!("{}: {} prefixes, {}", list.name, list.prefixes, list.action);
    if list.skipped > 0 {
        let skipped = format!(", {} entries skipped", list.skipped);
        told.push_str(&skipped);
    }
    if let Some(fetched) = list.fetched {
        let fetched = format!(", fetched {}", figures::ago(fetched, at));
        told.push_str(&fetched);
    }
    told
}

/// How many are open, and what is not judged yet because it is still learned.
fn findings(findings: &Findings) -> String {
    let learning = [("new edges", findings.edges_in_s), ("odd hours", findings.hours_in_s)];
    let learning = learning.into_iter().filter(|(_, seconds)| *seconds > 0).map(|(what, seconds)| {
        format!("{what} are judged in {}", figures::span(seconds.try_into().unwrap_or(i64::MAX)))
    });
    let open = format!("{} open", findings.open);
    std::iter::once(open).chain(learning).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::{Left, in_force, render};
    use crate::cli::table::Page;
    use crate::cli::samples::snapshot;
    use api::snapshot::{ListState, Unguarded};

    #[test]
    fn a_page_says_what_is_guarded_and_what_is_dropped() {
        let mut page = Page::plain();
        render(&snapshot(), &mut page);
        let wanted = "\
sluice        0.1.0, up 1 h 1 min
configuration embedded default, loaded just now
runs as       user sluice, no capabilities, writes its own places (Landlock 6), system calls filtered
rules         generation 1, changed 3 times
sources       1 tracked, 1 over a limit
bans          1
containments  1
findings      0 open
store         0 B of 0 B; audit 0 B of 0 B

INTERFACE  MODE    EGRESS  FLOOD  PASSED/S  DROPPED/S  WOULD DROP/S  DROPPED
eth0       native  -       calm     2.00 k     48.0 k             0   1.20 M

SERVICE  MODE      PASSED/S  DROPPED/S  WOULD DROP/S  DROPPED  WOULD DROP  DROPPED FOR
default  no limit         0          0             0        0           0
web      enforce     2.00 k     48.0 k             0   1.20 M           0  packet_rate
";
        assert_eq!(page.text(), wanted);
    }

    #[test]
    fn lists_say_how_much_of_them_is_in_force_and_how_old_it_is() {
        let mut snapshot = snapshot();
        let fetched = Some("2026-11-22T11:58:00Z".parse().unwrap());
        let name = "https://lists.example/drop".to_owned();
        snapshot.lists = vec![ListState { name, action: "deny".to_owned(), prefixes: 812, skipped: 2, fetched, ..ListState::default() }];
        let mut page = Page::plain();
        render(&snapshot, &mut page);
        let wanted = "list          https://lists.example/drop: 812 prefixes, deny, 2 entries skipped, fetched 2 min ago\n";
        let text = page.text();
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn interfaces_that_carry_traffic_without_a_guard_are_listed() {
        let mut snapshot = snapshot();
        snapshot.interfaces[0].stands_for = vec!["eth1".to_owned(), "eth2".to_owned()];
        snapshot.unguarded = vec![
            Unguarded { name: "docker0".to_owned(), packets_per_second: 12.0 },
            Unguarded { name: "tun0".to_owned(), packets_per_second: 0.2 },
        ];
        let mut page = Page::plain();
        render(&snapshot, &mut page);
        let text = page.text();
        for wanted in ["not guarded, with traffic: docker0 (12/s), tun0 (0.20/s)\n", "1.20 M  for eth1, eth2\n"] {
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn without_a_daemon_the_page_says_what_the_kernel_goes_on_doing() {
        let pins = std::path::Path::new("/pins");
        let since = std::time::UNIX_EPOCH + std::time::Duration::from_hours(500_000);
        let left = |name: &str, in_force| Left { interface: name.to_owned(), in_force, since };
        let said = in_force(pins, &[left("eth0", true), left("gone0", false)]);
        assert!(said.contains("in force in the kernel on eth0 (since 2027-01-15"), "{said}");
        assert!(in_force(pins, &[left("gone0", false)]).contains("no interface is guarded"));
        assert!(in_force(pins, &[]).contains("pinned in /pins is in force in the kernel: no interface is guarded"));
    }

    #[test]
    fn panic_is_the_first_line() {
        let mut snapshot = snapshot();
        let since = "2026-11-22T11:58:00Z".parse().unwrap();
        snapshot.panic = Some(api::snapshot::Panic { since, made_by: "uid 0".to_owned() });
        let mut page = Page::plain();
        render(&snapshot, &mut page);
        let text = page.text();
        assert!(text.starts_with("PANIC: EVERYTHING PASSES since 2 min ago, by uid 0; "), "{text}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut snapshot = snapshot();
        snapshot.problems.push("eth1 is absent".to_owned());
        snapshot.reload.error = Some("sluice.toml:3: unknown key".to_owned());
        snapshot.maps[0].entries = Some(131_000);
        let mut page = Page::plain();
        render(&snapshot, &mut page);
        let text = page.text();
        for wanted in ["eth1 is absent", "last reload failed", "map SOURCES is 131000 of 131072 full"] {
            assert!(text.contains(wanted), "{text}");
        }
    }
}
