//! Flows of insiders, and the graph of them.

use api::Error;
use api::flows::{FlowList, FlowQuery, Graph, ShowGraph};

use super::Perform;
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, flows};

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
