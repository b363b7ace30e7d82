//! Sources: which send most, and why one of them is treated as it is.

use api::Error;
use api::explanation::{Explain, Explanation};
use api::sources::{SourceList, SourceQuery};

use super::Perform;
use crate::core::asking::Asking;
use crate::core::ports::Turn;
use crate::core::{Core, explain, flows};

impl Perform for SourceQuery {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<SourceList, Error> {
        let facts = &core.state.facts(&*turn.kernel, turn.now.wall);
        // What leaves is charged to no service.
        let asked = self.senders && self.service.is_none();
        let limit = if self.limit == 0 { 20 } else { self.limit };
        let senders = if asked {
            flows::local_senders(facts, &mut *turn.host, self.prefix, limit)?
        } else {
            Vec::new()
        };
        explain::list_sources(facts, &self, senders)
    }
}

impl Perform for Explain {
    fn perform(self, core: &mut Core, _: &Asking, turn: &mut Turn<'_>) -> Result<Explanation, Error> {
        let network = turn.host.network();
        explain::explain(&core.facts(turn), &core.state.watch, &*turn.store, &network, self.address)
    }
}
