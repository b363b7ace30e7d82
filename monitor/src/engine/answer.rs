//! Commands in, answers out: which part does what.

use super::command::{Caller, ChangeOptions, Command, ConfigText, Request};
use super::refusal::{Code, Refusal};
use super::{Ended, Engine};

/// What an answer needs to know of who asked.
pub(super) struct Asking {
    pub caller: Caller,
    pub options: ChangeOptions,
    /// `control`, `signal`, `rollback`, `start`, ...: how the audit calls it.
    pub origin: &'static str,
    /// Why, where a machine decided: for the audit.
    pub evidence: Option<serde_json::Value>,
}

impl Asking {
    /// The daemon asks itself.
    pub fn daemon(origin: &'static str) -> Self {
        Self { caller: Caller::DAEMON, options: ChangeOptions::default(), origin, evidence: None }
    }

    /// The same with the evidence that it rests on.
    pub fn because(&self, evidence: Option<serde_json::Value>) -> Self {
        Self { caller: self.caller.clone(), options: self.options, origin: self.origin, evidence }
    }

    /// For people and the audit.
    pub fn made_by(&self) -> String {
        if self.origin == "control" { format!("uid {}", self.caller.uid) } else { self.origin.to_owned() }
    }
}

impl Engine {
    pub(super) fn answer(&mut self, request: Request) {
        let Request { caller, options, command } = request;
        if caller.role < command.role() {
            // The handle refuses this already; a second door costs nothing.
            tracing::error!("{} by {} past the handle", command.name(), caller.role.label());
            return;
        }
        if command.role() > super::command::Role::Viewer {
            tracing::info!(uid = caller.uid, pid = caller.pid, ?options, "command: {}", command.name());
            self.remember_operator(&caller);
        }
        let origin = if caller == Caller::DAEMON { "signal" } else { "control" };
        let asking = Asking { caller, options, origin, evidence: None };
        // A caller that went away does not undo what it asked for, so a failed send means nothing.
        match command {
            Command::Sources(query, reply) => drop(reply.send(self.list_sources(&query))),
            Command::Explain(address, reply) => drop(reply.send(self.explain(address))),
            Command::LimitList(reply) => drop(reply.send(Ok(self.limits()))),
            Command::LimitSet(set, reply) => drop(reply.send(self.set_limit(&asking, &set))),
            Command::LimitUnset(target, reply) => drop(reply.send(self.unset_limit(&asking, &target))),
            Command::AccessAdd(add, reply) => drop(reply.send(self.add_access(&asking, &add))),
            Command::AccessImport(list, reply) => drop(reply.send(self.import_access(&asking, &list))),
            Command::AccessRemove(target, reply) => drop(reply.send(self.remove_access(&asking, target))),
            Command::AccessList(reply) => drop(reply.send(self.access_list())),
            Command::Reload(reply) => drop(reply.send(self.reload(&asking))),
            Command::Stop(reply) => {
                self.ending = Some(Ended::Stopped);
                drop(reply.send(Ok(())));
            }
            Command::Detach(reply) => drop(reply.send(self.detach(&asking))),
            Command::ConfigShow(reply) => drop(reply.send(self.show_config())),
            Command::Confirm(number, reply) => drop(reply.send(self.confirm(&asking, number))),
            Command::History(limit, reply) => drop(reply.send(self.history(limit))),
            Command::Revert(number, reply) => drop(reply.send(self.revert(&asking, number))),
            Command::AlertList(query, reply) => drop(reply.send(self.list_alerts(&query))),
            Command::AlertShow(number, reply) => drop(reply.send(self.show_alert(number))),
            Command::AlertClose(number, reply) => drop(reply.send(self.close_alert(number))),
            Command::AlertSilence(silence, reply) => drop(reply.send(self.silence_alerts(&asking, silence))),
            Command::Flows(query, reply) => drop(reply.send(self.list_flows(&query))),
            Command::Graph(reply) => drop(reply.send(self.graph())),
            Command::TuneShow(query, reply) => drop(reply.send(self.tune_show(&query))),
            Command::TuneTry(target, reply) => drop(reply.send(self.tune_try(&asking, &target))),
            Command::TuneEnd(target, reply) => drop(reply.send(self.tune_end(&asking, &target))),
            Command::TuneApply(target, reply) => drop(reply.send(self.tune_apply(&asking, &target))),
            Command::TuneForget(service, reply) => drop(reply.send(self.tune_forget(&asking, &service))),
            Command::Contain(set, reply) => drop(reply.send(self.contain(&asking, &set))),
            Command::Lift(subject, reply) => drop(reply.send(self.lift(&asking, &subject))),
            Command::ContainmentList(reply) => drop(reply.send(self.list_containments())),
        }
    }

    fn detach(&mut self, asking: &Asking) -> Result<(), Refusal> {
        if !asking.options.yes {
            let held = self.guarded.iter().filter(|row| row.problem.is_none()).map(|row| row.name.as_str());
            let held = held.collect::<Vec<_>>().join(", ");
            return Err(Refusal::new(
                Code::NeedsConfirmation,
                format!("this takes the guard off {held}, with every ban, limit and count"),
            )
            .next(
                "nothing was changed; ask again with --yes if you mean it (`sluice stop` keeps the guard)",
            ));
        }
        self.kernel.detach().map_err(|error| Refusal::failed(&error))?;
        self.ending = Some(Ended::Detached);
        Ok(())
    }

    fn show_config(&self) -> Result<ConfigText, Refusal> {
        let toml = self.standing.rules.config.to_toml();
        let toml =
            toml.map_err(|error| Refusal::new(Code::Failed, format!("print the configuration: {error}")))?;
        Ok(ConfigText { path: self.config.path.clone(), toml })
    }
}
