//! What the kernel was last given, and the way from the desired state into it: compiled, written beside what judges,
//! flipped.
//!
//! In: the state that is desired now and the next one. Out: the kernel does as the next one says, or an error and nothing
//! is different. It asks nobody and records nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use datapath::{BanError, Kernel};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use monitor_common::plain::Plain as _;
use monitor_common::record::{self, origin, scope};

use super::address::key;
use super::contained::{self, Contained};
use super::defend::tighten;
use super::delta::{self, Containments, Standing};
use super::ports::Turn;
use super::response;
use super::sessions::Sessions;
use crate::store::Storage;
use api::{Code, Error};
use policy::{Automatic, CompileError, Edit, Environment, Image, Numbering, Rules, Surroundings, compile};

/// Where the numbering lies in the store.
const AREA: &str = "engine";
const NUMBERING: &str = "numbering";

/// A numbering of so many denials is kept with every change. One of more is kept at most once in a millisecond for each, because
/// writing it takes long; what a crash loses of it is only which denial counted what.
const SHORT: usize = 4096;
const PER_DENIAL: Duration = Duration::from_millis(1);

/// What the store has of the numbering.
#[derive(Debug, Default)]
struct Kept {
    /// It is not what the kernel has.
    owed: bool,
    /// On the boot clock.
    at: Duration,
    services: BTreeMap<String, u32>,
}

/// The kernel's rules and what is laid over the desired ones without being a decision: sessions, automatic aggregates and
/// the defence factor.
#[derive(Debug)]
pub struct Installed {
    image: Image,
    /// The rules that the image was compiled from; nothing before the first.
    judging: Option<Rules>,
    numbering: Kept,
    contained: Contained,
    sessions: Sessions,
    surroundings: Surroundings,
    /// What every limit of a source is multiplied by.
    factor: f64,
    /// Services whose strangers are held to a share.
    automatic: BTreeMap<String, Automatic>,
    guards_loopback: bool,
}

impl Installed {
    /// Nothing is installed yet: `image` only carries the numbers that are taken.
    pub fn new(image: Image, contained: Contained, sessions: Sessions) -> Self {
        let surroundings = Surroundings::default();
        Self {
            image,
            judging: None,
            numbering: Kept::default(),
            contained,
            sessions,
            surroundings,
            factor: 1.0,
            automatic: BTreeMap::new(),
            guards_loopback: false,
        }
    }

    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The rules in force, what is laid over the desired ones included.
    pub const fn judging(&self) -> Option<&Rules> {
        self.judging.as_ref()
    }

    pub const fn contained(&self) -> &Contained {
        &self.contained
    }

    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub const fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    pub const fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// From the next installation on. True when they are others.
    pub fn surroundings_are(&mut self, surroundings: Surroundings) -> bool {
        std::mem::replace(&mut self.surroundings, surroundings) != self.surroundings
    }

    /// From the next installation on.
    pub const fn multiply_limits(&mut self, factor: f64) {
        self.factor = factor;
    }

    /// From the next installation on.
    pub fn automatic_aggregates_are(&mut self, automatic: BTreeMap<String, Automatic>) {
        self.automatic = automatic;
    }

    /// From the next installation on.
    pub const fn guard_loopback(&mut self, guarded: bool) {
        self.guards_loopback = guarded;
    }

    /// The wall clock was set.
    pub fn move_ends(&mut self, by: SignedDuration) {
        self.contained.move_ends(by);
    }

    /// Puts `next` in force.
    pub fn install(&mut self, now: &Standing, next: &Standing, turn: &mut Turn<'_>) -> Result<(), Error> {
        let rules = self.laid_over(&next.rules);
        let work = self.work(&rules, &turn.kernel.environment())?;
        // Bans first: their table may be full, and then nothing at all is to change.
        let added: Vec<_> =
            next.bans.iter().filter(|(source, ban)| now.bans.get(source) != Some(ban)).collect();
        for (done, (source, ban)) in added.iter().enumerate() {
            if let Err(error) = write_ban(**source, ban, &mut *turn.kernel) {
                for (source, _) in &added[..done] {
                    restore_ban(**source, now, turn);
                }
                return Err(error);
            }
        }
        if let Err(error) = self.contained.write(&next.containments, turn) {
            for (source, _) in &added {
                restore_ban(**source, now, turn);
            }
            return Err(error);
        }
        if let Some(work) = work {
            if let Err(error) = self.perform(work, &rules, &mut *turn.kernel) {
                for (source, _) in &added {
                    restore_ban(**source, now, turn);
                }
                self.follow_containments(&now.containments, turn);
                return Err(Error::failed(&error.context("write the rules")));
            }
            self.judging = Some(rules);
            self.settle_numbers(turn);
        }
        for source in now.bans.keys().filter(|source| !next.bans.contains_key(source)) {
            let removed = turn.kernel.remove_ban(key(source.network()));
            turn.problems.report("bans", removed);
        }
        if now.containments != next.containments {
            contained::keep(&next.containments, turn);
        }
        Ok(())
    }

    /// What it takes to put `rules` in force; nothing where they are.
    fn work(&self, rules: &Rules, environment: &Environment) -> Result<Option<Work>, Error> {
        if let Some(judging) = &self.judging {
            if judging == rules {
                return Ok(None);
            }
            if let Some(edit) = Edit::between(judging, rules, &self.image) {
                return Ok(Some(Work::Edit(edit)));
            }
        }
        let compiled = compile(rules, &self.image.numbering, environment);
        let image = compiled
            .map_err(|CompileError(why)| Error::new(Code::Invalid, why).next("nothing was changed"))?;
        Ok(Some(Work::Whole(Box::new(image))))
    }

