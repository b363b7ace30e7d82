//! Conversations that ended within the last hour, in bounded memory, for `flows` and `graph`.
//!
//! In: flow records and the hour that is now. Out: sums by both ends, protocol, port and outcome. Insiders' conversations
//! and those that others began have places apart, so that a flood from outside leaves an insider's scan in the list.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::application::Recognition;
use monitor_common::conversation::{Record, record_kind};

use crate::snapshot::{Count, address_of};

/// How long an ended conversation is remembered.
pub const KEPT: Duration = Duration::from_hours(1);
/// Sums that each half holds: about 3 MB at 150 bytes each.
const PLACES: usize = 20_000;

/// What conversations have in common that are told as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    pub initiator: IpAddr,
    pub responder: IpAddr,
    pub responder_port: u16,
    pub protocol: u32,
    /// An [`outcome`](monitor_common::conversation::outcome).
    pub outcome: u32,
    pub recognised: Recognition,
}

/// Conversations of one pair that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub conversations: u64,
    /// Port of the initiator in the last of them.
    pub initiator_port: u16,
    pub forward: Count,
    pub backward: Count,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub interface: u16,
    /// The initiator's, when it is on this host.
    pub workload: Option<String>,
}

/// The memory.
#[derive(Debug, Default)]
pub struct Recent {
    insiders: HashMap<Pair, Ended>,
    others: HashMap<Pair, Ended>,
}

impl Recent {
    /// Takes a record; only the end of a conversation is kept. `seen` are its first and last packet.
    pub fn take(
        &mut self,
        record: &Record,
        seen: (Timestamp, Timestamp),
        workload: Option<&str>,
        inside: &[IpNet],
    ) {
        if record.kind != record_kind::ENDED {
            return;
        }
        let pair = Pair {
            initiator: address_of(record.initiator),
            responder: address_of(record.responder),
            responder_port: record.responder_port,
            protocol: record.protocol,
            outcome: record.outcome,
            recognised: Recognition(record.recognised).summary(),
        };
        let is_inside = inside.iter().any(|prefix| prefix.contains(&pair.initiator));
        let half = if is_inside { &mut self.insiders } else { &mut self.others };
        if half.len() >= PLACES && !half.contains_key(&pair) {
            make_room(half);
        }
        let sum = half.entry(pair).or_insert_with(|| Ended {
            conversations: 0,
            initiator_port: record.initiator_port,
            forward: Count::default(),
            backward: Count::default(),
            first_seen: seen.0,
            last_seen: seen.1,
            interface: record.interface,
            workload: None,
        });
        sum.conversations += 1;
        sum.initiator_port = record.initiator_port;
        sum.forward.packets += record.forward.packets;
        sum.forward.bytes += record.forward.bytes;
        sum.backward.packets += record.backward.packets;
        sum.backward.bytes += record.backward.bytes;
        sum.first_seen = sum.first_seen.min(seen.0);
        sum.last_seen = sum.last_seen.max(seen.1);
        if let Some(name) = workload {
            sum.workload = Some(name.to_owned());
        }
    }

    /// Lets go of what is older than the hour.
    pub fn forget(&mut self, now: Timestamp) {
        let Ok(oldest) = now.checked_sub(KEPT) else { return };
        for half in [&mut self.insiders, &mut self.others] {
            half.retain(|_, ended| ended.last_seen >= oldest);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Pair, &Ended)> {
        self.insiders.iter().chain(&self.others)
    }
}

/// The eighth that was seen longest ago goes.
fn make_room(half: &mut HashMap<Pair, Ended>) {
    let mut seen: Vec<_> = half.values().map(|ended| ended.last_seen).collect();
    let (_, oldest, _) = seen.select_nth_unstable(PLACES / 8);
    let oldest = *oldest;
    half.retain(|_, ended| ended.last_seen > oldest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stand_in::ended;
    use monitor_common::conversation::outcome;

    fn at(second: i64) -> (Timestamp, Timestamp) {
        let at = Timestamp::from_second(second).unwrap();
        (at, at)
    }

    #[test]
    fn what_ended_is_summed_by_pair_and_outcome_and_forgotten_after_an_hour() {
        let inside = ["10.0.0.0/8".parse().unwrap()];
        let mut recent = Recent::default();
        for second in 0..3 {
            let record = ended("10.0.0.5", "10.0.0.9", 443, outcome::ESTABLISHED);
            recent.take(&record, at(second), Some("backup.service"), &inside);
        }
        recent.take(&ended("10.0.0.5", "10.0.0.9", 443, outcome::REFUSED), at(3000), None, &inside);
        let started = Record { kind: record_kind::STARTED, ..ended("10.0.0.5", "10.0.0.9", 80, 1) };
        recent.take(&started, at(1), None, &inside);
        let mut sums: Vec<_> = recent.iter().map(|(pair, sum)| (pair.outcome, sum.conversations)).collect();
        sums.sort_unstable();
        assert_eq!(sums, [(outcome::ESTABLISHED, 3), (outcome::REFUSED, 1)]);
        recent.forget(at(3610).0);
        assert_eq!(recent.iter().count(), 1);
    }

    #[test]
    fn a_flood_from_outside_leaves_what_insiders_did() {
        let inside = ["10.0.0.0/8".parse().unwrap()];
        let mut recent = Recent::default();
        recent.take(&ended("10.0.0.5", "10.0.0.9", 22, outcome::REFUSED), at(0), None, &inside);
        for source in 0..50_000_u32 {
            let from = std::net::Ipv4Addr::from(0xc612_0000 + source).to_string();
            recent.take(
                &ended(&from, "10.0.0.9", 80, outcome::REFUSED),
                at(i64::from(source)),
                None,
                &inside,
            );
        }
        assert!(recent.iter().any(|(pair, _)| pair.responder_port == 22));
        assert!(recent.others.len() <= PLACES && recent.others.len() > PLACES / 2);
    }
}
