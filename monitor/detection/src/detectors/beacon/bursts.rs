//! Beats within one conversation: bursts of data that come as from a timer.

use super::{
    Beacon, Bursts, CANDIDATE_BEATS, CANDIDATE_SCORE, Call, DAY, PairKey, SECOND, push, rhythm,
    rhythm::Beat,
    speech::{Speech, is_thanked},
};
use crate::{contact::Contact, finding::Signals, lookups::Naming, statistics::real};

impl Beacon {
    /// Bursts within a conversation.
    pub(super) fn conversation(&mut self, key: PairKey, contact: &Contact<'_>, signals: &mut Signals) {
        let record = contact.record;
        let reported = record.bursts;
        if reported.count < 2 || contact.delta.bursts == 0 {
            return;
        }
        let now = contact.now;
        let keep = |bursts: &Bursts| now - bursts.touched < DAY / 24;
        let place = (key, record.initiator_port);
        let inside = contact.source_inside;
        let Some(bursts) = self.bursts.entry(place, inside, now, keep, Bursts::default) else { return };
        if reported.count <= bursts.count || bursts.count == 0 {
            *bursts = Bursts { first_at: contact.began_at(), ..Bursts::default() };
        }
        // Several bursts since the last record: only their last gap is known, and their mean.
        let news = reported.count - bursts.count;
        bursts.count = reported.count;
        bursts.touched = now;
        push(&mut bursts.sent, real(contact.delta.forward.payload) / f64::from(news));
        push(&mut bursts.received, real(contact.delta.backward.payload) / f64::from(news));
        if news == 1 {
            match (contact.delta.forward.payload, contact.delta.backward.payload) {
                (0, 0) => {}
                (_, 0) => bursts.alone[0] += 1,
                (0, _) => bursts.alone[1] += 1,
                _ => bursts.alone[2] += 1,
            }
        }
        let gap = f64::from(reported.last_gap_ms) / 1000.0;
        for _ in 0..news.min(if bursts.gaps.is_empty() { 1 } else { 3 }) {
            push(&mut bursts.gaps, gap);
        }
        if bursts.gaps.len() < CANDIDATE_BEATS || now < bursts.quiet_until {
            return;
        }
        let gaps: Vec<f64> = bursts.gaps.iter().copied().collect();
        let Some(beat) = Beat::of(&gaps) else { return };
        let p = &self.parameters;
        let timer = beat.is_jittered_timer() && beat.gaps >= 24 && beat.period >= p.fast_period_s;
        let mut score = 0.6 * beat.regularity + 0.4 * beat.steadiness;
        if timer {
            score = score.max(0.5 + 0.4 * beat.bounded);
        }
        let naming = self.pairs.get(&key).map_or(Naming::Unknown, |pair| pair.naming(now, p.names_last_s));
        if score < p.score
            || beat.period < p.least_burst_period_s
            || !(beat.regularity >= p.burst_regularity || timer)
        {
            let Some(bursts) = self.bursts.get(&place) else { return };
            if let Some(call) = self.answers(bursts, beat, naming, contact) {
                if let Some(bursts) = self.bursts.get_mut(&place) {
                    bursts.quiet_until = now + SECOND;
                }
                self.judge(call, contact, signals);
                return;
            }
        }
        if score < CANDIDATE_SCORE || beat.period < p.least_burst_period_s {
            return;
        }
        let speaks = Speech::of(contact);
        let odd_port = speaks.is_odd(!p.heartbeat_ports.contains(&contact.port));
        let unresolved = self.pairs.get(&key).is_some_and(|pair| pair.named.is_unasked());
        let Some(bursts) = self.bursts.get_mut(&place) else { return };
        bursts.quiet_until = now + SECOND;
        let ((sent, sent_spread), (received, received_spread)) =
            (rhythm::sizes(&bursts.sent), rhythm::sizes(&bursts.received));
        // A source without answers receives no orders: it reports to a collector.
        let is_report = !contact.is_tcp() && bursts.received.iter().all(|bytes| *bytes < 1.0);
        let usual =
            received > p.burst_bulk_bytes || is_report || !(beat.regularity >= p.burst_regularity || timer);
        let call = Call {
            beats: if score < p.score { 0 } else { bursts.gaps.len() },
            beat,
            score,
            sizes: 1.0,
            total: u64::from(bursts.count),
            first_at: bursts.first_at,
            unit: "bursts",
            usual,
            unnamed: false,
            odd_port,
            size_spread: sent_spread.max(received_spread),
            naming,
            keeps_alive: sent <= p.keep_alive_bytes,
            own_timers: bursts.own_timers(),
            unanswered: bursts.unanswered(),
            uploads: bursts.sent.iter().any(|bytes| *bytes >= p.upload_bytes && *bytes >= 4.0 * sent),
            thanked: is_thanked(sent, received, bursts.received.len()),
            in_clear: speaks == Speech::ClearHttp,
            unresolved,
        };
        self.judge(call, contact, signals);
    }
}
