//! Learned state: blobs by area (`tuning`, a detector's name) and key. What they mean is their owner's business.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Store, stored};

impl Store {
    /// Everything of one area, in the order of its keys.
    pub fn learned(&self, area: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let area = area.to_owned();
        self.worker.call(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT key, value FROM learned WHERE area = ?1 ORDER BY key")?;
            let rows = statement.query_map([area], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// One blob.
    pub fn learned_one(&self, area: &str, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let (area, key) = (area.to_owned(), key.to_owned());
        self.worker.call(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT value FROM learned WHERE area = ?1 AND key = ?2")?;
            Ok(statement.query_row([area, key], |row| row.get(0)).optional()?)
        })
    }

    /// Writes blobs of one area in one transaction; what is not named stays.
    pub fn learn<'a>(
        &mut self,
        area: &str,
        blobs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        at: Timestamp,
    ) -> anyhow::Result<()> {
        let area = area.to_owned();
        let blobs: Vec<_> = blobs.into_iter().map(|(key, value)| (key.to_owned(), value.to_vec())).collect();
        let size = self.size.clone();
        self.worker.call(move |connection| {
            size.make_room(connection, blobs.iter().map(|(_, value)| value.len()).sum());
            let transaction = connection.transaction()?;
            {
                let mut statement = transaction.prepare_cached(
                    "INSERT OR REPLACE INTO learned (area, key, value, at) VALUES (?1, ?2, ?3, ?4)",
                )?;
                for (key, value) in blobs {
                    statement.execute(params![area, key, value, stored(at)])?;
                }
            }
            Ok(transaction.commit()?)
        })
    }

    /// Forgets the keys of one area that begin with `prefix` (all with an empty one); says how many there were.
    pub fn forget(&mut self, area: &str, prefix: &str) -> anyhow::Result<usize> {
        let (area, prefix) = (area.to_owned(), prefix.to_owned());
        self.worker.call(move |connection| {
            Ok(connection.execute(
                "DELETE FROM learned WHERE area = ?1 AND substr(key, 1, length(?2)) = ?2",
                [area, prefix],
            )?)
        })
    }
}
