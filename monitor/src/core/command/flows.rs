//! Flows of insiders, the graph of them, and the posture of the services in them.

use api::Error;
use api::flows::{FlowList, FlowQuery, Graph, ShowGraph};
use api::posture::{Posture, ShowPosture};

use super::Perform;
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, flows, posture};

impl Perform for FlowQuery {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<FlowList, Error> {
        let facts = core.state.facts(&*turn.kernel, turn.now.wall);
        flows::list(&facts, &mut *turn.host, core.state.watch.recent(), &self)
    }
}

impl Perform for ShowGraph {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Graph, Error> {
        let new = core.state.watch.new_edges();
        let facts = core.state.facts(&*turn.kernel, turn.now.wall);
        flows::graph(&facts, &mut *turn.host, core.state.watch.recent(), &new)
    }
}

impl Perform for ShowPosture {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Posture, Error> {
        let facts = core.state.facts(&*turn.kernel, turn.now.wall);
        let all = flows::all(&facts, &mut *turn.host, core.state.watch.recent())?;
        Ok(Posture { at: facts.now, services: posture::of(all), checked: facts.connections() })
    }
}
