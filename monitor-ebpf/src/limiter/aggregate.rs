//! The limit of a service over all its sources, with a share that only known sources may take.

use core::ops::ControlFlow;

use monitor_common::{
    record::AggregateState,
    rule::{Aggregate, mode},
    verdict::Verdict,
};

use crate::{
    atomic::{self, Judgement},
    context::{PacketContext, fresh},
    maps,
    rules::Rules,
};

/// Judges the packet against the service's aggregate. A stranger needs room in the strangers' share and in the total, a
/// known source only in the total; so strangers never take what is reserved.
#[inline(always)]
pub fn judge(rules: &Rules, packet: &mut PacketContext, known: bool) -> ControlFlow<Verdict> {
    let Some((limit, state)) = of_service(rules, packet) else {
        return ControlFlow::Continue(());
    };
    if limit.mode == mode::OFF {
        return ControlFlow::Continue(());
    }
    let mut judgement = Judgement::WITHIN;
    // SAFETY: the pointer is to a map value, valid for the whole run; its words are changed by atomic instructions.
    unsafe {
        if !known {
            judgement =
                atomic::charge(&raw mut (*state).strangers, &limit.strangers, &packet.units, packet.now);
        }
        if judgement == Judgement::WITHIN {
            judgement = atomic::charge(&raw mut (*state).total, &limit.total, &packet.units, packet.now);
        }
    }
    if judgement == Judgement::WITHIN {
        return ControlFlow::Continue(());
    }
    let verdict = judgement.verdict(Verdict::of_aggregate);
    if fresh(&packet.enforce) != 0 && limit.mode == mode::ENFORCE {
        return ControlFlow::Break(verdict);
    }
    packet.note_would_drop(verdict);
    ControlFlow::Continue(())
}

/// Refuses a stranger while the strangers' share is spent. It would be refused by [`judge`] too; asked in a flood before the
/// source's own limit, it leaves the sketch alone, which is too large to stay in a cache beside the rest, and free of
/// what nobody was served for.
#[inline(always)]
pub fn refuse_strangers(rules: &Rules, packet: &PacketContext) -> ControlFlow<Verdict> {
    if fresh(&packet.has_aggregate) == 0 || fresh(&packet.enforce) == 0 {
        return ControlFlow::Continue(());
    }
    let Some((limit, state)) = of_service(rules, packet) else {
        return ControlFlow::Continue(());
    };
    if limit.mode != mode::ENFORCE {
        return ControlFlow::Continue(());
    }
    // SAFETY: the pointer is to a map value, valid for the whole run.
    let judgement =
        unsafe { atomic::ask(&raw const (*state).strangers, &limit.strangers, &packet.units, packet.now) };
    if judgement == Judgement::WITHIN {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(judgement.verdict(Verdict::of_aggregate))
    }
}

/// The limit over all sources of the packet's service, and what is owed of it.
#[inline(always)]
pub fn of_service(
    rules: &Rules,
    packet: &PacketContext,
) -> Option<(&'static Aggregate, *mut AggregateState)> {
    let limit = maps::AGGREGATES.get(rules.generation * maps::services() + packet.service)?;
    Some((limit, maps::AGGREGATE_STATES.get_ptr_mut(packet.service)?))
}
