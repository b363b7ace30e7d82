//! Ends of what lasts for a time, moved along when the wall clock is set.
//!
//! In: by how much, and the row that says which clock the ends are written by. Out: both, in one transaction: whoever reads
//! the rows after a crash finds ends and clock that fit.

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Transaction, params};
use serde_json::Value;

use super::Store;

/// Blobs whose ends are moved: the area in the table of what was learned.
const AREAS: [&str; 2] = ["silences", "engine"];
/// The row of the clock itself, within the last of them.
const CLOCK: &str = "clock";

impl Store {
    /// Moves every stored end by `by`, and keeps `clock`, the clock that they are written by from now on.
    pub fn move_ends(&mut self, by: SignedDuration, clock: &[u8], at: Timestamp) -> anyhow::Result<()> {
        let clock = clock.to_vec();
        self.worker.call(move |connection| {
            let transaction = connection.transaction()?;
            if !by.is_zero() {
                move_all(&transaction, by)?;
            }
            transaction.execute(
                "INSERT OR REPLACE INTO learned (area, key, value, at) VALUES ('engine', ?1, ?2, ?3)",
                params![CLOCK, clock, super::stored(at)],
            )?;
            Ok(transaction.commit()?)
        })
    }

    /// The clock that the stored ends are written by.
    pub fn clock(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.learned_one("engine", CLOCK)
    }
}

fn move_all(transaction: &Transaction<'_>, by: SignedDuration) -> anyhow::Result<()> {
    let by_ms = i64::try_from(by.as_millis()).context("a step of the clock")?;
    transaction.execute("UPDATE access SET since = since + ?1, until = until + ?1", [by_ms])?;
    transaction.execute("UPDATE pending SET deadline = deadline + ?1", [by_ms])?;
    for area in AREAS {
        let mut rows = transaction.prepare("SELECT key, value FROM learned WHERE area = ?1 AND key <> ?2")?;
        let rows: Vec<(String, Vec<u8>)> =
            rows.query_map([area, CLOCK], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        for (key, bytes) in rows {
            // A row of another form is its reader's to report.
            let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else { continue };
            if move_within(&mut value, by) {
                transaction.execute(
                    "UPDATE learned SET value = ?1 WHERE area = ?2 AND key = ?3",
                    params![serde_json::to_vec(&value)?, area, key],
                )?;
            }
        }
    }
    Ok(())
}

/// Every `until` in the value; false when there is none.
fn move_within(value: &mut Value, by: SignedDuration) -> bool {
    match value {
        Value::Array(all) => all.iter_mut().fold(false, |moved, one| move_within(one, by) | moved),
        Value::Object(fields) => fields.iter_mut().fold(false, |moved, (name, field)| {
            let end =
                field.as_str().filter(|_| name == "until").and_then(|text| text.parse::<Timestamp>().ok());
            match end.and_then(|end| end.checked_add(by).ok()) {
                Some(end) => {
                    *field = Value::String(end.to_string());
                    true
                }
                None => move_within(field, by) | moved,
            }
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_end_in_a_blob_is_moved_and_nothing_else() {
        let mut value = json!([{ "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z" },
                               { "until": null, "within": [{ "until": "2026-01-02T00:00:00Z" }] }]);
        assert!(move_within(&mut value, SignedDuration::from_hours(-24)));
        let wanted = json!([{ "since": "2026-01-01T00:00:00Z", "until": "2025-12-31T00:00:00Z" },
                            { "until": null, "within": [{ "until": "2026-01-01T00:00:00Z" }] }]);
        assert_eq!(value, wanted);
        assert!(!move_within(&mut json!({ "until": null, "number": 7 }), SignedDuration::from_hours(1)));
    }
}
