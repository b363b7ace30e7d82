//! Which findings another one explains: guessing is regular, a fan-out of scans is a scan, the addresses of a network that
//! is flooded are its victims.

use super::{ChangeKind, Key, Ledger, Open};
use crate::{
    contact::Inside,
    finding::{Detector, Finding, Party, Severity, Signal},
};

/// Scans that say more than a slow scan or a fan-out of the same source.
const PLAIN_SCANS: [Detector; 3] = [Detector::PortScan, Detector::HostScan, Detector::UdpScan];

/// What forged sources of a carpet look like, one by one.
const SPREAD: [Detector; 3] = [Detector::HostScan, Detector::SlowScan, Detector::UdpScan];
const SECOND: u64 = 1_000_000_000;

impl Ledger {
    /// Whether a whole network is being flooded.
    fn lies_under_carpet(&self, now: u64) -> bool {
        self.open.iter().any(|(key, open)| {
            matches!(key.subject, Party::Network(_)) && now.saturating_sub(open.seen) < 30 * SECOND
        })
    }

    /// A scan or guessing is named first: it makes regular connections too.
    pub(super) fn is_explained(&self, signal: &Signal, now: u64, inside: &Inside) -> bool {
        let forged = signal.target.is_none()
            && SPREAD.contains(&signal.detector)
            && signal.subject.address().is_some_and(|address| !inside.contains(address));
        if forged && self.lies_under_carpet(now) {
            return true;
        }
        match signal.detector {
            Detector::Beacon => self.probing(&signal.subject, &Detector::PROBING).any(|(key, open)| {
                key.target == signal.target || (key.target.is_none() && same_service(&open.finding, signal))
            }),
            // The fast rules said it already.
            Detector::SlowScan | Detector::FanOut => {
                self.probing(&signal.subject, &PLAIN_SCANS).next().is_some()
            }
            // Its network is the victim.
            _ if signal.target.is_none() && Detector::OF_CROWDS.contains(&signal.detector) => {
                signal.subject.address().is_some_and(|address| {
                    let networks = self.open.iter().filter(|(key, open)| {
                        matches!(key.subject, Party::Network(prefix) if prefix.contains(&address))
                            && signal.measured * 2.0 < open.finding.measured
                    });
                    networks.count() > 0
                })
            }
            _ => false,
        }
    }

    /// Open findings of these detectors about `subject`, of warning or above.
    fn probing<'a>(
        &'a self,
        subject: &'a Party,
        detectors: &'a [Detector],
    ) -> impl Iterator<Item = (&'a Key, &'a Open)> {
        detectors.iter().flat_map(move |detector| {
            let first = Key { detector: *detector, subject: subject.clone(), target: None };
            self.open
                .range(first..)
                .take_while(move |(key, _)| key.detector == *detector && key.subject == *subject)
                .filter(|(_, open)| open.finding.severity >= Severity::Warning)
        })
    }

    /// Takes back what `finding` explains better.
    pub(super) fn retract(&mut self, detector: Detector, finding: &Finding, of: &Key) {
        if let Party::Network(prefix) = of.subject {
            let within = |key: &Key, open: &Open| {
                let since = finding.raised_at.duration_since(open.finding.raised_at).as_secs();
                let forged = SPREAD.contains(&key.detector) && key.target.is_none() && since <= 5;
                forged
                    || key.target.is_none()
                        && Detector::OF_CROWDS.contains(&key.detector)
                        && key.subject.address().is_some_and(|address| prefix.contains(&address))
                        && open.finding.measured * 2.0 < finding.measured
            };
            let explained: Vec<Key> = self
                .open
                .iter()
                .filter(|(key, open)| within(key, open))
                .map(|(key, _)| key.clone())
                .collect();
            for key in explained {
                self.dropped.explained += 1;
                self.end(&key, ChangeKind::Retracted);
            }
            return;
        }
        if !Detector::PROBING.contains(&detector) {
            return;
        }
        let explained: Vec<Key> = self
            .open
            .iter()
            .filter(|(key, open)| {
                let of_pair = key.target == of.target
                    || (of.target.is_none()
                        && finding.service.is_some()
                        && open.finding.service == finding.service);
                let lesser = match key.detector {
                    Detector::Beacon => of_pair,
                    Detector::SlowScan | Detector::FanOut => PLAIN_SCANS.contains(&detector),
                    _ => false,
                };
                lesser && key.subject == of.subject
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in explained {
            self.dropped.explained += 1;
            self.end(&key, ChangeKind::Retracted);
        }
    }
}

fn same_service(finding: &Finding, signal: &Signal) -> bool {
    finding.service.is_some() && finding.service == signal.service
}
