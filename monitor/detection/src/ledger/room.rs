//! Room among open findings and notifications, so that nobody outside can use up what an insider's needs.
//!
//! In: who a signal is about. Out: the key it is kept under, and whether somebody may be told. Outsiders can invent
//! addresses: once they have a quarter of the room, the next ones are one finding for each detector and victim, and once they
//! have half of it, one for each detector. Half of the notifications of a minute are kept for everybody else.

use super::{Key, Ledger};
use crate::{
    contact::Inside,
    finding::{Detector, Party, Signal},
};

impl Ledger {
    /// Whether anybody outside can make as many of these as they like.
    pub(super) fn is_of_outsider(subject: &Party, inside: &Inside) -> bool {
        match subject {
            Party::Address(address) => !inside.contains(*address),
            Party::Outsiders => true,
            Party::Mac(_) | Party::Interface(_) | Party::Service(_) | Party::Network(_) => false,
        }
    }

    /// The key of a signal. Under pressure an outsider's that is new is that of all outsiders.
    pub(super) fn key_of(&mut self, signal: &Signal, inside: &Inside) -> Key {
        let own =
            Key { detector: signal.detector, subject: signal.subject.clone(), target: signal.target.clone() };
        let room = self.hygiene.open_findings;
        let is_pressed = self.outside >= room / 4
            && Self::is_of_outsider(&own.subject, inside)
            && !self.open.contains_key(&own);
        if !is_pressed {
            return own;
        }
        self.dropped.merged += 1;
        let is_victim = |party: &Party| match party {
            Party::Address(address) => inside.contains(*address),
            _ => true,
        };
        let target = own.target.filter(|target| self.outside < room / 2 && is_victim(target));
        Key { detector: own.detector, subject: Party::Outsiders, target }
    }

    /// Whether one more notification may be sent this minute.
    pub(super) fn may_tell(&mut self, now: u64, detector: Detector, outside: bool) -> bool {
        self.turn_minute(now);
        let most = self.hygiene.notifications_per_minute;
        let has_room = self.told_this_minute < most && (!outside || self.told_outside < most.div_ceil(2));
        if has_room {
            self.told_this_minute += 1;
            self.told_outside += u32::from(outside);
            return true;
        }
        self.dropped.held_back += 1;
        *self.summary.held_back.entry(detector).or_default() += 1;
        false
    }
}
