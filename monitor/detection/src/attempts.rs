//! Contacts in; out comes what became of every *first* contact of a source with a host and port: reached, refused,
//! unanswered. Retries, retransmissions, answers, backscatter and ICMP errors are not contacts.
//!
//! An attempt is pending until an answer or a refusal is seen, or its patience is over. An answer that comes later
//! corrects the verdict. What its sender gave up for another way to the same end failed, but not as scans do
//! ([`super::fallback`]).

mod verdict;

use std::collections::VecDeque;

use monitor_common::{
    conversation::{note, outcome},
    flow::{protocol, tcp},
};

pub use self::verdict::{Attempt, Attempted, Verdict};
use super::{
    bounded::{Bounded, StateSize},
    contact::{Contact, is_group},
    fallback::Fallbacks,
};

const SECOND: u64 = 1_000_000_000;
/// How long an answer is waited for: a sender tries again after one, three and seven seconds (RFC 6298), and is answered
/// then when it or its network had just come up.
pub const PATIENCE: u64 = 8 * SECOND;
/// How long a stray segment may prove to belong to a conversation.
const STRAY_PATIENCE: u64 = 8 * SECOND;
/// A contact that failed and is tried again this much later is another attempt: a scan that is repeated is found again.
const AGAIN: u64 = 600 * SECOND;
/// How long a first contact is remembered as such.
const MEMORY: u64 = 4 * 3600 * SECOND;

/// What was heard of a pending attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    None,
    /// Accepted, and not taken up yet.
    Accepted,
    /// Its packet died on the way: traceroute, not a scan.
    Expired,
    /// Another way was taken meanwhile.
    Replaced,
}

#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
#[derive(Clone, Copy, Debug)]
struct State {
    verdict: Verdict,
    sign: Sign,
    source_inside: bool,
    destination_inside: bool,
    again: bool,
    retried: bool,
    flags: u8,
    source_port: u16,
    mac: u64,
    began_at: u64,
    began: u64,
    touched: u64,
}

#[derive(Debug)]
pub struct Attempts {
    states: Bounded<Attempted, State>,
    pending: VecDeque<(u64, Attempted)>,
    pending_strays: VecDeque<(u64, Attempted)>,
    fallbacks: Fallbacks,
}

impl Attempts {
    pub fn new(capacity: usize) -> Self {
        Self {
            fallbacks: Fallbacks::new(capacity / 32),
            states: Bounded::new("attempts", capacity),
            pending: VecDeque::new(),
            pending_strays: VecDeque::new(),
        }
    }

    pub fn sizes(&self) -> [StateSize; 3] {
        let [waiting, sources] = self.fallbacks.sizes();
        [self.states.size(), waiting, sources]
    }

