//! The interfaces that are to be guarded, and how they are.
//!
//! In: the configuration, and the host's default routes where it names none. Out: rows for the snapshot. Attaching itself
//! is the kernel port's.

use datapath::{AttachMode, Guarded};
use policy::config::Config;

use super::ports::Turn;
use api::{Code, Error};

/// What is guarded.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Names, in the order of their rows.
    wanted: Vec<String>,
    guarded: Vec<Guarded>,
}

impl Interfaces {
    pub fn guarded(&self) -> &[Guarded] {
        &self.guarded
    }

    /// Whether this interface is to be guarded, there or not.
    pub fn wants(&self, name: &String) -> bool {
        self.wanted.contains(name)
    }

    pub fn guards_loopback(&self) -> bool {
        self.wanted.iter().any(|name| name == "lo")
    }

    /// Whether the egress of any is followed, which containments of workloads need.
    pub fn follows_egress(&self) -> bool {
        self.guarded.iter().any(|row| row.egress)
    }

    /// What is not guarded, one sentence each.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.guarded.iter().filter_map(|row| {
            row.problem.as_ref().map(|problem| format!("{} is not guarded: {problem}", row.name))
        })
    }

    /// Interfaces come and go; what is configured and there is guarded.
    pub fn follow(&mut self, config: &Config, turn: &mut Turn<'_>) {
        if config.interfaces.names.is_empty() {
            match turn.host.default_routes() {
                // What was chosen before stays guarded while it is there: another default route, as a VPN takes it,
                // makes no interface safe.
                Ok(names) => {
                    let there =
                        self.guarded.iter().filter(|row| row.ifindex != 0).map(|row| row.name.clone());
                    let before: Vec<_> = there.filter(|name| !names.contains(name)).collect();
                    self.wanted = names.into_iter().chain(before).collect();
                }
                Err(error) => tracing::warn!("look for default routes: {error:#}"),
            }
        } else {
            self.wanted.clone_from(&config.interfaces.names);
        }
        if self.wanted.is_empty() {
            let problem =
                "no interface is named in [interfaces], and none has a default route: nothing is guarded";
            turn.problems.set("interfaces", problem.to_owned());
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

    /// Who names an interface on the command line waits for an answer: what cannot be guarded is an error. What the
    /// configuration names becomes a problem and is tried again: another program may leave the hook, and a link may come.
    pub fn refuse_to_guard_nothing(&self, named: bool, turn: &mut Turn<'_>) -> Result<(), Error> {
        let none = self.guarded.iter().all(|row| row.problem.is_some());
        if none && !self.guarded.is_empty() {
            tracing::warn!("nothing is guarded: no limit is in force on any interface");
        }
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
