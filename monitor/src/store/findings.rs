//! Findings, open and closed, so that a restart neither raises them anew nor forgets them. The body is detection's.

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

/// Findings that wait in memory for a store that cannot write; then the oldest closed ones are shed.
const UNWRITTEN: usize = 10_000;

/// Findings of one transaction: after each, there may have to be room for more.
const AT_ONCE: usize = 100;

impl Store {
    /// Writes findings, replacing those of the same id. What cannot be written is kept in memory, is
    /// listed as if it were written, and goes with the next write.
    pub fn keep_findings(&mut self, findings: &[StoredFinding]) -> anyhow::Result<()> {
        for finding in findings {
            self.unwritten.insert(finding.id.clone(), finding.clone());
        }
        while self.unwritten.len() > UNWRITTEN {
            let oldest = |closed: bool| {
                let rows = self.unwritten.values().filter(|finding| !closed || finding.closed.is_some());
                rows.min_by_key(|finding| finding.updated).map(|finding| finding.id.clone())
            };
            let Some(id) = oldest(true).or_else(|| oldest(false)) else { break };
            self.unwritten.remove(&id);
            self.shed += 1;
        }
        self.write_findings()
    }

    /// Findings that could not be written yet, and how many were given up.
    pub fn unwritten(&self) -> (usize, u64) {
        (self.unwritten.len(), self.shed)
    }

    /// Writes what waits.
    pub fn write_findings(&mut self) -> anyhow::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = self.unwritten.values().map(|row| (row.clone(), row.body.to_string())).collect();
        let size = self.size.clone();
        self.worker.call(move |connection| rows.chunks(AT_ONCE).try_for_each(|rows| {
            size.make_room(connection, rows.iter().map(|(_, body)| body.len()).sum());
            let transaction = connection.transaction()?;
            {
                let mut statement = transaction.prepare_cached(
                    "INSERT OR REPLACE INTO finding (id, opened, updated, closed, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?;
                for (finding, body) in rows {
                    statement.execute(params![
                        finding.id,
                        stored(finding.opened),
                        stored(finding.updated),
                        finding.closed.map(stored),
                        body
                    ])?;
                }
            }
            Ok(transaction.commit()?)
        }))?;
        self.unwritten.clear();
        Ok(())
    }

    /// The findings last updated at or after `since`, newest first, at most `limit`. One that cannot be read is left out.
    pub fn findings(&self, since: Timestamp, limit: usize) -> anyhow::Result<Vec<StoredFinding>> {
        let written = self.worker.call(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, opened, updated, closed, body FROM finding WHERE updated >= ?1
                 ORDER BY updated DESC, id LIMIT ?2",
            )?;
            let mut rows =
                statement.query(params![stored(since), i64::try_from(limit).unwrap_or(i64::MAX)])?;
            let mut findings = Vec::new();
            while let Some(row) = rows.next()? {
                let id: String = row.get(0)?;
                let Ok(body) = serde_json::from_str(&row.get::<_, String>(4)?) else {
                    tracing::error!("the stored finding {id:?} cannot be read");
                    continue;
                };
                findings.push(StoredFinding {
                    opened: restored(row.get(1)?),
                    updated: restored(row.get(2)?),
                    closed: row.get::<_, Option<i64>>(3)?.map(restored),
                    body,
                    id,
                });
            }
            Ok(findings)
        });
        if self.unwritten.is_empty() {
            return written;
        }
        // A store that cannot write may still be able to read; what waits is told either way.
        let mut findings = written.unwrap_or_default();
        findings.retain(|finding| !self.unwritten.contains_key(&finding.id));
        findings.extend(self.unwritten.values().filter(|finding| finding.updated >= since).cloned());
        findings.sort_by(|a, b| b.updated.cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
        findings.truncate(limit);
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
