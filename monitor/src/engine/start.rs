//! From what is on disk and in the kernel to a running engine.
//!
//! In: the kernel side, the store, the configuration. Out: an engine whose rules are in force and its handle. A change
//! that nobody confirmed before the daemon ended is taken back here, before anything is written. Only a kernel that takes
//! no rules prevents a start; whatever else fails is a problem, and the host is guarded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::record::origin;
use tokio::sync::{mpsc, watch};

use super::command::containment::Containment;
use super::defend::Loads;
use super::delta::{Ban, ConfigSetting, Containments, Delta, Standing};
use super::detect::Watch;
use super::handle::{Handle, QUEUE};
use super::kernel::{Guarded, Kernel};
use super::last_good::Kept;
use super::observe::{self, Measured};
use super::refusal::{Code, Refusal};
use super::sources::SourceTable;
use super::{Engine, Parts, answer::Asking, containment, links, lists};
use crate::snapshot::{Reload, address_of};
use crate::store::{AccessRuleKind, ChangeState, Store};
use policy::config::Config;
use policy::{AccessEntry, ImportedList, LimitName, LimitOverride, Numbering, Permission, Rules, compile};
use tuning::Tuner;

/// Where the numbering lies in the store.
const AREA: &str = "engine";
const NUMBERING: &str = "numbering";

/// What an engine is made of.
pub struct Start {
    pub kernel: Box<dyn Kernel>,
    pub store: Store,
    pub config: ConfigSetting,
    /// The file that reloads read.
    pub path: Option<PathBuf>,
    /// The host's own addresses.
    pub own: Vec<IpAddr>,
    /// The far end of the SSH session that the daemon was started from.
    pub operator: Option<IpAddr>,
    /// What works beside the engine.
    pub parts: Parts,
    /// Who the host needs to reach anybody.
    pub network: fn() -> Result<links::Neighbourhood>,
    /// What was done before anything else.
    pub first: First,
}

/// What was known when the interfaces were guarded, before the store was.
#[derive(Debug, Default)]
pub struct First {
    /// How the kernel counts, where it had no rules before.
    pub numbering: Option<Numbering>,
    /// The lists as they were last taken.
    pub lists: Vec<ImportedList>,
    /// Why the file of the configuration is not in force.
    pub broken: Option<String>,
    /// What the store says of itself.
    pub notes: Vec<String>,
}

impl First {
    /// What the snapshot says of the configuration.
    fn reload(&self, config: &ConfigSetting, now: Timestamp) -> Reload {
        let whole = self.broken.is_none();
        Reload {
            at: now,
            succeeded_at: whole.then_some(now),
            error: self.broken.clone(),
            successes: u64::from(whole),
            failures: u64::from(!whole),
            path: config.path.clone(),
        }
    }
}

/// Guards the interfaces before anything else is tried: with the rules that the kernel has, or with those of the
/// configuration and its lists as they were last taken.
pub fn guard(kernel: &mut dyn Kernel, config: &Arc<Config>, mut first: First) -> Result<First> {
    if kernel.rules()?.flips == 0 {
        let mut rules = Rules::new(Arc::clone(config));
        rules.lists = first.lists.iter().filter(|old| names(config, old)).cloned().collect();
        let environment = kernel.environment();
        let _ = lists::fit(&mut rules, &Numbering::default(), &environment);
        let image = compile(&rules, &Numbering::default(), &environment)
            .context("make the kernel's rules of the configuration")?;
        kernel.install(&image).context("put the first rules in force")?;
        first.numbering = Some(image.numbering);
    }
    let wanted = match config.interfaces.names.as_slice() {
        [] => links::with_default_route().unwrap_or_default(),
        named => named.to_vec(),
    };
    kernel.guard(&wanted, config);
    Ok(first)
}

