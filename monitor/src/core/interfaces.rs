//! The interfaces that are to be guarded, and how they are.
//!
//! In: the configuration, and the host's default routes where it names none. Out: rows for the snapshot. Attaching itself
//! is the kernel port's.

use std::collections::BTreeMap;
use std::time::Duration;

use datapath::{AttachMode, Guarded, Interface};
use policy::config::Config;

use super::coverage::{self, Choice, Received, Unjudged};
use super::ports::Turn;
use api::snapshot::Unguarded;
use api::{Code, Error};

/// How often the interfaces that receive traffic and are not guarded are listed.
const LOOK: Duration = Duration::from_secs(5);

/// What is guarded.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Names, in the order of their rows.
    wanted: Vec<String>,
    guarded: Vec<Guarded>,
    /// What each is guarded for.
    stands_for: BTreeMap<String, Vec<String>>,
    received: Option<Received>,
    unguarded: Vec<Unguarded>,
    unjudged: Unjudged,
}

impl Interfaces {
    pub fn guarded(&self) -> &[Guarded] {
        &self.guarded
    }

    /// Whether this interface is to be guarded, there or not.
    pub fn wants(&self, name: &String) -> bool {
        self.wanted.contains(name)
    }

    /// The slots of the interfaces that are guarded, by name.
    pub fn slots(&self) -> BTreeMap<String, u32> {
        let there = self.guarded.iter().filter(|row| row.problem.is_none());
        there.map(|row| (row.name.clone(), row.slot)).collect()
    }

    pub fn guards_loopback(&self) -> bool {
        self.wanted.iter().any(|name| name == "lo")
    }

    /// Whether the egress of any is followed, which containments of workloads need.
    pub fn follows_egress(&self) -> bool {
        self.guarded.iter().any(|row| row.egress)
    }

    /// The members of a bond and the VLANs that this one is guarded for.
    pub fn stands_for(&self, name: &str) -> &[String] {
        self.stands_for.get(name).map_or(&[], Vec::as_slice)
    }

    /// What receives packets that no guarded interface sees.
    pub fn unguarded(&self) -> &[Unguarded] {
        &self.unguarded
    }

    /// What is not guarded, or guarded in vain, one sentence each.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.guarded.iter().filter_map(|row| {
            let name = &row.name;
            if let Some(problem) = &row.problem {
                return Some(format!("{name} is not guarded: {problem}"));
            }
            let packets = self.unjudged.in_slot(row.slot)?;
            Some(format!("nothing is judged on {name}: its last {packets} packets are neither IP nor ARP"))
        })
    }

    /// Takes new counters over.
    pub fn count(&mut self, totals: &[datapath::Total]) {
        self.unjudged.count(totals);
    }

    /// Lists the interfaces that receive traffic and are not guarded, every [`LOOK`].
    pub fn look(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.since_boot;
        if self.received.as_ref().is_some_and(|before| before.age(now) < LOOK) {
            return;
        }
        let listed = turn.host.links();
        let Some(links) = turn.problems.report("list the interfaces", listed) else { return };
        if let Some(before) = &self.received {
            self.unguarded = coverage::unguarded(&links, before, now, &self.guarded);
        }
        self.received = Some(Received::of(&links, now));
    }

    /// Interfaces come and go; what is configured and there is guarded.
    pub fn follow(&mut self, config: &Config, turn: &mut Turn<'_>) {
        let listed = turn.host.links();
        let links = turn.problems.report("list the interfaces", listed);
        if config.interfaces.names.is_empty() {
            match turn.host.default_routes() {
                // What was chosen before stays guarded while it is there: another default route, as a VPN takes it,
                // makes no interface safe.
                Ok(names) => {
                    let there =
                        self.guarded.iter().filter(|row| row.ifindex != 0).map(|row| row.name.clone());
                    let before: Vec<_> = there.filter(|name| !names.contains(name)).collect();
                    let names: Vec<_> = names.into_iter().chain(before).collect();
                    self.choose(&names, links.as_deref());
                }
                Err(error) => tracing::warn!("look for default routes: {error:#}"),
            }
        } else {
            self.choose(&config.interfaces.names, links.as_deref());
        }
        if self.wanted.is_empty() {
            let problem = match config.interfaces.names.as_slice() {
                [] => "no interface is named in [interfaces], and none has a default route".to_owned(),
                names => format!("no interface matches {}", names.join(", ")),
            };
            turn.problems.set("interfaces", format!("{problem}: nothing is guarded"));
        } else {
            turn.problems.clear("interfaces");
        }
        let guarded = turn.kernel.guard(&self.wanted, config);
        for row in &guarded {
            let before = self.guarded.iter().find(|old| old.name == row.name);
            if before.is_none_or(|old| (old.mode, old.ifindex) != (row.mode, row.ifindex)) {
                report(row);
            }
        }
        self.guarded = guarded;
    }

    /// Without a list of the interfaces, what was chosen before stays.
    fn choose(&mut self, names: &[String], links: Option<&[Interface]>) {
        let Some(links) = links else { return };
        let Choice { names, stands_for } = coverage::choose(names, links);
        for (name, members) in &stands_for {
            if self.stands_for.get(name) != Some(members) {
                tracing::info!(
                    interface = name,
                    "it is guarded for {}, whose packets pass there",
                    members.join(", ")
                );
            }
        }
        (self.wanted, self.stands_for) = (names, stands_for);
    }

    /// Who names an interface on the command line waits for an answer: what cannot be guarded is an error. What the
    /// configuration names becomes a problem and is tried again: another program may leave the hook, and a link may come.
    pub fn refuse_to_guard_nothing(&self, named: bool, turn: &mut Turn<'_>) -> Result<(), Error> {
        let none = self.guarded.iter().all(|row| row.problem.is_some());
        if !named {
            return Ok(());
        }
        let refused = |taken: bool| {
            self.guarded.iter().find(|row| row.problem.is_some() && (row.ifindex != 0) == taken)
        };
        let taken = refused(true).map(|row| (Code::Conflict, row));
        let missing = || refused(false).map(|row| (Code::NotFound, row));
        let Some((code, row)) = taken.or_else(missing) else { return Ok(()) };
        let error = Error::new(code, row.problem.clone().unwrap_or_default());
        if none {
            // What was loaded for nothing is not left behind.
            let detached = turn.kernel.detach();
            turn.problems.report("remove the kernel side", detached);
        }
        Err(error)
    }
}

/// As logs and metrics call it.
pub const fn mode_label(mode: AttachMode) -> &'static str {
    match mode {
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
        AttachMode::Absent => "absent",
    }
}

fn report(row: &Guarded) {
    let (name, mode) = (&row.name, mode_label(row.mode));
    match &row.problem {
        None => tracing::info!(interface = name, mode, "interface is guarded"),
        Some(problem) => tracing::warn!(interface = name, mode, "interface is not guarded: {problem}"),
    }
}
