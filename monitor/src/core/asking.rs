//! One request for a change: who asks, how, and what it rests on; for the lockout guard and the audit.

use super::command::{Caller, ChangeOptions};
use super::origin::Origin;

/// One request for a change: who, how, and what it rests on.
#[derive(Clone, Debug)]
pub struct Asking {
    pub caller: Caller,
    pub options: ChangeOptions,
    pub origin: Origin,
    /// Why, where a machine decided: for the audit.
    pub evidence: Option<serde_json::Value>,
}

impl Asking {
    /// A caller asks.
    pub fn of(caller: Caller, options: ChangeOptions) -> Self {
        let origin = origin_of(&caller);
        Self { caller, options, origin, evidence: None }
    }

    /// The daemon asks itself.
    pub fn daemon(origin: Origin) -> Self {
        Self { caller: Caller::DAEMON, options: ChangeOptions::default(), origin, evidence: None }
    }

    /// The same with the evidence that it rests on.
    #[must_use]
    pub fn because(&self, evidence: Option<serde_json::Value>) -> Self {
        Self { evidence, ..self.clone() }
    }

    /// Somebody asks who can correct what is wrong.
    pub const fn is_person(&self) -> bool {
        matches!(self.origin, Origin::Socket { .. } | Origin::Signal)
    }

    /// For people and the audit.
    pub fn made_by(&self) -> String {
        named(self.origin, self.caller.user.as_deref())
    }
}

/// Who an origin is, with the name of the user if there is one.
pub fn named(origin: Origin, user: Option<&str>) -> String {
    match (origin, user) {
        (Origin::Socket { uid, .. }, Some(user)) => format!("{user} (uid {uid})"),
        _ => origin.made_by(),
    }
}

/// The daemon itself only asks because of signals.
fn origin_of(caller: &Caller) -> Origin {
    if *caller == Caller::DAEMON {
        Origin::Signal
    } else {
        Origin::Socket { uid: caller.uid, gid: caller.gid, pid: caller.pid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::Role;

    #[test]
    fn a_caller_is_a_socket_and_the_daemon_a_signal() {
        let caller = Caller { uid: 1000, gid: 100, pid: 7, user: None, role: Role::Operator, ssh_peer: None };
        let asking = Asking::of(caller, ChangeOptions::default());
        assert_eq!(asking.origin, Origin::Socket { uid: 1000, gid: 100, pid: 7 });
        assert_eq!(asking.made_by(), "uid 1000");
        let caller = Caller { user: Some("alice".to_owned()), ..asking.caller };
        assert_eq!(Asking::of(caller, ChangeOptions::default()).made_by(), "alice (uid 1000)");
        assert_eq!(Asking::of(Caller::DAEMON, ChangeOptions::default()).origin, Origin::Signal);
    }
}