/// Whether the configuration still names a list.
fn names(config: &Config, old: &ImportedList) -> bool {
    config
        .access
        .lists
        .iter()
        .any(|list| list.path.display().to_string() == old.name && list.action == old.action)
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Start {
    /// Writes the rules and makes the engine. Interfaces are guarded by the first turn of its loop.
    pub fn engine(self) -> Result<(Engine, Handle)> {
        let Self { kernel, mut store, config, path, own, operator, parts, network, first } = self;
        let now = Timestamp::now();
        let mut problems = BTreeMap::new();
        let mut troubles = Vec::new();
        let unconfirmed = or_trouble(&mut troubles, Unconfirmed::find(&store)).flatten();
        let before = unconfirmed.as_ref().and_then(|change| change.restore.config.clone());
        let parsed = config.parse()?;
        let (config, parsed) = match before.map(|before| before.parse().map(|parsed| (before, parsed))) {
            Some(Ok((before, parsed))) => {
                problems.insert("configuration", NEVER_CONFIRMED.to_owned());
                (before, parsed)
            }
            Some(Err(error)) => {
                troubles
                    .push(format!("the configuration before the unconfirmed one cannot be read: {error}"));
                (config, parsed)
            }
            None => (config, parsed),
        };
        if let Some(why) = &first.broken {
            problems.insert("configuration", format!("the last good configuration is in force: {why}"));
        }
        let parsed = Arc::new(parsed);
        let mut standing = standing(&store, kernel.as_ref(), &parsed, now, &mut troubles);
        standing.rules.own = own;
        let held = or_trouble(&mut troubles, bans_held(kernel.as_ref(), &standing.rules)).unwrap_or_default();
        if let Some(Unconfirmed { restore, .. }) = &unconfirmed {
            // What was saved never held the rest of it; bans stand in the kernel, containments in the store.
            let held = Delta {
                bans: restore.bans.clone(),
                containments: restore.containments.clone(),
                ..Delta::default()
            };
            standing = held.applied(&standing, now)?;
        }
        let numbering = match &first.numbering {
            Some(numbering) => numbering.clone(),
            None if kernel.rules()?.flips == 0 => Numbering::default(),
            None => or_trouble(&mut troubles, numbering(&store)).unwrap_or_default(),
        };
        // Rules without lists: the lists are read below, and may have to be cut.
        let image = compile(&standing.rules, &numbering, &kernel.environment())
            .context("make the kernel's rules of the configuration")?;
        let reload = first.reload(&config, now);
        let written = kernel.contained()?.into_iter().map(|(key, _)| ((key.high, key.low), None)).collect();
        let watch = Watch::begin(&mut store, &standing.rules, &mut troubles);
        let (sender, requests) = mpsc::channel(QUEUE);
        let (publish, snapshots) = watch::channel(Arc::new(observe::nothing_yet(now, reload.clone())));
        let mut engine = Engine {
            kernel,
            store,
            standing: Standing {
                bans: held,
                rules: Rules { lists: first.lists, ..standing.rules.clone() },
                containments: BTreeMap::new(),
            },
            written,
            config,
            path,
            image,
            judging: None,
            wanted: Vec::new(),
            guarded: Vec::new(),
            sources: SourceTable::default(),
            measured: Measured::default(),
            reload,
            pending: None,
            watch,
            tuner: Tuner::new(standing.rules.config.tuning.clone()),
            learned_at: now,
            pruned_at: None,
            loads: Loads::default(),
            operators: operator.into_iter().collect(),
            unprotected: BTreeSet::new(),
            problems,
            parts,
            network,
            kept: Kept::default(),
            started: now,
            requests,
            publish,
            ending: None,
        };
        engine.tell_of_the_store(&troubles, &first.notes);
        engine.begin_to_judge(standing)?;
        if let Some(Unconfirmed { number, .. }) = unconfirmed {
            engine.fallible("history", |engine| engine.store.settle(number, ChangeState::RolledBack));
            tracing::warn!(
                change = number,
                "nobody confirmed it before the daemon ended, so it is taken back"
            );
        }
        engine.fallible("read what was learned", Engine::remember_learned);
        engine.follow_tuning(now);
        engine.follow_links();
        engine.refuse_to_guard_nothing()?;
        engine.keep_last_good();
        // So that whoever asks right after the start is not told of nothing.
        engine.observe(now, Instant::now());
        Ok((engine, Handle::new(sender, snapshots)))
    }
}

impl Engine {
    fn tell_of_the_store(&mut self, troubles: &[String], notes: &[String]) {
        self.fallible("read the store", |_| {
            anyhow::ensure!(troubles.is_empty(), "{}", troubles.join("; "));
            Ok(())
        });
        self.remember_notes(notes);
        if let Some(why) = self.store.volatile() {
            tracing::error!("store: nothing outlives this process, as {why}; it is tried again");
        }
    }

    /// The rules with their lists, in force for the first time.
    fn begin_to_judge(&mut self, standing: Standing) -> Result<()> {
        let (standing, warnings) = self.with_lists(standing, &Asking::daemon("start"))?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        self.fallible("lists", |_| lists::lists_failed(&warnings));
        self.install(standing).context("put the rules in force")
    }

    /// Interfaces may come later, so that one is missing is no reason not to start, unless it was named on the command
    /// line. That another program holds the only one is.
    fn refuse_to_guard_nothing(&mut self) -> Result<(), Refusal> {
        let named = !self.config.flags.interfaces.is_empty();
        let taken = |row: &&Guarded| row.problem.is_some() && row.ifindex != 0;
        let missing = |row: &&Guarded| row.problem.is_some() && row.ifindex == 0;
        let none = self.guarded.iter().all(|row| row.problem.is_some());
        let refused =
            self.guarded.iter().find(taken).filter(|_| named || none).map(|row| (Code::Conflict, row));
        let refused = refused
            .or_else(|| self.guarded.iter().find(missing).filter(|_| named).map(|row| (Code::NotFound, row)));
        let Some((code, row)) = refused else { return Ok(()) };
        let refusal = Refusal::new(code, row.problem.clone().unwrap_or_default());
        if none {
            // What was loaded for nothing is not left behind.
            self.fallible("remove the kernel side", |engine| engine.kernel.detach());
        }
        Err(refusal)
    }

    pub(super) fn keep_numbering(&mut self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.image.numbering)?;
        self.store.learn(AREA, [(NUMBERING, bytes.as_slice())], Timestamp::now())
    }
}

