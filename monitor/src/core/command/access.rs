//! Exemptions, denials and bans: what they are, adding, importing and removing them.

use api::access::{AccessAdd, AccessImport, AccessList, AccessRemove, ListAccess};
use api::{Applied, Error};

use super::{Perform, make};
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, access, import};

impl Perform for ListAccess {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<AccessList, Error> {
        access::list(&core.facts(turn))
    }
}

impl Perform for AccessAdd {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let plan = access::add(&core.facts(turn), asking, &self);
        make(core, asking, plan, turn)
    }
}

impl Perform for AccessImport {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let lifelines = turn.host.lifelines();
        let operators = core.state.installed.sessions().protected(&asking.caller, &lifelines);
        let import::Import { plan, summary, warnings } =
            import::import(&core.facts(turn), &operators, asking, &self)?;
        let Some(plan) = plan else { return Ok(Applied { summary, warnings, ..Applied::default() }) };
        let applied = core.state.make(asking, plan, turn)?;
        let warnings = warnings.into_iter().chain(applied.warnings).collect();
        Ok(Applied { summary, warnings, ..applied })
    }
}

impl Perform for AccessRemove {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let removal = access::remove(&core.facts(turn), self)?;
        match removal {
            access::Removal::KernelBan(source) => access::lift_kernel_ban(source, turn),
            access::Removal::Change(plan) => make(core, asking, Ok(*plan), turn),
        }
    }
}
