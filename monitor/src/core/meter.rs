//! What services carry per second, as detection takes it: the one definition that the daemon and replay share.
//!
//! In: packets and bytes by service, and the sources that were seen. Out: one [`ServiceRate`] for each service. A source
//! is new at a service when it has no entry there: it was never seen at it, or its entry ended.

use std::collections::{BTreeMap, HashMap};

use detection::detect::ServiceRate;
use monitor_common::flow::SourceKey;

/// Counts of the current second.
#[derive(Debug, Default)]
pub struct Meter {
    second: BTreeMap<u32, ServiceRate>,
    /// When each source was last seen at a service.
    established: HashMap<SourceKey, u64>,
}

/// Entries that are kept at once; those that were seen longest ago end first.
const MOST: usize = 1 << 20;

impl Meter {
    pub fn carried(&mut self, service: u32, packets: u64, bytes: u64) {
        let rate = self.second.entry(service).or_default();
        rate.packets += packets;
        rate.bytes += bytes;
    }

    /// A source was seen at its service.
    pub fn saw(&mut self, source: SourceKey, at: u64) {
        if self.established.insert(source, at).is_none() {
            self.second.entry(source.service).or_default().new_sources += 1;
        }
    }

    /// Ends the entries of sources that were last seen before `at`.
    pub fn forget_before(&mut self, at: u64) {
        self.established.retain(|_, seen| *seen >= at);
        if self.established.len() > MOST {
            let mut times: Vec<u64> = self.established.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MOST / 2);
            let middle = *middle;
            self.established.retain(|_, seen| *seen > middle);
        }
    }

    /// What services carried since the last call.
    pub fn end_second(&mut self) -> BTreeMap<u32, ServiceRate> {
        std::mem::take(&mut self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_new_at_each_service_and_again_after_its_entry_ended() {
        let mut meter = Meter::default();
        meter.carried(3, 5, 300);
        for (low, service) in [(1, 3), (1, 3), (2, 3), (1, 4)] {
            meter.saw(SourceKey::new(0, low, service), 10);
        }
        let second = meter.end_second();
        assert_eq!(second[&3], ServiceRate { packets: 5, bytes: 300, new_sources: 2 });
        assert_eq!(second[&4].new_sources, 1);
        meter.saw(SourceKey::new(0, 1, 3), 20);
        assert!(meter.end_second().is_empty(), "nobody is new");
        meter.forget_before(20);
        meter.saw(SourceKey::new(0, 1, 3), 30);
        meter.saw(SourceKey::new(0, 2, 3), 30);
        assert_eq!(meter.end_second()[&3].new_sources, 1, "only the one that was silent");
    }
}
