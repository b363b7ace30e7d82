//! Findings, open and closed, so that a restart neither raises them anew nor forgets them. The body is detection's.

use anyhow::Context;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::{Store, restored, stored};

/// A finding as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFinding {
    /// Detection's own name for it, unique.
    pub id: String,
    pub opened: Timestamp,
    pub updated: Timestamp,
    pub closed: Option<Timestamp>,
    pub body: Value,
}

impl Store {
    /// Writes findings in one transaction, replacing those of the same id.
    pub fn keep_findings(&mut self, findings: &[StoredFinding]) -> anyhow::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO finding (id, opened, updated, closed, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for finding in findings {
                statement.execute(params![
                    finding.id,
                    stored(finding.opened),
                    stored(finding.updated),
                    finding.closed.map(stored),
                    finding.body.to_string()
                ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// The findings last updated at or after `since`, newest first, at most `limit`.
    pub fn findings(&self, since: Timestamp, limit: usize) -> anyhow::Result<Vec<StoredFinding>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, opened, updated, closed, body FROM finding WHERE updated >= ?1
             ORDER BY updated DESC, id LIMIT ?2",
        )?;
        let mut rows = statement.query(params![stored(since), i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut findings = Vec::new();
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            findings.push(StoredFinding {
                opened: restored(row.get(1)?),
                updated: restored(row.get(2)?),
                closed: row.get::<_, Option<i64>>(3)?.map(restored),
                body: serde_json::from_str(&row.get::<_, String>(4)?)
                    .with_context(|| format!("finding {id:?} in {}", self.path.display()))?,
                id,
            });
        }
        Ok(findings)
    }
}

/// The one of the highest number stays, so that none is given twice.
pub(super) fn prune(connection: &Connection, before: Timestamp) -> anyhow::Result<()> {
    connection.execute(
        "DELETE FROM finding WHERE closed < ?1
         AND CAST(id AS INTEGER) < (SELECT max(CAST(id AS INTEGER)) FROM finding)",
        [stored(before)],
    )?;
    Ok(())
}
