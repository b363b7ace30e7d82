//! When which list is fetched.
//!
//! In: the lists, when each was last checked, what came of a fetch, a random share. Out: the one that is due next. Pure:
//! the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use policy::config::AccessList;

/// The pause after a first failure; it doubles up to the list's period, at most an hour.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_hours(1);

/// The lists by name, with when they are due.
#[derive(Debug, Default)]
pub struct Schedule(BTreeMap<String, Due>);

#[derive(Debug)]
struct Due {
    list: AccessList,
    /// On the clock of the caller.
    at: Duration,
    /// After the last fetch, if it failed.
    pause: Option<Duration>,
}

impl Schedule {
    /// Takes over which lists there are. One that is the same as before keeps its time; a new one is due once its copy is as
    /// old as its period, which `age` tells.
    pub fn follow(
        &mut self,
        lists: Vec<AccessList>,
        now: Duration,
        age: impl Fn(&AccessList) -> Option<Duration>,
    ) {
        let mut before = std::mem::take(&mut self.0);
        for list in lists {
            let name = list.name();
            let due = match before.remove(&name) {
                Some(due) if due.list == list => due,
                _ => {
                    let fresh = age(&list).map(|age| list.every().saturating_sub(age));
                    Due { at: now + fresh.unwrap_or_default(), pause: None, list }
                }
            };
            self.0.insert(name, due);
        }
    }

    /// The list that is due first, and when.
    pub fn next(&self) -> Option<(&AccessList, Duration)> {
        self.0.values().min_by_key(|due| due.at).map(|due| (&due.list, due.at))
    }

    /// A fetch is over. `chance` from 0 to 1 spreads the next one by a tenth either way.
    pub fn done(&mut self, name: &str, worked: bool, now: Duration, chance: f64) {
        let Some(due) = self.0.get_mut(name) else { return };
        let every = due.list.every();
        let longest = every.min(LONGEST);
        due.pause = (!worked).then(|| due.pause.map_or(FIRST, |pause| pause * 2).min(longest));
        due.at = now + due.pause.unwrap_or(every).mul_f64(0.9 + 0.2 * chance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, every: &str) -> AccessList {
        toml::from_str(&format!(
            "url = \"https://lists.example/{name}\"\nname = \"{name}\"\nevery = \"{every}\""
        ))
        .unwrap()
    }

    fn next(schedule: &Schedule) -> (String, u64) {
        let (list, at) = schedule.next().unwrap();
        (list.name(), at.as_secs())
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_list_is_fetched_at_once_or_when_its_copy_is_old_enough() {
        let mut schedule = Schedule::default();
        let lists = vec![list("a", "1h"), list("b", "1h")];
        schedule.follow(lists.clone(), at(100), |list| (list.name() == "a").then_some(at(600)));
        assert_eq!(next(&schedule), ("b".to_owned(), 100));
        schedule.done("b", true, at(101), 0.5);
        assert_eq!(next(&schedule), ("a".to_owned(), 100 + 3000));
        // A reload that changes nothing of them fetches nothing.
        schedule.follow(lists, at(200), |_| None);
        assert_eq!(next(&schedule), ("a".to_owned(), 3100));
        schedule.follow(vec![list("b", "2h")], at(300), |_| None);
        assert_eq!(next(&schedule), ("b".to_owned(), 300));
    }

    #[test]
    fn failures_are_tried_again_further_and_further_apart_and_no_later_than_usual() {
        let mut schedule = Schedule::default();
        schedule.follow(vec![list("a", "1m")], at(0), |_| None);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            schedule.done("a", false, at(0), 0.5);
            pauses.push(next(&schedule).1);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        schedule.done("a", true, at(0), 0.5);
        schedule.done("a", false, at(0), 0.5);
        assert_eq!(next(&schedule).1, 5);
    }

    #[test]
    fn chance_spreads_fetches_by_a_tenth() {
        let mut schedule = Schedule::default();
        schedule.follow(vec![list("a", "1000s")], at(0), |_| None);
        for (chance, due) in [(0.0, 900), (0.5, 1000), (1.0, 1100)] {
            schedule.done("a", true, at(0), chance);
            assert_eq!(next(&schedule).1, due);
        }
    }
}
