//! Findings: which there are, closing one, silencing some.

use api::alerts::{
    Alert, AlertClose, AlertQuery, AlertShow, AlertSilence, AlertState, Alerts, ListSilences, SilenceLift,
    Silences,
};
use api::{Applied, Code, Error};

use super::Perform;
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::watch::Closed;
use crate::core::{Core, alerts};

impl Perform for AlertQuery {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Alerts, Error> {
        let alerts = alerts::list(&core.facts(turn), &core.state.watch, &*turn.store, &self)?;
        Ok(Alerts { incidents: api::incidents::of(&alerts), alerts })
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
        let closed = match known.state {
            AlertState::Open => core.state.watch.close(number),
            AlertState::Closed | AlertState::Retracted => Closed::Unknown,
        };
        match closed {
            Closed::Open => core.state.handle_findings(turn),
            Closed::Waiting => alerts::end(&[number], &mut *turn.store, turn.now.wall)
                .map_err(|error| Error::failed(&error))?,
            Closed::Unknown => {
                return Err(Error::new(Code::Conflict, format!("finding {number} is not open")));
            }
        }
        AlertShow { number }.perform(core, asking, turn)
    }
}

impl Perform for AlertSilence {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let applied = core.state.silences.add(self, asking, turn)?;
        core.state.silence();
        Ok(applied)
    }
}

impl Perform for ListSilences {
    fn perform(self, core: &mut Core, _: &Asking, _: &mut Turn<'_>) -> Result<Silences, Error> {
        Ok(Silences { silences: core.state.silences.list() })
    }
}

impl Perform for SilenceLift {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let applied = core.state.silences.lift(self.number, asking, turn)?;
        core.state.silence();
        Ok(applied)
    }
}
