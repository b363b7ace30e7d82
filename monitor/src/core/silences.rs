//! `alerts silence|silences|unsilence`: which findings are not reported, with author and end.
//!
//! In: commands, the store, the time. Out: the silences in force. Those that were saved outlive the process.

use std::collections::BTreeMap;

use anyhow::Result;
use api::alerts::{AlertSilence, SilenceInForce};
use api::{Applied, Code, Error};
use detection::parameters::Silence;
use jiff::{SignedDuration, Timestamp};

use super::asking::Asking;
use super::history;
use super::ports::Turn;
use super::steps::move_end;
use crate::store::Storage;

/// Where they lie in the store.
const AREA: &str = "silences";

/// The silences in force, by number.
#[derive(Debug, Default)]
pub struct Silences {
    held: BTreeMap<u64, SilenceInForce>,
    /// Keys of rows that an earlier version wrote, by the numbers that they have now.
    old_keys: BTreeMap<u64, String>,
}

impl Silences {
    /// Those that were saved and are not over.
    pub fn stored(store: &dyn Storage, now: Timestamp) -> Result<Self> {
        let mut silences = Self::default();
        let mut old = Vec::new();
        for (key, row) in store.learned(AREA)? {
            match serde_json::from_slice::<SilenceInForce>(&row) {
                Ok(one) => drop(silences.held.insert(one.number, one)),
                // Rows of earlier versions hold the silence alone.
                Err(_) => {
                    old.extend(serde_json::from_slice::<Silence>(&row).ok().map(|silence| (key, silence)));
                }
            }
        }
        for (key, silence) in old {
            let number = silences.next();
            let made_by = "an earlier version".to_owned();
            let one = SilenceInForce { number, silence, until: None, made_by, made_at: now, saved: true };
            silences.held.insert(number, one);
            silences.old_keys.insert(number, key);
        }
        silences.held.retain(|_, one| one.until.is_none_or(|until| until > now));
        Ok(silences)
    }

    pub fn list(&self) -> Vec<SilenceInForce> {
        self.held.values().cloned().collect()
    }

    /// What detection is told.
    pub fn all(&self) -> Vec<Silence> {
        self.held.values().map(|one| one.silence.clone()).collect()
    }

    fn next(&self) -> u64 {
        self.held.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    /// Keeps findings quiet from now on.
    pub fn add(
        &mut self,
        asked: AlertSilence,
        asking: &Asking,
        turn: &mut Turn<'_>,
    ) -> Result<Applied, Error> {
        let AlertSilence { detector, subject, reason, for_seconds } = asked;
        if detector.is_none() && subject.is_none() {
            return Err(Error::new(Code::Invalid, "that would silence everything")
                .next("name a detector, a subject or both"));
        }
        let now = turn.now.wall;
        let lasts = |seconds| {
            i64::try_from(seconds)
                .ok()
                .and_then(|seconds| now.checked_add(jiff::SignedDuration::from_secs(seconds)).ok())
        };
        let until = match for_seconds {
            None => None,
            Some(seconds) => {
                Some(lasts(seconds).ok_or_else(|| Error::new(Code::Invalid, "no silence lasts that long"))?)
            }
        };
        let one = SilenceInForce {
            number: self.next(),
            silence: Silence { detector, subject, reason },
            until,
            made_by: asking.made_by(),
            made_at: now,
            saved: asking.options.save,
        };
        let said = sentence(&one);
        if one.saved {
            let row = serde_json::to_vec(&one).map_err(|error| Error::failed(&error))?;
            turn.store
                .learn(AREA, &[(&key(one.number), &row)], turn.now.wall)
                .map_err(|error| Error::failed(&error))?;
        }
        let (number, saved) = (one.number, one.saved);
        self.held.insert(number, one);
        let mut applied = applied(format!("+ {said}"), saved, asking, turn);
        let kept = if saved { "kept over restarts" } else { "until the daemon restarts" };
        applied.summary.push(format!("{kept}; lift it with `sluice alerts unsilence {number}`"));
        Ok(applied)
    }

    /// Takes one back.
    pub fn lift(&mut self, number: u64, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let one = self.held.get(&number).cloned().ok_or_else(|| {
            Error::new(Code::NotFound, format!("there is no silence {number}"))
                .next("`sluice alerts silences` lists them")
        })?;
        if one.saved {
            let row = self.old_keys.get(&number).cloned().unwrap_or_else(|| key(number));
            turn.store.forget(AREA, &row).map_err(|error| Error::failed(&error))?;
        }
        self.held.remove(&number);
        self.old_keys.remove(&number);
        let said = format!("- {}", sentence(&one));
        Ok(applied(said, one.saved, asking, turn))
    }

    /// The wall clock was set.
    pub fn move_ends(&mut self, by: SignedDuration) {
        self.held.values_mut().filter_map(|one| one.until.as_mut()).for_each(|end| move_end(end, by));
    }

    /// Ends what is over; true when anything was.
    pub fn expire(&mut self, turn: &mut Turn<'_>) -> bool {
        let now = turn.now.wall;
        let before = self.held.len();
        self.held.retain(|_, one| {
            let is_over = one.until.is_some_and(|until| until <= now);
            if is_over {
                tracing::info!("over: {}", sentence(one));
            }
            !is_over
        });
        self.held.len() != before
    }
}

/// A row's key; its end keeps it from being the beginning of another.
fn key(number: u64) -> String {
    format!("{number}.")
}

fn sentence(one: &SilenceInForce) -> String {
    let Silence { detector, subject, reason } = &one.silence;
    let detector = detector.map_or("every detector", |detector| detector.label());
    let subject = subject.map_or_else(|| "everybody".to_owned(), |subject| subject.to_string());
    let until = one.until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
    format!("silence {}: {detector} about {subject}{until}: {reason}", one.number)
}

/// Silences change no rule, so the history has the line, and `revert` has nothing to take back.
fn applied(said: String, saved: bool, asking: &Asking, turn: &mut Turn<'_>) -> Applied {
    history::note(asking, &said, turn);
    tracing::info!("{said} (by {})", asking.made_by());
    Applied { summary: vec![said], saved, ..Applied::default() }
}
