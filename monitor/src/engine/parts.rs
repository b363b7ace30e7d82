//! Parts of the daemon beside the engine, and what is wrong with them.
//!
//! In: reports of the parts. Out: problems in the log and, through the engine, in the snapshot. A part that fails is tried
//! again by its owner; no part ends the daemon.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// Clone it freely: each part holds one.
#[derive(Clone, Debug)]
pub struct Parts(watch::Sender<BTreeMap<&'static str, String>>);

impl Default for Parts {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Parts {
    /// `part` does not work, for this reason; logged when it is news.
    pub fn fails(&self, part: &'static str, why: &str) {
        let told = format!("{part}: {why}");
        self.0.send_if_modified(|problems| {
            let news = problems.get(part) != Some(&told);
            if news {
                tracing::error!("{told}");
                problems.insert(part, told);
            }
            news
        });
    }

    /// `part` works.
    pub fn works(&self, part: &'static str) {
        self.0.send_if_modified(|problems| {
            let news = problems.remove(part).is_some();
            if news {
                tracing::info!("{part}: works again");
            }
            news
        });
    }

    /// What is wrong now.
    pub fn problems(&self) -> Vec<String> {
        self.0.borrow().values().cloned().collect()
    }
}