    fn perform(&mut self, work: Work, rules: &Rules, kernel: &mut dyn Kernel) -> Result<()> {
        match work {
            Work::Whole(image) => {
                kernel.install(&image)?;
                self.image = *image;
            }
            Work::Edit(edit) => {
                let edited = self.image.edit(&edit, rules, &kernel.environment());
                if let Err(error) = kernel.install_edit(&self.image, &edited) {
                    // The image is ahead of the kernel, so the next rules are compiled.
                    self.judging = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Makes the kernel's table hold these containments; cgroups of workloads are looked for again.
    pub fn follow_containments(&mut self, containments: &Containments, turn: &mut Turn<'_>) {
        let outcome = self.contained.write(containments, turn);
        turn.problems.report("containments", outcome.map_err(Into::into));
    }

    /// `rules` with the sessions of operators exempt, and tightened while the host is overloaded.
    fn laid_over(&self, rules: &Rules) -> Rules {
        let mut effective = rules.clone();
        effective.surroundings.clone_from(&self.surroundings);
        effective.automatic.clone_from(&self.automatic);
        tighten(&mut effective, self.factor);
        if rules.config.access.operator_safe {
            effective.access.extend(self.sessions.exemptions(self.guards_loopback));
        }
        effective
    }

    /// Numbers that fell free are swept at once, and the numbering is kept for the next start.
    fn settle_numbers(&mut self, turn: &mut Turn<'_>) {
        let retired: Vec<_> = self.image.numbering.retired_services().into_iter().collect();
        if !retired.is_empty() {
            let forgotten = turn.kernel.forget_services(&retired);
            if turn.problems.report("sweep", forgotten).is_some() {
                self.image.numbering.swept_services(&retired);
            }
        }
        // The kernel forgot them as it took the rules.
        let retired = self.image.numbering.retired_denials();
        self.image.numbering.swept_denials(&retired);
        self.numbering.owed = true;
        self.keep_numbering_when_due(turn);
    }

    /// Keeps the numbering, unless it is long and was kept not long ago.
    pub fn keep_numbering_when_due(&mut self, turn: &mut Turn<'_>) {
        let numbering = &self.image.numbering;
        let passed = turn.now.since_boot.saturating_sub(self.numbering.at);
        let is_due = numbering.denials().len() <= SHORT
            || passed
                >= PER_DENIAL.saturating_mul(u32::try_from(numbering.denials().len()).unwrap_or(u32::MAX))
            || *numbering.services() != self.numbering.services;
        if is_due {
            self.keep_numbering(turn);
        }
    }

    /// Keeps the numbering, if it changed since it was kept.
    pub fn keep_numbering(&mut self, turn: &mut Turn<'_>) {
        if !self.numbering.owed {
            return;
        }
        let kept = serde_json::to_vec(&self.image.numbering)
            .map_err(Into::into)
            .and_then(|bytes| turn.store.learn(AREA, &[(NUMBERING, bytes.as_slice())], turn.now.wall));
        let failed = turn.problems.report("numbering", kept).is_none();
        let services = self.image.numbering.services().clone();
        self.numbering = Kept { owed: failed, at: turn.now.since_boot, services };
    }
}

/// How the rules get into the kernel.
enum Work {
    Whole(Box<Image>),
    Edit(Edit),
}

/// The numbering of the process before.
pub fn numbering(store: &dyn Storage) -> Result<Numbering> {
    let Some(bytes) = store.learned_one(AREA, NUMBERING)? else { return Ok(Numbering::default()) };
    match serde_json::from_slice(&bytes) {
        Ok(numbering) => Ok(numbering),
        Err(error) => {
            tracing::warn!(
                "the stored numbering cannot be read ({error}), so counters may stand under other names"
            );
            Ok(Numbering::default())
        }
    }
}

fn write_ban(source: IpNet, ban: &delta::Ban, kernel: &mut dyn Kernel) -> Result<(), Error> {
    let clock = |at: Timestamp| kernel.clock(at);
    let value = record::Ban {
        until: ban.until.map_or(u64::MAX, clock),
        since: clock(ban.since),
        strikes: 1,
        origin: origin::OPERATOR,
        scope: if ban.made_by == response::MADE_BY { scope::NEW_CONTACTS } else { scope::EVERYTHING },
        ..record::Ban::zeroed()
    };
    kernel.set_ban(key(source.network()), value).map_err(|error| match error {
        BanError::Full(capacity) => Error::new(
            Code::Full,
            format!("the ban table is full ({capacity} entries), so nothing was changed"),
        )
        .next("lift some bans, deny a wider prefix, or raise capacity.bans"),
        BanError::Failed(error) => Error::failed(&error.context(format!("ban {source}"))),
    })
}

/// Back to what holds, after a change that came only half way.
fn restore_ban(source: IpNet, now: &Standing, turn: &mut Turn<'_>) {
    if let Some(old) = now.bans.get(&source) {
        if let Err(error) = write_ban(source, old, &mut *turn.kernel) {
            tracing::error!("put the ban of {source} back: {error}");
        }
    } else {
        let removed = turn.kernel.remove_ban(key(source.network()));
        turn.problems.report("bans", removed);
    }
}
