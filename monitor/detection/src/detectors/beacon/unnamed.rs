//! Calls to addresses that nobody resolved, with or without a rhythm.

use super::{Beacon, Call, Pair, SECOND, rhythm, rhythm::Beat};
use crate::{contact::Contact, lookups::Naming, statistics::real};

impl Beacon {
    /// Calls without a rhythm, again and again, to an address that nobody resolved: who has no name to go by was built so.
    /// Peers among peers have none either, but many of them.
    pub(super) fn unnamed_call(&self, pair: &Pair, contact: &Contact<'_>) -> Option<Call> {
        let p = &self.parameters;
        let within = contact.source_inside && contact.destination_inside;
        let spans = pair.starts.front().map_or(0, |first| contact.now - first) / SECOND;
        let (sent, received) = (rhythm::sizes(&pair.sent).0, rhythm::sizes(&pair.received).0);
        let is_small = sent > 0.0 && sent.max(received) <= p.bulk_bytes;
        let calls = pair.starts.len();
        let rare = spans >= 300 && spans >= 5 * calls as u64;
        if within || !contact.is_tcp() || !pair.reached || !is_small || !rare || calls < p.unnamed_calls {
            return None;
        }
        if pair.named.settled(5) != Naming::Unnamed || p.login_ports.contains(&contact.port) {
            return None;
        }
        let peers = &self.unnamed.get(&contact.source)?.servers;
        let least = u32::try_from(p.unnamed_calls).unwrap_or(u32::MAX);
        let often = peers.values().filter(|server| server.calls >= least).count();
        let odd_port = !p.usual_ports.contains(&contact.port);
        // On a usual port a name may be remembered for long.
        let is_often = often >= 3 || (calls >= 2 * p.unnamed_calls && spans >= 2 * p.names_last_s);
        if peers.len() > p.unnamed_peers || !(odd_port || is_often) {
            return None;
        }
        let gaps: Vec<f64> = pair
            .starts
            .iter()
            .zip(pair.starts.iter().skip(1))
            .map(|(one, next)| real(next - one) / 1e9)
            .collect();
        let beat = Beat::of(&gaps)?;
        Some(Call {
            score: 0.6,
            beats: calls,
            total: pair.total,
            first_at: pair.first_at,
            unit: "calls",
            unnamed: true,
            odd_port,
            ..Call::new(beat)
        })
    }
}
