//! The limit of a service over all its sources, with a share that only known sources may take.

use core::ops::ControlFlow;

use monitor_common::{rule::mode, verdict::Reason};

use crate::{
    limiter::{Case, Judgement, charge_rates},
    maps,
    telemetry::Tally,
};

/// Judges the packet against the service's aggregate. A stranger needs room in the strangers' share and in the total, a
/// known source only in the total; so strangers never take what is reserved.
#[inline(always)]
pub fn judge(case: &Case, known: bool, tally: &mut Tally) -> ControlFlow<Reason> {
    let number = case.service.number;
    let Some(limit) = maps::AGGREGATES.get(case.rules.generation * maps::services() + number) else {
        return ControlFlow::Continue(());
    };
    if limit.mode == mode::OFF {
        return ControlFlow::Continue(());
    }
    let Some(state) = maps::AGGREGATE_STATES.get_ptr_mut(number) else {
        return ControlFlow::Continue(());
    };
    // SAFETY: the pointer is to a map value, valid for the whole run; its words are changed by atomic instructions.
    let judgement = unsafe {
        let strangers = if known {
            Judgement::Within
        } else {
            charge_rates(
                &raw mut (*state).strangers,
                limit.dimensions,
                &limit.strangers,
                &case.units,
                case.now,
            )
        };
        match strangers {
            Judgement::Within => {
                charge_rates(&raw mut (*state).total, limit.dimensions, &limit.total, &case.units, case.now)
            }
            exceeded => exceeded,
        }
    };
    let reason = match judgement {
        Judgement::Within => return ControlFlow::Continue(()),
        Judgement::Exceeded(dimension) => Reason::of_aggregate(dimension),
        Judgement::Contended => Reason::Contended,
    };
    if case.enforce && limit.mode == mode::ENFORCE {
        return ControlFlow::Break(reason);
    }
    tally.would_drop = Some(reason);
    ControlFlow::Continue(())
}
