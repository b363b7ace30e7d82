//! Refused calls, for the audit: those that the core never hears of.
//!
//! In: who asked, what for, and the error. Out: an entry, as long as the caller has room for one.

use api::audit::AuditKind;
use api::{Error, Origin};
use axum::body::Body;
use hyper::Request;
use jiff::Timestamp;

use super::peer::Peer;
use super::server::Connected;
use crate::engine::{Auditor, NewEntry};

/// A request was refused; `what` names the command, or the method and the path.
pub fn tell(auditor: &Auditor, who: Option<&Connected>, what: &str, error: &Error) {
    let Some(Connected { peer, user, .. }) = who else { return };
    tell_of(auditor, peer, user.clone(), what, error);
}

/// The same of a peer without a role.
pub fn tell_of(auditor: &Auditor, peer: &Peer, user: Option<String>, what: &str, error: &Error) {
    let Peer { uid, gid, pid, .. } = *peer;
    let origin = Origin::Socket { uid, gid, pid };
    let mut entry = NewEntry::new(Timestamp::now(), AuditKind::Refused, origin, what);
    entry.user = user;
    error.code.label().clone_into(&mut entry.outcome);
    entry.detail = Some(error.message.clone());
    auditor.refused(entry);
}

/// The method and the path of a request that is no command.
pub fn named(request: &Request<Body>) -> String {
    format!("{} {}", request.method(), request.uri().path())
}
