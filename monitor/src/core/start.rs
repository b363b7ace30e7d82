//! From what is in the store and in the kernel to a core.
//!
//! In: the configuration, the ports. Out: a core whose rules are in force. A change that nobody confirmed before the
//! daemon ended is taken back here, before anything is written.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use datapath::Kernel;
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::record::origin;

use super::alerts;
use super::change::{Changes, Desired};
use super::contained::{self, Contained};
use super::delta::{Ban, ConfigSetting, Delta, Standing};
use super::install::{Installed, numbering};
use super::names::source_of;
use super::ports::Turn;
use super::sessions::Sessions;
use super::tune::Tune;
use super::watch::Watch;
use crate::snapshot::address_of;
use crate::store::{AccessRuleKind, ChangeState, Storage};
use policy::config::Config;
use policy::{AccessEntry, LimitName, LimitOverride, Numbering, Permission, Rules, compile};

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
}

/// The parts of a core, the rules in force.
#[derive(Debug)]
pub struct Begun {
    pub changes: Changes,
    pub installed: Installed,
    pub watch: Watch,
    pub tune: Tune,
}

const NEVER_CONFIRMED: &str = "the configuration file was never confirmed, so the one before it is in force; `sluice reload` takes the file";

/// Writes the rules and makes the parts. Interfaces are not guarded yet.
pub fn begin(beginning: Beginning, turn: &mut Turn<'_>) -> Result<Begun> {
    let Beginning { config, own, operator, .. } = beginning;
    let now = turn.now.wall;
    let unconfirmed = Unconfirmed::find(&*turn.store)?;
    let config = match unconfirmed.as_ref().and_then(|change| change.restore.config.clone()) {
        Some(before) => {
            turn.problems.set("configuration", NEVER_CONFIRMED.to_owned());
            before
        }
        None => config,
    };
    let mut standing = standing(&*turn.store, &*turn.kernel, config.parse()?, now)?;
    standing.rules.own = own;
    let held = bans_held(&*turn.kernel, &standing.rules)?;
    if let Some(Unconfirmed { restore, .. }) = &unconfirmed {
        // What was saved never held the rest of it; bans stand in the kernel, containments in the store.
        let held = Delta {
            bans: restore.bans.clone(),
            containments: restore.containments.clone(),
            ..Delta::default()
        };
        standing = held.applied(&standing, now)?;
    }
    let numbering =
        if turn.kernel.rules()?.flips == 0 { Numbering::default() } else { numbering(&*turn.store)? };
    let image = compile(&standing.rules, &numbering, &turn.kernel.environment())
        .context("make the kernel's rules of the configuration")?;
    let base = alerts::close_old_alerts(&mut *turn.store)?;
    let silences = alerts::stored_silences(&*turn.store)?;
    let watch = Watch::begin(&*turn.store, &standing.rules, &silences, base, turn.now.since_boot)?;
    let mut tune = Tune::new(standing.rules.config.tuning.clone(), now);
    let mut installed = Installed::new(image, Contained::found(&*turn.kernel)?, Sessions::new(operator));
    let first = Standing { bans: held, rules: standing.rules.clone(), containments: BTreeMap::new() };
    let mut changes = Changes::new(Desired::new(first, config));
    changes.begin(standing, &mut installed, turn)?;
    if let Some(Unconfirmed { number, .. }) = unconfirmed {
        turn.store.settle(number, ChangeState::RolledBack)?;
        tracing::warn!(change = number, "nobody confirmed it before the daemon ended, so it is taken back");
    }
    let remembered = tune.remember(&*turn.store);
    turn.problems.report("read what was learned", remembered);
    Ok(Begun { changes, installed, watch, tune })
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

/// What was saved, and the bans that the kernel holds.
fn standing(store: &dyn Storage, kernel: &dyn Kernel, config: Config, now: Timestamp) -> Result<Standing> {
    let mut rules = Rules::new(Arc::new(config));
    for (key, value) in store.overrides()? {
        let value: LimitOverride = value;
        let name: LimitName =
            serde_json::from_str(&key).with_context(|| format!("read the saved limit {key}"))?;
        rules.limits.insert(name, value);
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
    let mut bans = bans_held(kernel, &rules)?;
    for rule in store.access(now)? {
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
    Ok(Standing { rules, bans, containments: contained::kept(store, now)? })
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
            let made_by = "an operator, before the last start".to_owned();
            bans.insert(source, Ban { since: kernel.wall(ban.since), until, comment: None, made_by });
        }
    }
    Ok(bans)
}
