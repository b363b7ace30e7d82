//! Containments: what they are, setting and lifting one.

use api::containments::{ContainmentLift, ContainmentList, ContainmentSet, ListContainments};
use api::{Applied, Error};

use super::{Perform, make};
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, containment};

impl Perform for ListContainments {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<ContainmentList, Error> {
        containment::list(&core.facts(turn))
    }
}

impl Perform for ContainmentSet {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let facts = core.state.facts(&*turn.kernel, turn.now.wall);
        let plan = containment::contain(&facts, &mut *turn.host, asking, &self);
        make(core, asking, plan, turn)
    }
}

impl Perform for ContainmentLift {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let plan = containment::lift(&core.facts(turn), &self.subject);
        make(core, asking, plan, turn)
    }
}
