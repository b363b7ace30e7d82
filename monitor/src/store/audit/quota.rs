//! How many refused calls have an entry of their own: some for each user, some for all users together.
//!
//! In: a user and the time. Out: whether there is room; the others are counted by user and told once a minute, so that no
//! user fills the disk or pushes out what others did.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// At once, and one more after each of these times.
const OF_USER: (u32, Duration) = (20, Duration::from_secs(30));
const OF_ALL: (u32, Duration) = (200, Duration::from_secs(5));
/// Users with a quota of their own; further ones share the one of all.
const USERS: usize = 256;
/// How often what was left out is told.
const EVERY: Duration = Duration::from_mins(1);
/// Users that are named then.
const NAMED: usize = 5;

/// Room that fills up again with time.
#[derive(Clone, Copy, Debug)]
struct Room {
    left: u32,
    at: Instant,
}

impl Room {
    const fn new((most, _): (u32, Duration), now: Instant) -> Self {
        Self { left: most, at: now }
    }

    fn fill(&mut self, (most, every): (u32, Duration), now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let more = u32::try_from(passed.as_millis() / every.as_millis()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(most);
            self.at += every.saturating_mul(more);
        }
        if self.left == most {
            self.at = now;
        }
    }
}

/// The quotas, and who was left out since it was told last.
#[derive(Debug)]
pub struct Quota {
    all: Room,
    users: BTreeMap<u32, Room>,
    left_out: BTreeMap<u32, (Option<String>, u64)>,
    more: u64,
    told_at: Instant,
}

impl Quota {
    pub fn new(now: Instant) -> Self {
        let (users, left_out) = (BTreeMap::new(), BTreeMap::new());
        Self { all: Room::new(OF_ALL, now), users, left_out, more: 0, told_at: now }
    }

    /// Takes room for a refused call of a user, if there is some.
    pub fn take(&mut self, uid: u32, user: Option<&str>, now: Instant) -> bool {
        self.all.fill(OF_ALL, now);
        if self.users.len() >= USERS {
            // A full quota is the same as none.
            self.users.retain(|_, room| {
                room.fill(OF_USER, now);
                room.left < OF_USER.0
            });
        }
        let has_place = self.users.len() < USERS || self.users.contains_key(&uid);
        let mut own = has_place.then(|| self.users.entry(uid).or_insert_with(|| Room::new(OF_USER, now)));
        if let Some(own) = &mut own {
            own.fill(OF_USER, now);
        }
        let fits = self.all.left > 0 && own.as_ref().is_none_or(|own| own.left > 0);
        if fits {
            self.all.left -= 1;
            if let Some(own) = own {
                own.left -= 1;
            }
        } else if self.left_out.len() < USERS || self.left_out.contains_key(&uid) {
            let named = self.left_out.entry(uid).or_insert_with(|| (user.map(str::to_owned), 0));
            named.1 += 1;
        } else {
            self.more += 1;
        }
        fits
    }

    /// Calls that never came here, because too many were on their way.
    pub fn add(&mut self, more: u64) {
        self.more += more;
    }

    /// How many were left out and of whom, when it is time to tell; `at_once` at the end.
    pub fn left_out(&mut self, now: Instant, at_once: bool) -> Option<(u64, String)> {
        let due = at_once || now.saturating_duration_since(self.told_at) >= EVERY;
        let count = self.left_out.values().map(|(_, count)| count).sum::<u64>() + self.more;
        if !due || count == 0 {
            return None;
        }
        self.told_at = now;
        let mut all: Vec<_> = std::mem::take(&mut self.left_out).into_iter().collect();
        all.sort_by_key(|(_, (_, count))| std::cmp::Reverse(*count));
        let named = all.iter().take(NAMED).map(|(uid, (user, count))| match user {
            Some(user) => format!("{user} (uid {uid}): {count}"),
            None => format!("uid {uid}: {count}"),
        });
        let mut told = named.collect::<Vec<_>>().join(", ");
        let others =
            all.iter().skip(NAMED).map(|(_, (_, count))| count).sum::<u64>() + std::mem::take(&mut self.more);
        if others > 0 {
            let separator = if told.is_empty() { "" } else { ", " };
            told = format!("{told}{separator}others: {others}");
        }
        Some((count, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_quota_that_fills_up_again_and_leaves_others_theirs() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        let listed = (0..1000).filter(|_| quota.take(1000, Some("mallory"), start)).count();
        assert_eq!(listed, 20);
        assert!(quota.take(1001, None, start));
        assert_eq!(quota.left_out(start + Duration::from_secs(59), false), None);
        let told = quota.left_out(start + Duration::from_mins(1), false);
        assert_eq!(told, Some((980, "mallory (uid 1000): 980".to_owned())));
        assert_eq!(quota.left_out(start + Duration::from_secs(200), false), None);
        let later = start + Duration::from_secs(61);
        assert_eq!((0..10).filter(|_| quota.take(1000, None, later)).count(), 2);
    }

    #[test]
    fn many_users_together_have_a_quota_too_and_bounded_memory() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        let listed = (0..60_000).filter(|uid| quota.take(*uid, None, start)).count();
        assert_eq!(listed, 200);
        assert!(quota.users.len() <= USERS && quota.left_out.len() <= USERS);
        let (count, told) = quota.left_out(start, true).unwrap();
        assert_eq!(count, 59_800);
        assert!(told.contains("others: 59795"), "{told}");
    }
}
