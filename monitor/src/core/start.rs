//! From what is in the store and in the kernel to a core.
//!
//! In: the configuration, the ports. Out: a core whose rules are in force. A change that nobody confirmed before the
//! daemon ended is taken back here, before anything is written.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use datapath::{Interface, Kernel};
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::record::{origin, scope};

use super::alerts;
use super::audit;
use super::change::{Changes, Desired};
use super::contained::{self, Contained};
use super::coverage;
use super::delta::{Ban, ConfigSetting, Delta, Standing};
use super::install::{Installed, numbering};
use super::lists;
use super::names::source_of;
use super::ports::Turn;
use super::response;
use super::sessions::Sessions;
use super::silences::Silences;
use super::supervise;
use super::tune::Tune;
use super::watch::Watch;
use crate::snapshot::{Confinement, address_of};
use crate::store::{AccessRuleKind, ChangeState, Storage};
use policy::config::Config;
use policy::{AccessEntry, ImportedList, LimitName, LimitOverride, Numbering, Permission, Rules, compile};

/// What a core begins with.
#[derive(Clone, Debug)]
pub struct Beginning {
    pub config: ConfigSetting,
    /// The file that reloads read.
    pub path: Option<PathBuf>,
    /// The host's own addresses.
    pub own: Vec<IpAddr>,
    /// The far end of the SSH session that the daemon was started from.
    pub operator: Option<IpAddr>,
    /// What was done before anything else.
    pub first: First,
}

/// What was known when the interfaces were guarded, before the store was.
#[derive(Clone, Debug, Default)]
pub struct First {
    /// How the kernel counts, where it had no rules before.
    pub numbering: Option<Numbering>,
    /// The lists as they were last taken.
    pub lists: Vec<ImportedList>,
    /// Why the file of the configuration is not in force.
    pub broken: Option<String>,
    /// `sluice panic` was left on.
    pub panic: bool,
    /// What the store says of itself.
    pub notes: Vec<String>,
    /// What the kernel keeps this process from.
    pub confinement: Confinement,
}

/// Guards the interfaces before anything else is tried: with the rules that the kernel has, or with those of the
/// configuration and its lists as they were last taken. `routes` are the interfaces with a default route, `links` all of them.
pub fn guard(
    kernel: &mut dyn Kernel,
    config: &Arc<Config>,
    routes: impl FnOnce() -> Vec<String>,
    links: &[Interface],
    mut first: First,
) -> Result<First> {
    if first.panic
        && let Err(error) = kernel.pass_everything(true)
    {
        tracing::error!("panic is to be on, and cannot be switched: {error:#}");
    }
    if kernel.rules()?.flips == 0 {
        let mut rules = Rules::new(Arc::clone(config));
        let lists = first.lists.iter().filter(|old| names(config, old)).cloned();
        rules.lists = Arc::new(lists.collect());
        let environment = kernel.environment();
        // The core says what was cut, once it reads the lists again.
        drop(lists::fit(&mut rules, &Numbering::default(), &environment));
        let image = compile(&rules, &Numbering::default(), &environment)
            .context("make the kernel's rules of the configuration")?;
        kernel.install(&image).context("put the first rules in force")?;
        first.numbering = Some(image.numbering);
    }
    let wanted = match config.interfaces.names.as_slice() {
        [] => routes(),
        named => named.to_vec(),
    };
    kernel.guard(&coverage::choose(&wanted, links).names, config);
    Ok(first)
}

/// Whether the configuration still names a list.
fn names(config: &Config, old: &ImportedList) -> bool {
    let lists = &config.access.lists;
    lists.iter().any(|list| list.name() == old.name && list.action == old.action)
}

/// The parts of a core, the rules in force.
#[derive(Debug)]
pub struct Begun {
    pub changes: Changes,
    pub installed: Installed,
    pub watch: Watch,
    pub silences: Silences,
    pub tune: Tune,
}

const NEVER_CONFIRMED: &str = "the configuration file was never confirmed, so the one before it is in force; `sluice reload` takes the file";

