//! The daemon's end: stopping with limits in force, or detaching from the kernel.

use api::life::{Detach, Stop};
use api::{Code, Done, Error};

use super::Perform;
use crate::core::Core;
use crate::core::asking::Asking;
use crate::core::effect::{Effect, Ended};
use crate::core::ports::Turn;

impl Perform for Stop {
    fn perform(self, _: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Done, Error> {
        turn.effects.push(Effect::End(Ended::Stopped));
        Ok(Done { done: true })
    }
}

impl Perform for Detach {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Done, Error> {
        if !asking.options.yes {
            let held = core.state.interfaces.guarded().iter().filter(|row| row.problem.is_none());
            let held = held.map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                Code::NeedsConfirmation,
                format!("this takes the guard off {held}, with every ban, limit and count"),
            )
            .next(
                "nothing was changed; ask again with --yes if you mean it (`sluice stop` keeps the guard)",
            ));
        }
        turn.kernel.detach().map_err(|error| Error::failed(&error))?;
        turn.effects.push(Effect::End(Ended::Detached));
        Ok(Done { done: true })
    }
}
