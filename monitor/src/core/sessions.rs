//! Sessions of operators, which a change must not cut and which are exempt while they last.
//!
//! In: callers, and the host's list of established SSH connections. Out: addresses. It decides nothing; the guard of
//! `policy` does.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use policy::{AccessEntry, Permission};

use super::command::Caller;

/// Loopback of both families.
pub const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Sessions that gave a command, as long as they last.
#[derive(Debug, Default)]
pub struct Sessions {
    operators: Vec<IpAddr>,
    /// Addresses that an operator cut off with `--yes`.
    unprotected: BTreeSet<IpAddr>,
}

impl Sessions {
    /// `first` is the session that the daemon was started from.
    pub fn new(first: Option<IpAddr>) -> Self {
        Self { operators: first.into_iter().collect(), unprotected: BTreeSet::new() }
    }

    pub fn operators(&self) -> &[IpAddr] {
        &self.operators
    }

    /// Takes the caller's session up, if the host confirms it. True when it is new.
    pub fn remember(&mut self, caller: &Caller, established: &BTreeSet<IpAddr>) -> bool {
        let Some(peer) = caller.ssh_peer.map(|peer| peer.to_canonical()) else { return false };
        let is_new = !self.operators.contains(&peer) && established.contains(&peer);
        if is_new {
            self.operators.push(peer);
        }
        is_new
    }

    /// Forgets the sessions that are over. True when there were any.
    pub fn retain(&mut self, established: &BTreeSet<IpAddr>) -> bool {
        let before = self.operators.len();
        self.operators.retain(|peer| established.contains(peer));
        self.unprotected.retain(|peer| established.contains(peer));
        self.operators.len() < before
    }

    /// An operator cut these off knowingly, so they are not exempt any more.
    pub fn give_up(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.unprotected.extend(addresses);
    }

    /// All addresses that a change of this caller must not cut without `--yes`.
    pub fn protected(&self, caller: &Caller, lifelines: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
        let mut all = lifelines.clone();
        all.extend(LOOPBACK);
        all.extend(caller.ssh_peer.map(|address| address.to_canonical()));
        all.into_iter().chain(self.operators.iter().copied()).collect()
    }

    /// The exemptions of the sessions, and of loopback where loopback is guarded.
    pub fn exemptions(&self, guards_loopback: bool) -> impl Iterator<Item = AccessEntry> {
        let loopback = LOOPBACK.into_iter().filter(move |_| guards_loopback);
        let safe = self.operators.iter().copied().chain(loopback);
        safe.filter(|address| !self.unprotected.contains(address)).map(|address| AccessEntry {
            prefix: IpNet::from(address),
            permission: Permission::Exempt,
            until: None,
            reason: "its SSH session gave a command".to_owned(),
            origin: "operator".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

    fn caller() -> Caller {
        Caller { ssh_peer: Some(PEER), ..Caller::DAEMON }
    }

    #[test]
    fn a_session_is_exempt_only_while_the_host_confirms_it() {
        let (mut sessions, established) = (Sessions::default(), BTreeSet::from([PEER]));
        assert!(!sessions.remember(&caller(), &BTreeSet::new()), "what a caller claims proves nothing");
        assert!(sessions.remember(&caller(), &established));
        assert!(!sessions.remember(&caller(), &established), "it is known already");
        assert_eq!(sessions.exemptions(false).map(|entry| entry.prefix.addr()).collect::<Vec<_>>(), [PEER]);
        assert_eq!(sessions.exemptions(true).count(), 3);
        assert!(sessions.retain(&BTreeSet::new()));
        assert_eq!(sessions.exemptions(false).count(), 0);
    }

    #[test]
    fn a_session_that_was_cut_knowingly_is_not_exempt_again() {
        let mut sessions = Sessions::new(Some(PEER));
        sessions.give_up([PEER]);
        assert_eq!(sessions.exemptions(false).count(), 0);
        assert_eq!(sessions.operators(), [PEER]);
    }

    #[test]
    fn the_callers_own_address_is_protected_although_unconfirmed() {
        let protected = Sessions::default().protected(&caller(), &BTreeSet::new());
        assert!(protected.contains(&PEER) && LOOPBACK.iter().all(|one| protected.contains(one)));
    }
}
