//! Judged frames in; counts by reason, by source and by service out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use monitor_common::flow::{BanKey, SourceKey};
use monitor_common::verdict::{Action, REASONS, Reason};

use super::batch::Frame;
use crate::core::address::key;
use crate::core::meter::Meter;
use crate::core::names::source_of;
use detection::detect::ServiceRate;
use detection::finding::{Report, SourceCount, VerdictCount};
use policy::config::Source as SourceBits;

/// Sources that are counted at once: about 100 MiB. When there are more, those with the fewest packets are forgotten.
const MOST_SOURCES: usize = 1 << 20;
/// How often entries that ended are looked for.
const SWEEP_NS: u64 = 60_000_000_000;

/// What was counted so far.
#[derive(Debug)]
pub struct Verdicts {
    /// By number.
    reasons: [VerdictCount; REASONS],
    sources: HashMap<IpAddr, Count>,
    /// Sources that were forgotten, some of them more than once.
    forgotten: u64,
    meter: Meter,
    bits: SourceBits,
    /// How long a source keeps its entry in silence.
    idle_ns: u64,
    /// When entries were last looked through.
    swept_at: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    packets: u64,
    bytes: u64,
    dropped: u64,
    would_drop: u64,
}

impl Verdicts {
    /// `bits` say what counts as one source, `idle_ns` how long its entry lasts in silence.
    pub fn new(bits: SourceBits, idle_ns: u64) -> Self {
        Self {
            reasons: [VerdictCount::default(); REASONS],
            sources: HashMap::new(),
            forgotten: 0,
            meter: Meter::default(),
            bits,
            idle_ns,
            swept_at: 0,
        }
    }

    /// Counts judged frames.
    pub fn count(&mut self, frames: &[Frame]) {
        for frame in frames {
            let Some(verdict) = frame.verdict else { continue };
            let bytes = frame.length();
            let reason = &mut self.reasons[verdict.reason as usize];
            reason.packets += 1;
            reason.bytes += bytes;
            if let Some(would) = verdict.would_drop {
                self.reasons[would as usize].would_drop += 1;
            }
            if let Some(source) = frame.source
                && self.sources.len() >= MOST_SOURCES
                && !self.sources.contains_key(&source)
            {
                self.forget();
            }
            self.meter.carried(verdict.service, 1, bytes);
            let Some(source) = frame.source else { continue };
            if reaches_the_limiter(verdict.reason) {
                let BanKey { high, low } = key(source_of(self.bits, source).network());
                self.meter.saw(SourceKey::new(high, low, verdict.service), frame.at_ns);
            }
            let source = self.sources.entry(source).or_default();
            source.packets += 1;
            source.bytes += bytes;
            source.dropped += u64::from(verdict.reason.action() != Action::Pass);
            source.would_drop += u64::from(verdict.would_drop.is_some());
        }
    }

    /// What services carried since the last call.
    pub fn end_second(&mut self, at_ns: u64) -> BTreeMap<u32, ServiceRate> {
        if at_ns.saturating_sub(self.swept_at) >= SWEEP_NS {
            self.swept_at = at_ns;
            self.meter.forget_before(at_ns.saturating_sub(self.idle_ns));
        }
        self.meter.end_second()
    }

    pub fn by_reason(&self) -> BTreeMap<String, VerdictCount> {
        let counted =
            Reason::ALL.iter().zip(&self.reasons).filter(|(_, count)| **count != VerdictCount::default());
        counted.map(|(reason, count)| (reason.label().to_owned(), *count)).collect()
    }

    /// Those with most packets, ties by address.
    pub fn sources(&self) -> Vec<SourceCount> {
        let mut all: Vec<_> = self.sources.iter().collect();
        all.sort_unstable_by_key(|(address, count)| (std::cmp::Reverse(count.packets), **address));
        let row = |(address, count): (&IpAddr, &Count)| SourceCount {
            address: *address,
            packets: count.packets,
            bytes: count.bytes,
            dropped: count.dropped,
            would_drop: count.would_drop,
        };
        all.into_iter().take(Report::SOURCES).map(row).collect()
    }

