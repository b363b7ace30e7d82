//! Who logs in to a service, which says how many connections to it are many.

use monitor_common::application::{Recognition, protocol as spoken};

use super::Parameters;
use crate::contact::Contact;

/// Who logs in to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// People, rarely.
    Login,
    /// Programs, for every task.
    Program,
    Other,
}

impl Parameters {
    /// By what is spoken there, and where that is not known by the port.
    pub(super) fn kind_of(&self, contact: &Contact<'_>) -> Kind {
        match Recognition(contact.record.recognised).protocol() {
            spoken::SSH | spoken::RDP | spoken::TELNET | spoken::SMB => Kind::Login,
            _ if self.login_ports.contains(&contact.port) => Kind::Login,
            spoken::LDAP
            | spoken::MQTT
            | spoken::MYSQL
            | spoken::POSTGRESQL
            | spoken::IMAP
            | spoken::POP3 => Kind::Program,
            _ if self.program_ports.contains(&contact.port) => Kind::Program,
            _ => Kind::Other,
        }
    }
}
