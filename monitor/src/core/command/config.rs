//! The configuration: printing it, reading the file again.

use api::config::{ConfigText, Reload, ShowConfig};
use api::{Applied, Code, Error};

use super::Perform;
use crate::core::asking::Asking;
use crate::core::delta::Delta;
use crate::core::effect::Effect;
use crate::core::plan::Plan;
use crate::core::ports::Turn;
use crate::core::{Core, supervise};

impl Perform for ShowConfig {
    fn perform(self, core: &mut Core, _: &Asking, _: &mut Turn<'_>) -> Result<ConfigText, Error> {
        let desired = core.state.changes.desired();
        let toml = desired.rules().config.to_toml();
        let toml =
            toml.map_err(|error| Error::new(Code::Failed, format!("print the configuration: {error}")))?;
        Ok(ConfigText { path: desired.config().path.clone(), toml })
    }
}

impl Perform for Reload {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Applied, Error> {
        let flags = core.state.changes.desired().config().flags.clone();
        let outcome = turn.host.configuration(core.path.as_deref(), flags).and_then(|config| {
            let delta = Delta { config: Some(config), ..Delta::default() };
            core.state.make(asking, Plan::new("reload".to_owned(), delta), turn)
        });
        // Log rotation sends the same signal.
        turn.effects.push(Effect::ReopenLogs);
        core.reload.at = turn.now.wall;
        match &outcome {
            Ok(applied) => {
                core.reload.succeeded_at = Some(turn.now.wall);
                core.reload.error = None;
                core.reload.successes += 1;
                turn.problems.clear("configuration");
                supervise::keep_last_good(&core.state, turn);
                tracing::info!("the configuration is reloaded: {} differences", applied.summary.len());
            }
            Err(error) => {
                core.reload.error = Some(error.to_string());
                core.reload.failures += 1;
                tracing::error!("the configuration is not reloaded, the one before stays in force: {error}");
            }
        }
        outcome
    }
}