    /// Ends the patience with attempts that are older.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Attempt>) {
        loop {
            let due =
                |queue: &VecDeque<(u64, Attempted)>| queue.front().filter(|(at, _)| *at <= now).copied();
            let what = if let Some((_, what)) = due(&self.pending) {
                self.pending.pop_front();
                what
            } else if let Some((_, what)) = due(&self.pending_strays) {
                self.pending_strays.pop_front();
                what
            } else {
                break;
            };
            let Some(state) = self.states.get(&what) else { continue };
            let verdict = match state.sign {
                Sign::Accepted => Verdict::HalfOpen,
                Sign::Replaced => Verdict::Replaced,
                _ if self.is_reached_over_tcp(&what) => Verdict::Replaced,
                _ => Verdict::Unanswered,
            };
            if state.verdict == Verdict::Pending && state.sign != Sign::Expired {
                self.decide(what, verdict, now, out);
            }
        }
    }

    pub fn contact(&mut self, contact: &Contact<'_>, out: &mut Vec<Attempt>) {
        match contact.observed() {
            Some(kind) => self.packet(contact, kind, out),
            None => self.conversation(contact, out),
        }
    }

    /// Whether `source` was ever seen to try `destination`.
    pub fn knows(&self, what: &Attempted) -> bool {
        self.states.get(what).is_some()
    }

    fn packet(&mut self, contact: &Contact<'_>, kind: u32, out: &mut Vec<Attempt>) {
        let there = forward(contact, false);
        // The packet as an answer: to an attempt of its destination on the port that it comes from.
        let answers = Attempted {
            source: contact.destination,
            destination: contact.source,
            protocol: contact.protocol,
            port: contact.record.initiator_port,
            stray: false,
        };
        match kind {
            note::SYN | note::ECHO => self.begin(there, contact, out),
            note::UDP => {
                if self.knows(&answers) {
                    self.decide(answers, Verdict::Reached, contact.now, out);
                } else if !is_answer_port(contact.record.initiator_port, contact.port) {
                    self.begin(there, contact, out);
                }
            }
            note::SYN_ACK => {
                if let Some(state) = self.states.get_mut(&answers) {
                    state.sign = Sign::Accepted;
                }
            }
            note::ICMP_OTHER if matches!(contact.record.responder_port >> 8, 0 | 129) => {
                self.decide(Attempted { port: 0, ..answers }, Verdict::Reached, contact.now, out);
            }
            note::RESET => {
                for stray in [false, true] {
                    let what = Attempted { stray, ..answers };
                    if self.states.get(&what).is_some_and(|state| state.verdict == Verdict::Pending) {
                        self.decide(what, Verdict::Refused, contact.now, out);
                    }
                }
            }
            note::STRAY => {
                // What follows a handshake that was seen, or answers one, is no scan.
                let answer = is_answer_port(contact.record.initiator_port, contact.port);
                if contact.record.forward.payload == 0
                    && !answer
                    && !self.knows(&there)
                    && !self.knows(&answers)
                {
                    self.begin(Attempted { stray: true, ..there }, contact, out);
                } else if contact.record.forward_flags & u32::from(tcp::SYN | tcp::ACK | tcp::RST)
                    == u32::from(tcp::ACK)
                {
                    self.decide(there, Verdict::Reached, contact.now, out);
                }
            }
            _ => {}
        }
    }

    fn conversation(&mut self, contact: &Contact<'_>, out: &mut Vec<Attempt>) {
        let record = contact.record;
        let what = forward(contact, false);
        let flipped = Attempted {
            source: contact.destination,
            destination: contact.source,
            protocol: contact.protocol,
            port: record.initiator_port,
            stray: false,
        };
        if record.outcome == outcome::MIDSTREAM {
            self.midstream(contact, what, flipped, out);
            return;
        }
        if contact.started() {
            if contact.is_udp() && (self.knows(&flipped) || record.forward.packets == 0) {
                self.decide(flipped, Verdict::Reached, contact.now, out);
                return;
            }
            self.begin(what, contact, out);
        }
        if record.opens > 1
            && let Some(state) = self.states.get_mut(&what)
        {
            state.retried |= state.verdict == Verdict::Pending;
        }
        if contact.succeeded() {
            self.begin_quietly(what, contact);
            self.decide(what, Verdict::Reached, contact.now, out);
        } else if record.outcome == outcome::REFUSED {
            let stray = contact.is_tcp() && !contact.began_with_syn();
            self.decide(Attempted { stray, ..what }, Verdict::Refused, contact.now, out);
        } else if record.outcome == outcome::EXPIRED {
            if let Some(state) = self.states.get_mut(&what) {
                state.sign = Sign::Expired;
            }
        } else if record.outcome == outcome::ESTABLISHED && contact.is_tcp() {
            if let Some(state) = self.states.get_mut(&what) {
                state.sign = Sign::Accepted;
            }
            if contact.ended() {
                self.decide(what, Verdict::HalfOpen, contact.now, out);
            }
        }
    }

    /// A conversation whose start was not seen: real when both ends speak, a stray when only one does and says nothing.
    fn midstream(
        &mut self,
        contact: &Contact<'_>,
        what: Attempted,
        flipped: Attempted,
        out: &mut Vec<Attempt>,
    ) {
        let record = contact.record;
        if record.forward.payload.saturating_add(record.backward.payload) > 0 || contact.succeeded() {
            for what in [what, flipped] {
                self.decide(what, Verdict::Reached, contact.now, out);
                self.decide(Attempted { stray: true, ..what }, Verdict::Reached, contact.now, out);
            }
        } else if contact.started() && record.forward.packets > 0 {
            // A sender whose ports say that it is the server answers something: backscatter.
            self.begin(Attempted { stray: true, ..what }, contact, out);
        }
    }

    fn begin(&mut self, what: Attempted, contact: &Contact<'_>, out: &mut Vec<Attempt>) {
        if is_group(what.source) || is_group(what.destination) {
            return;
        }
        if let Some(state) = self.states.get_mut(&what) {
            state.touched = contact.now;
            if state.verdict == Verdict::Pending {
                state.retried |= contact.now > state.began + SECOND / 2;
            }
            let is_settled = state.verdict.failed() || state.verdict == Verdict::Reached;
            if !is_settled || contact.now < state.began + AGAIN {
                return;
            }
            state.verdict = Verdict::Pending;
            state.sign = Sign::None;
            (state.again, state.retried) = (true, false);
            (state.began_at, state.began) = (contact.began_at(), contact.now);
        } else if !self.insert(what, contact) {
            return;
        }
        if what.stray {
            self.pending_strays.push_back((contact.now + STRAY_PATIENCE, what));
        } else {
            if let Some(state) = self.states.get(&what) {
                self.fallbacks.begins(what, state.mac, contact.now);
            }
            self.pending.push_back((contact.now + PATIENCE, what));
            out.push(self.event(what, Verdict::Pending, contact.now));
        }
    }

    /// Remembers a contact whose beginning was not reported, so that its success can be.
    fn begin_quietly(&mut self, what: Attempted, contact: &Contact<'_>) {
        if !self.knows(&what) && !is_group(what.destination) {
            self.insert(what, contact);
        }
    }

    fn insert(&mut self, what: Attempted, contact: &Contact<'_>) -> bool {
        let now = contact.now;
        // A stray's sender may be the responder of a conversation whose start was not seen.
        let as_said = what.source == contact.source;
        let (source_inside, destination_inside) = if as_said {
            (contact.source_inside, contact.destination_inside)
        } else {
            (contact.destination_inside, contact.source_inside)
        };
        let flags = (contact.record.forward_flags | contact.record.backward_flags) & 0xff;
        let state = State {
            verdict: Verdict::Pending,
            sign: Sign::None,
            source_inside,
            destination_inside,
            again: false,
            retried: contact.delta.opens > 1,
            flags: u8::try_from(flags).unwrap_or(0),
            source_port: if as_said { contact.record.initiator_port } else { contact.record.responder_port },
            mac: if as_said { contact.record.mac } else { 0 },
            began_at: contact.began_at(),
            began: now,
            touched: now,
        };
        self.states
            .entry(what, source_inside, now, |state| now.saturating_sub(state.touched) < MEMORY, || state)
            .is_some()
    }

    fn decide(&mut self, what: Attempted, verdict: Verdict, now: u64, out: &mut Vec<Attempt>) {
        let Some(state) = self.states.get_mut(&what) else { return };
        state.touched = now;
        let before = state.verdict;
        let changes = match before {
            Verdict::Pending => true,
            // A late answer corrects; once reached, a host stays reached.
            Verdict::Unanswered | Verdict::HalfOpen | Verdict::Refused => {
                matches!(verdict, Verdict::Reached | Verdict::Replaced)
            }
            Verdict::Replaced => verdict == Verdict::Reached,
            Verdict::Reached => false,
        };
        if !changes {
            return;
        }
        state.verdict = verdict;
        let (mac, began) = (state.mac, state.began);
        let mut event = self.event(what, verdict, now);
        event.before = before;
        out.push(event);
        if verdict == Verdict::Reached {
            self.fallbacks.succeeds(&what);
            self.replace(what, mac, began, now, out);
        }
    }

    /// What was reached may be what its sender could not reach another way.
    fn replace(&mut self, what: Attempted, mac: u64, began: u64, now: u64, out: &mut Vec<Attempt>) {
        let over_udp = Attempted { protocol: protocol::UDP, ..what };
        let replaced = if what.protocol == protocol::TCP && self.knows(&over_udp) {
            Some(over_udp)
        } else {
            self.fallbacks.replaces(&what, mac, began)
        };
        let Some(replaced) = replaced else { return };
        match self.states.get_mut(&replaced) {
            Some(state) if state.verdict == Verdict::Pending && state.sign == Sign::None => {
                state.sign = Sign::Replaced;
            }
            Some(state) if state.verdict != Verdict::Pending => {
                self.decide(replaced, Verdict::Replaced, now, out);
            }
            _ => {}
        }
    }

    /// A datagram's host and port were reached over TCP: QUIC where it does not get through.
    fn is_reached_over_tcp(&self, what: &Attempted) -> bool {
        what.protocol == protocol::UDP
            && self
                .states
                .get(&Attempted { protocol: protocol::TCP, ..*what })
                .is_some_and(|state| state.verdict == Verdict::Reached)
    }

    fn event(&self, what: Attempted, verdict: Verdict, now: u64) -> Attempt {
        let state = self.states.get(&what);
        Attempt {
            what,
            verdict,
            before: Verdict::Pending,
            source_inside: state.is_some_and(|state| state.source_inside),
            destination_inside: state.is_some_and(|state| state.destination_inside),
            again: state.is_some_and(|state| state.again),
            retried: state.is_some_and(|state| state.retried),
            flags: state.map_or(0, |state| state.flags),
            source_port: state.map_or(0, |state| state.source_port),
            began_at: state.map_or(0, |state| state.began_at),
            began: state.map_or(now, |state| state.began),
            now,
        }
    }
}

fn forward(contact: &Contact<'_>, stray: bool) -> Attempted {
    Attempted {
        source: contact.source,
        destination: contact.destination,
        protocol: contact.protocol,
        port: contact.port,
        stray,
    }
}

/// Whether the ports say that a datagram is an answer.
const fn is_answer_port(from: u16, to: u16) -> bool {
    from < 1024 && to >= 1024
}
