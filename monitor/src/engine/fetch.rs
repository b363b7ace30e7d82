//! Lists of prefixes that are fetched from the web, beside the engine.
//!
//! In: the lists of the configuration. Out: copies in the state directory and news of them, from a thread of its own, one
//! list after the other. A failure leaves the copy as it is, is a problem, and is tried again with growing pauses.

mod copy;
mod request;
mod schedule;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;

use crate::snapshot::ListState;
pub use copy::Copy;
use copy::Stamp;
use policy::config::AccessList;
use request::Answer;
use schedule::Schedule;

/// News that may wait for the engine; the thread waits when it is behind.
const NEWS: usize = 4;
/// Without a list the thread waits for one.
const IDLE: Duration = Duration::from_hours(24);

/// What came of one fetch.
#[derive(Debug)]
pub struct News {
    name: String,
    outcome: Result<Fetched, String>,
}

#[derive(Debug)]
enum Fetched {
    /// The copy is still the list.
    Same,
    /// There is a new copy.
    Kept,
    /// There is a new list, of which no copy could be kept, for this reason.
    Unkept(Vec<u8>, String),
}

/// The fetched lists as the engine knows them.
#[derive(Debug)]
pub struct Lists {
    state: PathBuf,
    wanted: Option<Sender<Vec<AccessList>>>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    states: BTreeMap<String, ListState>,
}

/// A list that is to be read again; the bytes of one without a copy.
#[derive(Debug)]
pub struct Changed {
    pub name: String,
    pub unkept: Option<Vec<u8>>,
}

impl Lists {
    pub fn new(state: &Path) -> Self {
        let (wanted, news) = (None, mpsc::channel(NEWS));
        Self { state: state.to_owned(), wanted, news, states: BTreeMap::new() }
    }

    /// These lists are fetched from now on. The thread begins with the first one.
    pub fn follow(&mut self, lists: &[AccessList]) -> Result<()> {
        let fetched: Vec<_> = lists.iter().filter(|list| list.url.is_some()).cloned().collect();
        let mut before = std::mem::take(&mut self.states);
        for list in &fetched {
            let name = list.name();
            let state = before.remove(&name).unwrap_or_else(|| ListState {
                fetched: stamp(list, &self.state).map(|stamp| stamp.checked),
                name: name.clone(),
                ..ListState::default()
            });
            self.states.insert(name, state);
        }
        let wanted = match &self.wanted {
            Some(wanted) => wanted,
            None if fetched.is_empty() => return Ok(()),
            None => {
                // A change that waits for its confirmation may still bring back what it dropped, so this is the only time.
                copy::tidy(&self.state, &fetched);
                self.wanted.insert(begin(self.state.clone(), self.news.0.clone())?)
            }
        };
        wanted.send(fetched).context("the thread that fetches lists is gone")
    }

    /// Waits for the next fetch.
    pub async fn next(&mut self) -> Option<News> {
        self.news.1.recv().await
    }

    /// Takes news over; a list that is to be read again comes back.
    pub fn take(&mut self, news: News) -> Option<Changed> {
        let News { name, outcome } = news;
        // It may be out of the configuration by now.
        let state = self.states.get_mut(&name)?;
        let failing = match &outcome {
            Ok(Fetched::Same | Fetched::Kept) => None,
            Ok(Fetched::Unkept(_, why)) => {
                Some(format!("in force, but there is no copy for the next start: {why}"))
            }
            Err(why) => Some(format!("cannot be fetched, and is tried again: {why}")),
        };
        match &failing {
            Some(why) if state.failing.as_ref() != Some(why) => tracing::warn!("list {name}: {why}"),
            None if state.failing.is_some() => tracing::info!("list {name}: works again"),
            _ => {}
        }
        state.failing = failing;
        let Ok(fetched) = outcome else {
            state.failures += 1;
            return None;
        };
        state.fetched = Some(Timestamp::now());
        match fetched {
            Fetched::Same => None,
            Fetched::Kept => Some(Changed { name, unkept: None }),
            Fetched::Unkept(bytes, _) => Some(Changed { name, unkept: Some(bytes) }),
        }
    }

    pub fn states(&self) -> Vec<ListState> {
        self.states.values().cloned().collect()
    }

    /// What is wrong, one sentence a list.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.states
            .values()
            .filter_map(|list| list.failing.as_ref().map(|why| format!("list {}: {why}", list.name)))
    }
}

fn stamp(list: &AccessList, state: &Path) -> Option<Stamp> {
    Copy::of(list.url.as_deref()?, state).stamp()
}

fn begin(state: PathBuf, news: mpsc::Sender<News>) -> Result<Sender<Vec<AccessList>>> {
    let (wanted, lists) = channel();
    std::thread::Builder::new()
        .name("lists".to_owned())
        .spawn(move || run(&state, &lists, &news))
        .context("start the thread that fetches lists")?;
    Ok(wanted)
}

/// Until the engine is gone.
fn run(state: &Path, wanted: &Receiver<Vec<AccessList>>, news: &mpsc::Sender<News>) {
    let began = Instant::now();
    let mut schedule = Schedule::default();
    let age = |list: &AccessList| {
        let age = Timestamp::now().duration_since(stamp(list, state)?.checked);
        // A stamp from the future says nothing.
        Duration::try_from(age).ok()
    };
    loop {
        let next = schedule.next().map(|(list, at)| (list.clone(), at.saturating_sub(began.elapsed())));
        match wanted.recv_timeout(next.as_ref().map_or(IDLE, |(_, pause)| *pause)) {
            Ok(lists) => schedule.follow(lists, began.elapsed(), age),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let Some((list, _)) = next else { continue };
                let outcome = fetch(&list, state).map_err(|error| format!("{error:#}"));
                schedule.done(&list.name(), outcome.is_ok(), began.elapsed(), chance());
                if news.blocking_send(News { name: list.name(), outcome }).is_err() {
                    return;
                }
            }
        }
    }
}

fn fetch(list: &AccessList, state: &Path) -> Result<Fetched> {
    let url = list.url.as_deref().context("it has no address")?;
    let copy = Copy::of(url, state);
    let known = copy.stamp();
    let answer = request::fetch(list, url, known.as_ref())?;
    let checked = Timestamp::now();
    Ok(match (answer, known) {
        (Answer::Same, known) => {
            // Without the new time the next start asks once more.
            let kept = copy.keep_stamp(&Stamp { checked, ..known.unwrap_or_default() });
            kept.unwrap_or_else(|error| tracing::debug!("{error:#}"));
            Fetched::Same
        }
        (Answer::List { bytes, etag, last_modified }, _) => {
            match copy.keep(&bytes, &Stamp { etag, last_modified, checked }) {
                Ok(()) => Fetched::Kept,
                Err(error) => Fetched::Unkept(bytes, format!("{error:#}")),
            }
        }
    })
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
