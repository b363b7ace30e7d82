//! What a conversation speaks and whether it is encrypted: recognised from the first bytes of its first data segments.
//!
//! In: [`lead::Lead`], the beginning of a segment. Out: a [`Recognition`], one word that stands in the conversation's entry
//! and in its records. No byte of payload leaves the kernel. [`identify`] knows the protocols, [`credentials`] the commands
//! that carry a password, [`follow`] what a segment changes.

pub mod credentials;
pub mod follow;
pub mod identify;
pub mod lead;

#[cfg(test)]
mod tests;

macro_rules! codes {
    ($(#[$doc:meta])* $module:ident { $($(#[$each:meta])* $name:ident = $number:literal, $label:literal;)+ }) => {
        $(#[$doc])*
        pub mod $module {
            $($(#[$each])* pub const $name: u32 = $number;)+

            /// Every code with its label, in the order of the code.
            pub const ALL: &[(u32, &str)] = &[$(($name, $label),)+];

            /// The label of a code; that of 0 for a number that is none.
            pub fn label(code: u32) -> &'static str {
                ALL.iter().find(|(known, _)| *known == code).unwrap_or(&ALL[0]).1
            }
        }
    };
}

codes! {
    /// The protocol that a conversation speaks.
    protocol {
        /// No data yet.
        NONE = 0, "none";
        TLS = 1, "tls";
        DTLS = 2, "dtls";
        SSH = 3, "ssh";
        HTTP = 4, "http";
        HTTP2 = 5, "http2";
        QUIC = 6, "quic";
        WIREGUARD = 7, "wireguard";
        POSTGRESQL = 8, "postgresql";
        MYSQL = 9, "mysql";
        REDIS = 10, "redis";
        MONGODB = 11, "mongodb";
        KAFKA = 12, "kafka";
        AMQP = 13, "amqp";
        MQTT = 14, "mqtt";
        NATS = 15, "nats";
        LDAP = 16, "ldap";
        SMTP = 17, "smtp";
        IMAP = 18, "imap";
        POP3 = 19, "pop3";
        FTP = 20, "ftp";
        RDP = 21, "rdp";
        SMB = 22, "smb";
        DNS = 23, "dns";
        TELNET = 24, "telnet";
        /// Nothing that is known, in printable characters.
        TEXT = 25, "text";
        /// Nothing that is known.
        BINARY = 26, "binary";
        /// A server's `220`: SMTP or FTP, which the client's first command decides.
        GREETING = 27, "greeting";
    }
}

codes! {
    /// Whether a conversation is encrypted.
    encryption {
        UNKNOWN = 0, "unknown";
        CLEAR = 1, "clear";
        /// By the protocol itself: SSH, QUIC, `WireGuard`, encrypted SMB.
        NATIVE = 2, "native";
        /// TLS or DTLS from the first byte.
        TLS = 3, "tls";
        /// A protocol that began in clear and went over to TLS (STARTTLS, `SSLRequest`, CONNECT).
        UPGRADED = 4, "upgraded";
    }
}

codes! {
    /// The version of TLS that the server chose.
    version {
        UNKNOWN = 0, "unknown";
        SSL3 = 1, "ssl3";
        TLS10 = 2, "tls1.0";
        TLS11 = 3, "tls1.1";
        TLS12 = 4, "tls1.2";
        TLS13 = 5, "tls1.3";
    }
}

/// What is known of a conversation, in one word. 0: nothing.
///
/// Bits 0..6 a [`protocol`], 6..9 an [`encryption`], 9..12 a [`version`], then the flags below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recognition(pub u32);

/// Flags of a [`Recognition`].
pub mod flag {
    /// A password was sent in clear.
    pub const CREDENTIALS: u32 = 1 << 12;
    /// SMB messages are signed.
    pub const SIGNED: u32 = 1 << 13;
    /// The server asked for a password in clear: what the client sends next is one.
    pub const ASKED: u32 = 1 << 14;
    /// The client offered to send a password in clear.
    pub const OFFERED: u32 = 1 << 15;
    /// The client of FTP calls itself `anonymous`: its password is none.
    pub const ANONYMOUS: u32 = 1 << 16;
    /// No further segment from the initiator is looked at.
    pub const FORWARD_DONE: u32 = 1 << 17;
    /// No further segment from the responder is looked at.
    pub const BACKWARD_DONE: u32 = 1 << 18;
    /// What remains of the budget of segments was spent: both directions.
    pub const SETTLED: u32 = FORWARD_DONE | BACKWARD_DONE;
}

const PROTOCOL_MASK: u32 = 0x3f;
const ENCRYPTION_SHIFT: u32 = 6;
const VERSION_SHIFT: u32 = 9;
const FORWARD_SHIFT: u32 = 20;
const BACKWARD_SHIFT: u32 = 24;

impl Recognition {
    /// A [`protocol`] with an [`encryption`].
    #[inline(always)]
    pub const fn new(protocol: u32, encryption: u32) -> Self {
        Self(protocol | encryption << ENCRYPTION_SHIFT)
    }

    /// The same with a [`version`] of TLS.
    #[must_use]
    pub const fn with_version(self, version: u32) -> Self {
        Self(self.0 & !(7 << VERSION_SHIFT) | version << VERSION_SHIFT)
    }

    /// The same with flags.
    #[must_use]
    pub const fn with(self, flags: u32) -> Self {
        Self(self.0 | flags)
    }

    /// A [`protocol`].
    #[inline(always)]
    pub const fn protocol(self) -> u32 {
        self.0 & PROTOCOL_MASK
    }

    /// An [`encryption`].
    #[inline(always)]
    pub const fn encryption(self) -> u32 {
        self.0 >> ENCRYPTION_SHIFT & 7
    }

    /// A [`version`].
    #[inline(always)]
    pub const fn version(self) -> u32 {
        self.0 >> VERSION_SHIFT & 7
    }

    /// Whether a flag is set.
    #[inline(always)]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// Whether a data segment in this direction is still to be looked at.
    #[inline(always)]
    pub const fn is_open(self, forward: bool) -> bool {
        !self.has(if forward { flag::FORWARD_DONE } else { flag::BACKWARD_DONE })
    }

    /// Whether no further segment changes it.
    pub const fn is_settled(self) -> bool {
        self.0 & flag::SETTLED == flag::SETTLED
    }

    /// Whether a protocol was found (and not only that it is text, or binary).
    #[inline(always)]
    pub const fn is_named(self) -> bool {
        is_named(self.protocol())
    }

    /// Whether it is encrypted, however.
    pub const fn is_encrypted(self) -> bool {
        self.encryption() >= encryption::NATIVE
    }

    /// What several conversations have in common: what is settled, without the budget of segments.
    #[must_use]
    pub const fn summary(self) -> Self {
        const KEPT: u32 = ((1 << (VERSION_SHIFT + 3)) - 1) | flag::CREDENTIALS | flag::SIGNED;
        Self(self.0 & KEPT)
    }
}

/// Whether a [`protocol`] is a name.
#[inline(always)]
pub const fn is_named(protocol: u32) -> bool {
    protocol != protocol::NONE && protocol < protocol::TEXT
}
