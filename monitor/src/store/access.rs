//! Exemptions, denials and bans that people made while the daemon ran.

use anyhow::Context;
use ipnet::IpNet;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{Store, restored, stored};

/// The three lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessRuleKind {
    Exempt,
    Deny,
    Ban,
}

impl AccessRuleKind {
    const fn label(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::Deny => "deny",
            Self::Ban => "ban",
        }
    }

    pub(super) fn from_label(label: &str) -> anyhow::Result<Self> {
        [Self::Exempt, Self::Deny, Self::Ban]
            .into_iter()
            .find(|kind| kind.label() == label)
            .with_context(|| format!("no list is called {label:?}"))
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    pub kind: AccessRuleKind,
    pub prefix: IpNet,
    pub since: Timestamp,
    /// `None`: for ever.
    pub until: Option<Timestamp>,
    /// Bans of this source so far, for growing durations; 0 for the other lists.
    pub strikes: u32,
    pub comment: Option<String>,
    pub made_by: String,
}

impl Store {
    /// Every entry that had not ended at `now`.
    pub fn access(&self, now: Timestamp) -> anyhow::Result<Vec<AccessRule>> {
        self.worker.call(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT kind, prefix, since, until, strikes, comment, made_by FROM access
                 WHERE until IS NULL OR until > ?1 ORDER BY kind, prefix",
            )?;
            let mut rows = statement.query([stored(now)])?;
            let mut rules = Vec::new();
            while let Some(row) = rows.next()? {
                let prefix: String = row.get(1)?;
                rules.push(AccessRule {
                    kind: AccessRuleKind::from_label(&row.get::<_, String>(0)?)?,
                    prefix: prefix.parse().with_context(|| format!("the stored access rule {prefix:?}"))?,
                    since: restored(row.get(2)?),
                    until: row.get::<_, Option<i64>>(3)?.map(restored),
                    strikes: row.get(4)?,
                    comment: row.get(5)?,
                    made_by: row.get(6)?,
                });
            }
            Ok(rules)
        })
    }

    /// Adds an entry, or replaces the one of the same list and prefix.
    pub fn set_access(&mut self, rule: &AccessRule) -> anyhow::Result<()> {
        let rule = rule.clone();
        self.worker.call(move |connection| insert(connection, &rule))
    }

    /// Takes an entry away; says whether it was there.
    pub fn unset_access(&mut self, kind: AccessRuleKind, prefix: IpNet) -> anyhow::Result<bool> {
        self.worker.call(move |connection| {
            let removed = connection.execute(
                "DELETE FROM access WHERE kind = ?1 AND prefix = ?2",
                params![kind.label(), prefix.to_string()],
            )?;
            Ok(removed > 0)
        })
    }
}

fn insert(connection: &Connection, rule: &AccessRule) -> anyhow::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO access (kind, prefix, since, until, strikes, comment, made_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            rule.kind.label(),
            rule.prefix.to_string(),
            stored(rule.since),
            rule.until.map(stored),
            rule.strikes,
            rule.comment,
            rule.made_by
        ],
    )?;
    Ok(())
}

pub(super) fn prune(connection: &Connection, now: Timestamp) -> anyhow::Result<()> {
    connection.execute("DELETE FROM access WHERE until <= ?1", [stored(now)])?;
    Ok(())
}
