//! From a rhythm to a signal: what is known of source and destination is weighed, and said with its reasons.

use std::{collections::HashMap, net::IpAddr};

use serde_json::json;

use super::{
    Beacon, Call, Context, DAY, Regular,
    suspicion::{Facts, Suspicion},
};
use crate::{
    bounded::Bounded,
    contact::Contact,
    evidence,
    finding::{Detector, Party, Service, Severity, Signal, Signals},
    statistics::{count, real, rounded},
};

/// Times in a row that a warning must weigh enough.
const SUSPECTED: u8 = 2;

impl Beacon {
    /// Weighs a rhythm and reports it.
    pub(super) fn judge(&mut self, call: Call, contact: &Contact<'_>, signals: &mut Signals) {
        let context = self.context(contact, call.beat.period);
        let suspicion = Suspicion::of(
            &Facts {
                beat: call.beat,
                within: contact.source_inside && contact.destination_inside,
                bursts: call.unit == "bursts",
                odd_port: call.odd_port,
                size_spread: call.size_spread,
                naming: call.naming,
                destinations: context.destinations,
                alike: context.alike,
                keeps_alive: call.keeps_alive,
                own_timers: call.own_timers,
                unanswered: call.unanswered,
                uploads: call.uploads,
                thanked: call.thanked,
                in_clear: call.in_clear,
                unresolved: call.unresolved,
            },
            &self.parameters,
        );
        let is_loose = call.unit == "connections" && !call.beat.is_regular() && suspicion.weight < 8;
        // Who calls from outside is a client of ours.
        let is_client = !contact.source_inside && contact.destination_inside;
        let usual = call.usual
            || is_loose
            || is_client
            || self.is_peer(contact.source, contact.now)
            || context.is_echo
            || context.sources >= self.parameters.prevalent;
        let is_firm = self.is_suspected(contact, !usual && call.beats > 0 && suspicion.is_warning());
        if call.beats < if call.unnamed { self.parameters.unnamed_calls } else { self.parameters.least_beats }
        {
            return;
        }
        let is_grave = !usual && suspicion.is_warning() && (is_firm || call.unnamed);
        let severity = if is_grave { Severity::Warning } else { Severity::Info };
        if severity == Severity::Info && (call.unnamed || !self.may_note(contact)) {
            return;
        }
        signals.push(self.signal(contact, &call, severity, &context, &suspicion));
    }

    /// Chance makes a rhythm for a beat or two: a warning is weighed so three times in a row.
    fn is_suspected(&mut self, contact: &Contact<'_>, is_now: bool) -> bool {
        let regular = self.regular.get_mut(&contact.source).and_then(|all| all.get_mut(&contact.destination));
        let Some(regular) = regular else { return is_now };
        regular.suspected = if is_now { regular.suspected.saturating_add(1) } else { 0 };
        regular.suspected >= SUSPECTED
    }

    /// One `info` a day and source: who has one rhythm has several.
    fn may_note(&mut self, contact: &Contact<'_>) -> bool {
        let (now, target) = (contact.now, contact.destination);
        let keep = |noted: &(IpAddr, u64)| now - noted.1 < DAY;
        let new = || (target, now);
        let Some(noted) = self.noted.entry(contact.source, contact.source_inside, now, keep, new) else {
            return false;
        };
        if now - noted.1 >= DAY {
            *noted = new();
        }
        noted.0 == target
    }

    /// How usual the destination is, and how many regular destinations the source has, and how many like this one.
    fn context(&mut self, contact: &Contact<'_>, period: f64) -> Context {
        let now = contact.now;
        let known = self.prevalence.get(&(contact.destination, contact.port)).map_or(1, Vec::len);
        let inside = contact.source_inside;
        let keep = |all: &HashMap<IpAddr, Regular>| all.values().any(|one| now - one.last < DAY / 12);
        let regular = Regular { first: now, last: now, port: contact.port, period, suspected: 0 };
        let (mut destinations, mut alike) = (1, 1);
        if let Some(all) = self.regular.entry(contact.source, inside, now, keep, HashMap::new) {
            if all.len() < 64 || all.contains_key(&contact.destination) {
                let before = all.get(&contact.destination).copied().unwrap_or(regular);
                let Regular { first, suspected, .. } = before;
                all.insert(contact.destination, Regular { first, suspected, ..regular });
            }
            all.retain(|_, one| now - one.last < DAY / 12);
            destinations = all.len();
            alike = all.values().filter(|one| one.is_like(&regular)).count();
        }
        // Answers that come as connections of their own are the other end's rhythm.
        let echoes =
            self.regular.get(&contact.destination).is_some_and(|all| all.contains_key(&contact.source));
        let earlier = destinations_first(&self.regular, contact);
        Context { sources: known, destinations, alike, is_echo: echoes && earlier }
    }

    fn signal(
        &self,
        contact: &Contact<'_>,
        call: &Call,
        severity: Severity,
        context: &Context,
        suspicion: &Suspicion,
    ) -> Signal {
        let p = &self.parameters;
        let beat = &call.beat;
        let threshold = match call.unit {
            "calls" | "answers" => p.unnamed_calls,
            _ if severity > Severity::Info && beat.period < p.fast_period_s => p.fast_beats,
            _ => p.least_beats,
        };
        Signal {
            detector: Detector::Beacon,
            severity,
            subject: Party::Address(contact.source),
            target: Some(Party::Address(contact.destination)),
            service: Some(Service::new(contact.protocol, contact.port)),
            first_seen: call.first_at,
            measured: real(call.total),
            threshold: count(threshold),
            unit: call.unit,
            window_s: 0,
            confidence: rounded(call.score).min(0.99),
            evidence: evidence(json!({
                "score": rounded(call.score),
                "period_s": rounded(beat.period),
                "time_regularity": rounded(beat.regularity),
                "steadiness": rounded(beat.steadiness),
                "bounded": rounded(beat.bounded),
                "size_regularity": rounded(call.sizes),
                "sources_of_this_service": context.sources,
                "regular_destinations_of_this_source": context.destinations,
                "destinations_of_this_rhythm": context.alike,
                "weight": suspicion.weight,
                "reasons": suspicion.reasons(),
            })),
            workload: contact.workload.map(str::to_owned),
        }
    }
}

/// Whether the other end was regular before this one.
fn destinations_first(regular: &Bounded<IpAddr, HashMap<IpAddr, Regular>>, contact: &Contact<'_>) -> bool {
    let since =
        |one: IpAddr, other: IpAddr| regular.get(&one).and_then(|all| all.get(&other)).map(|one| one.first);
    match (since(contact.destination, contact.source), since(contact.source, contact.destination)) {
        (Some(theirs), Some(ours)) => theirs < ours,
        (theirs, _) => theirs.is_some(),
    }
}
