//! Overrides: what was set with `--save` and holds over the configuration file. Keys and values are the policy's; here
//! they are only text.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Serialize, de::DeserializeOwned};

use super::{Store, stored};

impl Store {
    /// Every override by its key. One whose value no longer reads is an error that names the key.
    pub fn overrides<T: DeserializeOwned>(&self) -> anyhow::Result<BTreeMap<String, T>> {
        let rows = self.worker.call(|connection| {
            let mut statement = connection.prepare_cached("SELECT key, value FROM override")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<(String, String)>, _>>()?)
        })?;
        let read = |(key, value): (String, String)| {
            let value = serde_json::from_str(&value)
                .with_context(|| format!("override {key:?} in {}", self.path.display()))?;
            Ok((key, value))
        };
        rows.into_iter().map(read).collect()
    }

    /// Sets one override.
    pub fn set_override<T: Serialize>(
        &mut self,
        key: &str,
        value: &T,
        made_by: &str,
        at: Timestamp,
    ) -> anyhow::Result<()> {
        let value = serde_json::to_string(value).with_context(|| format!("override {key:?}"))?;
        let (key, made_by) = (key.to_owned(), made_by.to_owned());
        self.worker.call(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO override (key, value, made_by, at) VALUES (?1, ?2, ?3, ?4)",
                params![key, value, made_by, stored(at)],
            )?;
            Ok(())
        })
    }

    /// Takes one override away; says whether it was there.
    pub fn unset_override(&mut self, key: &str) -> anyhow::Result<bool> {
        let key = key.to_owned();
        self.worker
            .call(move |connection| Ok(connection.execute("DELETE FROM override WHERE key = ?1", [key])? > 0))
    }
}
