//! What the core is asked: a command of the API with who asks and how, and what performs it.
//!
//! In: commands of `api`, each with a [`Reply`]. Out: one typed answer, or an [`Error`]. How each command is performed
//! is in the files below, a file per noun of the API; the state of things is published instead (`Handle::snapshot`).

mod access;
mod alerts;
mod config;
mod containments;
mod flows;
mod history;
mod life;
mod limits;
mod panic;
mod sources;
mod tune;

use std::fmt;
use std::net::IpAddr;

use api::{Command, Endpoint, Error};
use serde::{Deserialize, Serialize};

use super::Core;
use super::asking::Asking;
use super::effect::Answer;
use super::plan::Plan;
use super::ports::Turn;

pub use api::access::{
    AccessAdd, AccessEntry, AccessImport, AccessKind, AccessList, AccessRemove, ListAccess,
};
pub use api::alerts::{Alert, AlertClose, AlertQuery, AlertShow, AlertSilence, AlertState, Alerts};
pub use api::config::{ConfigText, Reload, ShowConfig};
pub use api::containments::{ContainmentLift, ContainmentList, ContainmentSet, ListContainments};
pub use api::explanation::{BucketLevel, Explain, ExplainedService, Explanation};
pub use api::flows::{
    Flow, FlowEncryption, FlowEnd, FlowList, FlowOutcome, FlowQuery, Graph, GraphEdge, LocalSender,
};
pub use api::history::{Change, Confirm, History, HistoryQuery, Revert};
pub use api::life::{Detach, Stop};
pub use api::limits::{LimitSet, LimitTarget, LimitUnset, Limits, ListLimits, RateRequest};
pub use api::panic::PanicSwitch;
pub use api::sources::{SourceList, SourceOrder, SourceQuery};
pub use api::tune::{TuneApply, TuneEnd, TuneForget, TuneList, TuneQuery, TuneTarget, TuneTry, Tuned};
pub use api::{Applied, ChangeOptions, Done, Role};

/// A command that the core performs.
pub trait Perform: Command {
    fn perform(self, core: &mut Core, asking: &Asking, turn: &mut Turn<'_>) -> Result<Self::Answer, Error>;
}

/// Where the answer goes. A caller that went away is no error.
pub struct Reply<T>(Box<dyn FnOnce(Result<T, Error>) + Send>);

impl<T> Reply<T> {
    /// `take` must not block.
    pub fn new(take: impl FnOnce(Result<T, Error>) + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    pub fn send(self, answer: Result<T, Error>) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// One command with who asks and how.
#[derive(Debug)]
pub struct Request {
    pub caller: Caller,
    pub options: ChangeOptions,
    call: Box<dyn Call>,
}

impl Request {
    pub fn new<C: Perform>(
        caller: Caller,
        options: ChangeOptions,
        command: C,
        reply: Reply<C::Answer>,
    ) -> Self {
        Self { caller, options, call: Box::new(Asked { command, reply }) }
    }

    pub fn endpoint(&self) -> Endpoint {
        self.call.endpoint()
    }

    /// What is asked for, as JSON.
    pub(super) fn body(&self) -> serde_json::Value {
        self.call.body()
    }

    /// The answer, and what is wrong if that is an error.
    pub(super) fn perform(
        self,
        core: &mut Core,
        asking: &Asking,
        turn: &mut Turn<'_>,
    ) -> (Answer, Option<Error>) {
        self.call.perform(core, asking, turn)
    }
}

/// A command of any type with its reply.
trait Call: fmt::Debug + Send {
    fn endpoint(&self) -> Endpoint;
    fn body(&self) -> serde_json::Value;
    fn perform(
        self: Box<Self>,
        core: &mut Core,
        asking: &Asking,
        turn: &mut Turn<'_>,
    ) -> (Answer, Option<Error>);
}

#[derive(Debug)]
struct Asked<C: Perform> {
    command: C,
    reply: Reply<C::Answer>,
}

impl<C: Perform> Call for Asked<C> {
    fn endpoint(&self) -> Endpoint {
        C::ENDPOINT
    }

    fn body(&self) -> serde_json::Value {
        // A command of plain fields always serializes.
        serde_json::to_value(&self.command).unwrap_or_default()
    }

    fn perform(
        self: Box<Self>,
        core: &mut Core,
        asking: &Asking,
        turn: &mut Turn<'_>,
    ) -> (Answer, Option<Error>) {
        let Self { command, reply } = *self;
        let answer = command.perform(core, asking, turn);
        let error = answer.as_ref().err().cloned();
        (Answer::new(reply, answer), error)
    }
}

/// Who asks, for the audit and for the lockout guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
    /// The name of the user, if the host knows one.
    pub user: Option<String>,
    pub role: Role,
    /// The far end of the caller's own SSH connection (its `SSH_CONNECTION`), never cut without being asked twice.
    pub ssh_peer: Option<IpAddr>,
}

impl Caller {
    /// The daemon itself: signals, timers, automatic tuning.
    pub const DAEMON: Self = Self { uid: 0, gid: 0, pid: 0, user: None, role: Role::Admin, ssh_peer: None };
}

/// Makes the planned change.
fn make(
    core: &mut Core,
    asking: &Asking,
    plan: Result<Plan, Error>,
    turn: &mut Turn<'_>,
) -> Result<Applied, Error> {
    core.state.make(asking, plan?, turn)
}
