//! Tuning: what it proposes, trying, applying and forgetting it.

use api::tune::{TuneApply, TuneEnd, TuneForget, TuneList, TuneQuery, TuneTry};
use api::{Applied, Error};

use super::{Perform, make};
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, tune};

impl Perform for TuneQuery {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<TuneList, Error> {
        let tick_ns = turn.kernel.environment().tick_ns;
        core.state.tune.show(core.rules(), &self, tick_ns, turn.now.wall)
    }
}

impl Perform for TuneTry {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let plan = core.state.tune.plan_trial(core.rules(), &self.0);
        make(core, asking, plan, turn)
    }
}

impl Perform for TuneEnd {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let plan = tune::plan_end(core.rules(), &self.0);
        make(core, asking, plan, turn)
    }
}

impl Perform for TuneApply {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let plan = core.state.tune.plan_application(core.rules(), &self.0, asking);
        make(core, asking, plan, turn)
    }
}

impl Perform for TuneForget {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        core.state.tune.forget(asking, &self.service, turn)
    }
}
