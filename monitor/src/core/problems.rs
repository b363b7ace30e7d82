//! What is wrong at present, by what it concerns: one sentence each, until it works again.

use std::collections::BTreeMap;

use anyhow::Result;

/// The problems of the snapshot.
#[derive(Debug, Default)]
pub struct Problems(BTreeMap<&'static str, String>);

impl Problems {
    pub fn set(&mut self, what: &'static str, problem: String) {
        self.0.insert(what, problem);
    }

    pub fn clear(&mut self, what: &'static str) {
        self.0.remove(what);
    }

    pub fn has(&self, what: &str) -> bool {
        self.0.contains_key(what)
    }

    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.0.values()
    }

    /// Takes the outcome of something that may fail. A failure is logged once and remains a problem until `what` works.
    pub fn report<T>(&mut self, what: &'static str, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(done) => {
                self.0.remove(what);
                Some(done)
            }
            Err(error) => {
                let problem = format!("{what}: {error:#}");
                if self.0.get(what) != Some(&problem) {
                    tracing::error!("{problem}");
                }
                self.0.insert(what, problem);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::Problems;

    #[test]
    fn a_failure_is_a_problem_until_the_same_thing_works() {
        let mut problems = Problems::default();
        assert_eq!(problems.report::<u8>("history", Err(anyhow!("full").context("write"))), None);
        assert_eq!(problems.all().collect::<Vec<_>>(), ["history: write: full"]);
        assert_eq!(problems.report("sweep", Ok(7)), Some(7));
        assert_eq!(problems.all().count(), 1);
        problems.report("history", Ok(()));
        assert_eq!(problems.all().count(), 0);
    }
}
