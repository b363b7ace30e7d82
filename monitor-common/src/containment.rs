//! Containment: a limit of one source's or one workload's own, on what it sends, with an end.
//!
//! It stands beside the limits of services: operators set it by hand, and detection where it may respond. A source is held
//! wherever its packets pass (ingress, or egress when it lives on this host), a workload where it sends.

use crate::{bucket::Rate, flow::BanKey, plain, record::Count, rule::DIMENSIONS};

/// What stands in the upper half of a key that names a workload; no address begins so.
const WORKLOAD: u64 = u64::MAX;

/// The key of a workload's containment. A source's is its own (aggregated) address, as in the ban table.
#[inline(always)]
pub const fn workload(cgroup: u64) -> BanKey {
    BanKey { high: WORKLOAD, low: cgroup }
}

/// The cgroup that a key names, if it names a workload.
pub const fn cgroup(key: &BanKey) -> Option<u64> {
    if key.high == WORKLOAD { Some(key.low) } else { None }
}

/// A containment in force.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Containment {
    /// Clock units; `u64::MAX` for ever.
    pub until: u64,
    /// A [`crate::rule::mode`].
    pub mode: u32,
    /// 1: nothing at all may be sent; the rates do not count.
    pub cut_off: u32,
    /// 1: what answers a flow that this host began passes and is not charged.
    pub spares_answers: u32,
    pub reserved: u32,
    pub rates: [Rate; DIMENSIONS],
    pub buckets: [u64; DIMENSIONS],
    /// What was judged.
    pub judged: Count,
    /// What was over, and dropped if the mode enforces.
    pub over: Count,
}
plain!(
    Containment {
        until: u64,
        mode: u32,
        cut_off: u32,
        spares_answers: u32,
        reserved: u32,
        rates: [Rate; DIMENSIONS],
        buckets: [u64; DIMENSIONS],
        judged: Count,
        over: Count,
    } = 152
);

#[cfg(test)]
mod tests {
    use super::{cgroup, workload};
    use crate::flow::BanKey;

    #[test]
    fn a_key_names_a_workload_or_a_source() {
        assert_eq!(cgroup(&workload(42)), Some(42));
        assert_eq!(cgroup(&BanKey { high: 0, low: 0xffff_0a00_0001 }), None);
    }
}
