//! Findings: which there are, closing one, silencing some.

use api::alerts::{Alert, AlertClose, AlertQuery, AlertShow, AlertSilence, AlertState, Alerts};
use api::{Applied, Code, Error};

use super::Perform;
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, alerts};

impl Perform for AlertQuery {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Alerts, Error> {
        let alerts = alerts::list(&core.facts(turn), &core.state.watch, &*turn.store, &self)?;
        Ok(Alerts { alerts })
    }
}

impl Perform for AlertShow {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Alert, Error> {
        alerts::show(&core.facts(turn), &core.state.watch, &*turn.store, self.number)
    }
}

impl Perform for AlertClose {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Alert, Error> {
        let Self { number } = self;
        let known = AlertShow { number }.perform(core, asking, turn)?;
        if known.state != AlertState::Open || !core.state.watch.close(number) {
            return Err(Error::new(Code::Conflict, format!("finding {number} is not open")));
        }
        core.state.handle_findings(turn);
        AlertShow { number }.perform(core, asking, turn)
    }
}

impl Perform for AlertSilence {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        alerts::silence(&mut core.state.watch, asking, self.0, turn)
    }
}