fn numbering(store: &Store) -> Result<Numbering> {
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

const NEVER_CONFIRMED: &str = "the configuration file was never confirmed, so the one before it is in force; `sluice reload` takes the file";

/// A timed change that outlived its daemon.
struct Unconfirmed {
    number: u64,
    restore: Delta,
}

impl Unconfirmed {
    fn find(store: &Store) -> Result<Option<Self>> {
        let Some(pending) = store.pending()? else { return Ok(None) };
        let restore = serde_json::from_value(pending.restore).context("read the way back of a change")?;
        Ok(Some(Self { number: pending.change, restore }))
    }
}

/// What came of it, or nothing and a sentence more.
fn or_trouble<T>(troubles: &mut Vec<String>, outcome: Result<T>) -> Option<T> {
    outcome.map_err(|error| troubles.push(format!("{error:#}"))).ok()
}

/// What was saved, and the bans that the kernel holds. What cannot be read is left out and told in `troubles`.
pub(super) fn standing(
    store: &Store,
    kernel: &dyn Kernel,
    config: &Arc<Config>,
    now: Timestamp,
    troubles: &mut Vec<String>,
) -> Standing {
    let mut rules = Rules::new(Arc::clone(config));
    let overrides = or_trouble(troubles, store.overrides::<serde_json::Value>()).unwrap_or_default();
    for (key, value) in overrides {
        let read = || -> Result<(LimitName, LimitOverride)> {
            Ok((serde_json::from_str(&key)?, serde_json::from_value(value)?))
        };
        let named = read().with_context(|| format!("the saved limit {key}"));
        if let Some((name, value)) = or_trouble(troubles, named) {
            rules.limits.insert(name, value);
        }
    }
    let orphans: Vec<_> = rules.orphaned_limits().into_iter().cloned().collect();
    for orphan in orphans {
        tracing::warn!(
            "a saved limit names a service or class that is gone: {} {:?}",
            orphan.service,
            orphan.class
        );
        rules.limits.remove(&orphan);
    }
    let mut bans = or_trouble(troubles, bans_held(kernel, &rules)).unwrap_or_default();
    for rule in or_trouble(troubles, store.access(now)).unwrap_or_default() {
        let permission = match rule.kind {
            AccessRuleKind::Exempt => Permission::Exempt,
            AccessRuleKind::Deny => Permission::Deny,
            AccessRuleKind::Ban => {
                let (since, until) = (rule.since, rule.until);
                bans.insert(rule.prefix, Ban { since, until, comment: rule.comment, made_by: rule.made_by });
                continue;
            }
        };
        rules.access.push(AccessEntry {
            prefix: rule.prefix,
            permission,
            until: rule.until,
            reason: rule.comment.unwrap_or_default(),
            origin: rule.made_by,
        });
    }
    Standing { rules, bans, containments: or_trouble(troubles, containments(store, now)).unwrap_or_default() }
}

/// Containments outlive the daemon until they end or are lifted.
fn containments(store: &Store, now: Timestamp) -> Result<Containments> {
    let Some(bytes) = store.learned_one(containment::AREA, containment::CONTAINMENTS)? else {
        return Ok(Containments::new());
    };
    let all: Vec<Containment> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!("the stored containments cannot be read ({error}), so nobody is contained");
        Vec::new()
    });
    let alive = all.into_iter().filter(|one| one.until.is_none_or(|until| until > now));
    Ok(alive.map(|one| (one.subject.clone(), one)).collect())
}

/// The bans of operators that the kernel holds, which need not be saved to outlive a daemon.
fn bans_held(kernel: &dyn Kernel, rules: &Rules) -> Result<BTreeMap<IpNet, Ban>> {
    let mut bans = BTreeMap::new();
    let clock = kernel.environment().clock;
    for (key, ban) in kernel.bans()? {
        let for_ever = ban.until == u64::MAX;
        if ban.origin == origin::OPERATOR && (for_ever || ban.until.wrapping_sub(clock).cast_signed() > 0) {
            let address = address_of(key.address());
            let source = rules.config.source;
            let bits = if address.is_ipv4() { source.ipv4_prefix } else { source.ipv6_prefix };
            let source = IpNet::new(address, bits).unwrap_or_else(|_| IpNet::from(address)).trunc();
            let until = (!for_ever).then(|| kernel.wall(ban.until));
            let made_by = "an operator, before the last start".to_owned();
            bans.insert(source, Ban { since: kernel.wall(ban.since), until, comment: None, made_by });
        }
    }
    Ok(bans)
}
