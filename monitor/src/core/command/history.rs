//! The history of changes: reading it, confirming and undoing one.

use api::history::{Confirm, History, HistoryQuery, Revert};
use api::{Applied, Error};

use super::Perform;
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, history};

impl Perform for Confirm {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        core.state.changes.confirm(asking, self.change, turn)
    }
}

impl Perform for HistoryQuery {
    fn perform(self, _: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<History, Error> {
        let changes = history::list(self, &*turn.store)?;
        // A page may end early, because its texts are long.
        let next = changes.last().map(|change| change.number).filter(|number| *number > 1);
        Ok(History { changes, next })
    }
}

impl Perform for Revert {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        core.state.undo(asking, self.number, turn)
    }
}
