//! `outbound_flood`: an inside source floods somebody. `throttled_insider`: it keeps exceeding a limit of ours.
//!
//! In: contacts of inside sources, and the limiter's word that a source exceeds. Out: one signal per source. Traffic that
//! is answered (a file copy, a measurement with iperf) is no flood, however fast.

use std::net::IpAddr;

use monitor_common::conversation::outcome;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bounded::{Bounded, StateSize},
    contact::Contact,
    detect::{Detect, Moment, Scope},
    evidence,
    finding::{Detector, Party, Severity, Signal, Signals},
    statistics::real,
    window::Rolling,
};

const SECOND: u64 = 1_000_000_000;

/// `[detection.outbound]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Unanswered packets, bits and new flows per second of one inside source.
    pub packets_per_second: u64,
    pub bits_per_second: u64,
    pub flows_per_second: u64,
    /// Successive windows in which an inside source must exceed a limit to be `throttled_insider`,
    pub throttled_windows: u32,
    /// and their length.
    pub throttled_window_s: u64,
    pub sources: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            packets_per_second: 20_000,
            bits_per_second: 1_000_000_000,
            flows_per_second: 3500,
            throttled_windows: 3,
            throttled_window_s: 60,
            sources: 8192,
        }
    }
}

#[derive(Debug)]
struct Source {
    /// Packets, bytes, flows, answered flows.
    rates: Rolling<4, 10>,
    first_at: u64,
    touched: u64,
    quiet_until: u64,
}

#[derive(Debug, Default)]
struct Throttled {
    window: u64,
    windows: u32,
    events: u64,
    first_at: u64,
}

#[derive(Debug)]
pub struct Outbound {
    parameters: Parameters,
    sources: Bounded<IpAddr, Source>,
    throttled: Bounded<IpAddr, Throttled>,
}

impl Outbound {
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            sources: Bounded::new("outbound_flood", parameters.sources),
            throttled: Bounded::new("throttled_insider", parameters.sources),
        }
    }
}

impl Detect for Outbound {
    fn contact(&mut self, contact: &Contact<'_>, _scope: &Scope<'_>, signals: &mut Signals) {
        if !contact.source_inside
            || contact.observed().is_some()
            || contact.record.outcome == outcome::MIDSTREAM
        {
            return;
        }
        let now = contact.now;
        let keep = |source: &Source| now - source.touched < 10 * SECOND;
        let new = || Source {
            rates: Rolling::new(SECOND / 10),
            first_at: contact.at,
            touched: now,
            quiet_until: 0,
        };
        let Some(source) = self.sources.entry(contact.source, true, now, keep, new) else { return };
        if now - source.touched > 10 * SECOND {
            source.first_at = contact.at;
        }
        source.touched = now;
        let silent = contact.record.backward.packets == 0;
        let count = |value: u64| if silent { contact.per_second(value) } else { 0 };
        source.rates.add(
            now,
            [
                count(contact.delta.forward.packets),
                count(contact.delta.forward.bytes),
                u64::from(contact.started()),
                u64::from(contact.delta.completed),
            ],
        );
        let [packets, bytes, flows, completed] = source.rates.sums(now);
        let flows = flows.saturating_sub(completed * 2);
        let rates = [
            (packets, self.parameters.packets_per_second, "packets/s"),
            (bytes.saturating_mul(8), self.parameters.bits_per_second, "bits/s"),
            (flows, self.parameters.flows_per_second, "flows/s"),
        ];
        let Some((measured, threshold, unit)) = rates.into_iter().find(|(value, least, _)| value >= least)
        else {
            return;
        };
        if now < source.quiet_until {
            return;
        }
        source.quiet_until = now + SECOND;
        signals.push(Signal {
            detector: Detector::OutboundFlood,
            severity: Severity::Critical,
            subject: Party::Address(contact.source),
            target: None,
            service: None,
            first_seen: source.first_at,
            measured: real(measured),
            threshold: real(threshold),
            unit,
            window_s: 1,
            confidence: 0.9,
            evidence: evidence(json!({
                "packets_per_second": packets,
                "bits_per_second": bytes.saturating_mul(8),
                "flows_per_second": flows,
                "last_destination": contact.destination,
            })),
            workload: contact.workload.map(str::to_owned),
        });
    }

    /// The limiter says that an inside source exceeded its limit.
    fn exceeded(&mut self, source: IpAddr, moment: Moment, signals: &mut Signals) {
        let Moment { now, at } = moment;
        let length = self.parameters.throttled_window_s.max(1) * SECOND;
        let window = now / length;
        let keep = |entry: &Throttled| window - entry.window <= 2;
        let Some(entry) = self.throttled.entry(source, true, now, keep, Throttled::default) else { return };
        if entry.windows == 0 || window > entry.window + 1 {
            *entry = Throttled { window, windows: 1, events: 0, first_at: at };
        } else if window == entry.window + 1 {
            entry.window = window;
            entry.windows += 1;
        }
        entry.events += 1;
        if entry.windows >= self.parameters.throttled_windows {
            signals.push(Signal {
                detector: Detector::ThrottledInsider,
                severity: Severity::Warning,
                subject: Party::Address(source),
                target: None,
                service: None,
                first_seen: entry.first_at,
                measured: f64::from(entry.windows),
                threshold: f64::from(self.parameters.throttled_windows),
                unit: "windows",
                window_s: self.parameters.throttled_window_s,
                confidence: 0.9,
                evidence: evidence(json!({ "exceeded": entry.events })),
                workload: None,
            });
        }
    }

    fn sizes(&self) -> Vec<StateSize> {
        vec![self.sources.size(), self.throttled.size()]
    }
}