/// Writes the rules and makes the parts. Interfaces are not followed yet. Only a kernel that takes no rules is an error;
/// whatever the store cannot say is a problem.
pub fn begin(beginning: Beginning, turn: &mut Turn<'_>) -> Result<Begun> {
    let Beginning { config, own, operator, first, .. } = beginning;
    let now = turn.now.wall;
    let mut troubles = Vec::new();
    let unconfirmed = or_trouble(&mut troubles, Unconfirmed::find(&*turn.store)).flatten();
    let before = unconfirmed.as_ref().and_then(|change| change.restore.config.clone());
    let parsed = config.parse()?;
    let (config, parsed) = match before.map(|before| before.parse().map(|parsed| (before, parsed))) {
        Some(Ok((before, parsed))) => {
            turn.problems.set("configuration", NEVER_CONFIRMED.to_owned());
            (before, parsed)
        }
        Some(Err(error)) => {
            troubles.push(format!("the configuration before the unconfirmed one cannot be read: {error}"));
            (config, parsed)
        }
        None => (config, parsed),
    };
    if let Some(why) = &first.broken {
        turn.problems.set("configuration", format!("the last good configuration is in force: {why}"));
    }
    supervise::remember_notes(&first.notes, turn);
    if let Some(why) = turn.store.volatile() {
        tracing::error!("store: nothing outlives this process, as {why}; it is tried again");
    }
    let mut standing = standing(&*turn.store, &*turn.kernel, Arc::new(parsed), now, &mut troubles);
    standing.rules.own = own;
    let held = or_trouble(&mut troubles, bans_held(&*turn.kernel, &standing.rules)).unwrap_or_default();
    if let Some(Unconfirmed { restore, .. }) = &unconfirmed {
        // What was saved never held the rest of it; bans stand in the kernel, containments in the store.
        let held = Delta {
            bans: restore.bans.clone(),
            containments: restore.containments.clone(),
            ..Delta::default()
        };
        standing = held.applied(&standing, now)?;
    }
    let numbering = match first.numbering {
        Some(numbering) => numbering,
        None if turn.kernel.rules()?.flips == 0 => Numbering::default(),
        None => or_trouble(&mut troubles, numbering(&*turn.store)).unwrap_or_default(),
    };
    // Rules without lists: the lists are read below, and may have to be cut.
    let image = compile(&standing.rules, &numbering, &turn.kernel.environment())
        .context("make the kernel's rules of the configuration")?;
    let old = or_trouble(&mut troubles, alerts::left_open(&*turn.store, now));
    let (base, open) = old.unwrap_or_else(|| (alerts::number_of_the_moment(now), Vec::new()));
    let silences = or_trouble(&mut troubles, Silences::stored(&*turn.store, now)).unwrap_or_default();
    let watch = Watch::begin(
        &*turn.store,
        &standing.rules,
        &silences.all(),
        (base, &open),
        turn.now.since_boot,
        &mut troubles,
    );
    let mut tune = Tune::new(standing.rules.config.tuning.clone(), now);
    let mut installed = Installed::new(image, Contained::found(&*turn.kernel)?, Sessions::new(operator));
    installed.surroundings_are(turn.host.surroundings());
    // Before the first rules: a flood that goes on meets those that the process before wrote.
    let remembered = tune.remember(&*turn.store);
    turn.problems.report("read what was learned", remembered);
    installed.automatic_aggregates_are(tune.automatic());
    let rules = Rules { lists: Arc::new(first.lists), ..standing.rules.clone() };
    let before = Standing { bans: held, rules, containments: BTreeMap::new() };
    let mut changes = Changes::new(Desired::new(before, config));
    changes.begin(standing, &mut installed, turn)?;
    if let Some(Unconfirmed { number, .. }) = unconfirmed {
        let settled = turn.store.settle(number, ChangeState::RolledBack);
        turn.problems.report("history", settled);
        audit::taken_back(
            number,
            "nobody confirmed it before the daemon ended",
            serde_json::Value::Null,
            turn,
        );
        tracing::warn!(change = number, "nobody confirmed it before the daemon ended, so it is taken back");
    }
    turn.problems.report("read the store", no_troubles(&troubles));
    Ok(Begun { changes, installed, watch, silences, tune })
}

/// What came of it, or nothing and a sentence more.
fn or_trouble<T>(troubles: &mut Vec<String>, outcome: Result<T>) -> Option<T> {
    outcome.map_err(|error| troubles.push(format!("{error:#}"))).ok()
}

/// An error that names all of them.
pub fn no_troubles(troubles: &[String]) -> Result<()> {
    anyhow::ensure!(troubles.is_empty(), "{}", troubles.join("; "));
    Ok(())
}

/// A timed change that outlived its daemon.
struct Unconfirmed {
    number: u64,
    restore: Delta,
}

impl Unconfirmed {
    fn find(store: &dyn Storage) -> Result<Option<Self>> {
        let Some(pending) = store.pending()? else { return Ok(None) };
        let restore = serde_json::from_value(pending.restore).context("read the way back of a change")?;
        Ok(Some(Self { number: pending.change, restore }))
    }
}

/// What was saved, and the bans that the kernel holds. What cannot be read is left out and told in `troubles`.
pub fn standing(
    store: &dyn Storage,
    kernel: &dyn Kernel,
    config: Arc<Config>,
    now: Timestamp,
    troubles: &mut Vec<String>,
) -> Standing {
    let mut rules = Rules::new(config);
    for (key, value) in or_trouble(troubles, store.overrides()).unwrap_or_default() {
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
    let containments = or_trouble(troubles, contained::kept(store, now)).unwrap_or_default();
    Standing { rules, bans, containments }
}

/// The bans of operators that the kernel holds, which need not be saved to outlive a daemon.
fn bans_held(kernel: &dyn Kernel, rules: &Rules) -> Result<BTreeMap<IpNet, Ban>> {
    let mut bans = BTreeMap::new();
    let clock = kernel.environment().clock;
    for (key, ban) in kernel.bans()? {
        let for_ever = ban.until == u64::MAX;
        if ban.origin == origin::OPERATOR && (for_ever || ban.until.wrapping_sub(clock).cast_signed() > 0) {
            let source = source_of(rules.config.source, address_of(key.address()));
            let until = (!for_ever).then(|| kernel.wall(ban.until));
            let by_itself = ban.scope == scope::NEW_CONTACTS;
            let made_by = if by_itself { response::MADE_BY } else { "an operator, before the last start" };
            let made_by = made_by.to_owned();
            bans.insert(source, Ban { since: kernel.wall(ban.since), until, comment: None, made_by });
        }
    }
    Ok(bans)
}
