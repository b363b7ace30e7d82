//! Limits: what they are, setting one, taking one back.

use api::limits::{LimitSet, LimitUnset, Limits, ListLimits};
use api::{Applied, Error};

use super::{Perform, make};
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, limits};

impl Perform for ListLimits {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Limits, Error> {
        Ok(Limits { limits: core.facts(turn).limits() })
    }
}

impl Perform for LimitSet {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let plan = limits::set(core.rules(), &self);
        make(core, asking, plan, turn)
    }
}

impl Perform for LimitUnset {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let plan = limits::unset(core.rules(), &self.0);
        make(core, asking, plan, turn)
    }
}
