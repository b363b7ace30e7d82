//! The switch that lets everything pass.

use api::panic::PanicSwitch;
use api::{Applied, Error};

use super::Perform;
use crate::core::Core;
use crate::core::asking::Asking;
use crate::core::ports::Turn;

impl Perform for PanicSwitch {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        core.state.panic.switch(self.on, asking, turn)
    }
}