    pub fn notes(&self) -> Vec<String> {
        let note = || {
            format!(
                "more than {MOST_SOURCES} sources: those with few packets were forgotten {} times, so counts of sources \
                 may be short",
                self.forgotten
            )
        };
        (self.forgotten > 0).then(note).into_iter().collect()
    }

    /// Makes room, from the fewest packets up, so that what is left does not hang on the order within the table.
    fn forget(&mut self) {
        let before = self.sources.len();
        let mut fewest = 1;
        while self.sources.len() > MOST_SOURCES / 2 {
            self.sources.retain(|_, count| count.packets > fewest);
            fewest *= 2;
        }
        self.forgotten += (before - self.sources.len()) as u64;
    }
}

/// Whether a packet came as far as the limiter, where sources have their entries.
fn reaches_the_limiter(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Arp
            | Reason::NonIp
            | Reason::MalformedPassed
            | Reason::MalformedDropped
            | Reason::Banned
            | Reason::Denied
            | Reason::Contained
            | Reason::SketchRate
            | Reason::NotReady
    )
}

/// Whether a packet was over a limit of its own source.
pub fn is_excess(reason: Reason) -> bool {
    matches!(reason, Reason::PacketRate | Reason::ByteRate | Reason::ConnectionRate | Reason::FragmentRate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::Verdict;

    fn frame(source: &str, reason: Reason, would_drop: Option<Reason>) -> Frame {
        let verdict = Some(Verdict { reason, would_drop, candidate: false, service: 3 });
        Frame { start: 0, end: 60, at_ns: 0, source: source.parse().ok(), verdict }
    }

    #[test]
    fn frames_are_counted_by_reason_and_by_source() {
        let mut verdicts = Verdicts::new(SourceBits::default(), 0);
        verdicts.count(&[
            frame("10.0.0.2", Reason::Accepted, Some(Reason::PacketRate)),
            frame("10.0.0.2", Reason::PacketRate, None),
            frame("10.0.0.1", Reason::Accepted, None),
            frame("10.0.0.3", Reason::Accepted, None),
            frame("", Reason::Arp, None),
            Frame { verdict: None, ..frame("10.0.0.9", Reason::Accepted, None) },
        ]);
        let count = |packets, would_drop| VerdictCount { packets, bytes: 60 * packets, would_drop };
        let reasons = verdicts.by_reason();
        assert_eq!(reasons["accepted"], count(3, 0));
        assert_eq!(reasons["packet_rate"], count(1, 1));
        assert_eq!(reasons["arp"], count(1, 0));
        assert_eq!(reasons.len(), 3);
        let rows = verdicts.sources();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.address.to_string(), row.packets, row.dropped, row.would_drop))
            .collect();
        let row = |address: &str, packets, dropped, would| (address.to_owned(), packets, dropped, would);
        assert_eq!(rows, [row("10.0.0.2", 2, 1, 1), row("10.0.0.1", 1, 0, 0), row("10.0.0.3", 1, 0, 0)]);
        let second = verdicts.end_second(0);
        assert_eq!(second[&3], ServiceRate { packets: 5, bytes: 300, new_sources: 3 });
        assert!(verdicts.end_second(0).is_empty());
    }

    #[test]
    fn a_hundred_sources_are_listed() {
        let mut verdicts = Verdicts::new(SourceBits::default(), 0);
        let frames: Vec<_> =
            (0..=255).map(|host| frame(&format!("10.0.0.{host}"), Reason::Accepted, None)).collect();
        verdicts.count(&frames);
        let listed = verdicts.sources();
        assert_eq!((listed.len(), listed[99].address.to_string()), (100, "10.0.0.99".to_owned()));
    }
}
