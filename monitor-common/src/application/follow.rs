//! What a data segment changes in a [`Recognition`]. A segment that comes twice, late, or in pieces changes nothing that a
//! better one said: what is only text, or only binary, gives way to a name, and a name to nothing.

use super::{BACKWARD_SHIFT, ENCRYPTION_SHIFT, FORWARD_SHIFT, PROTOCOL_MASK, VERSION_SHIFT};
use super::{Recognition, credentials, encryption, flag, identify, is_named, lead::Lead, protocol, version};
use crate::flow;

/// Data segments of each direction that are looked at, at most.
pub const TCP_SEGMENTS: u32 = 8;
/// Requests of HTTP in which a password is looked for: each costs a walk over its first bytes.
pub const HTTP_SEGMENTS: u32 = 4;
/// Datagrams of each direction.
pub const DATAGRAMS: u32 = 3;

impl Recognition {
    /// After a data segment of this direction; `upper` is TCP or UDP.
    #[must_use]
    pub fn see(self, lead: &Lead, upper: u8, forward: bool) -> Self {
        self.see_by(lead, upper, forward, |number| number)
    }

    /// The same, where `plain` gives a number back as one of which nothing is known: the verifier then follows what comes next
    /// once, however the number came about.
    #[inline(always)]
    #[must_use]
    pub fn see_by(self, lead: &Lead, upper: u8, forward: bool, plain: impl Fn(u32) -> u32) -> Self {
        let is_tcp = upper == flow::protocol::TCP;
        let found = plain(if is_tcp { identify::tcp(lead) } else { identify::udp(lead) });
        let mut next = Self(plain(self.take(found, lead, forward).0));
        if next.encryption() == encryption::CLEAR {
            let (protocol, flags) = (next.protocol(), next.0);
            next.0 |= if forward {
                credentials::sent(protocol, lead, flags)
            } else {
                credentials::asked(protocol, lead, flags)
            };
        }
        Self(plain(next.0)).settle(is_tcp, forward)
    }

    /// After a segment in which `found` was recognised.
    #[inline(always)]
    fn take(self, found: u32, lead: &Lead, forward: bool) -> Self {
        let known = self.protocol();
        if found == protocol::TLS || found == protocol::DTLS {
            let began_in_clear = is_named(known) && known != protocol::TLS && known != protocol::DTLS;
            let next = if began_in_clear || self.encryption() == encryption::UPGRADED {
                self.be(known, encryption::UPGRADED)
            } else {
                self.be(found, encryption::TLS)
            };
            return next.greeted(lead, forward);
        }
        if is_named(known) {
            return self.detail(known, lead);
        }
        if known == protocol::GREETING || known == protocol::TEXT || known == protocol::NONE {
            let decided = if forward { mail_or_files(known, found, lead) } else { found };
            if decided != protocol::NONE {
                return self.be(decided, encryption_of(decided)).detail(decided, lead);
            }
            if known != protocol::NONE {
                return self;
            }
            return if identify::is_text(lead) {
                self.be(protocol::TEXT, encryption::CLEAR)
            } else {
                self.be(protocol::BINARY, encryption::UNKNOWN)
            };
        }
        if is_named(found) { self.be(found, encryption_of(found)).detail(found, lead) } else { self }
    }

    #[inline(always)]
    const fn be(self, protocol: u32, encryption: u32) -> Self {
        const KEPT: u32 = !(PROTOCOL_MASK | 7 << ENCRYPTION_SHIFT);
        Self(self.0 & KEPT | protocol | encryption << ENCRYPTION_SHIFT)
    }

    /// The version that a `ServerHello` chooses (RFC 8446, 4.1.3): its cipher suite tells 1.3 from 1.2.
    #[inline(always)]
    fn greeted(self, lead: &Lead, forward: bool) -> Self {
        let first = lead.at(0);
        let done = if forward { flag::FORWARD_DONE } else { flag::BACKWARD_DONE };
        let next = Self(self.0 | done);
        if !identify::is_handshake(first, 2) || self.version() != version::UNKNOWN {
            return next;
        }
        let legacy = lead.short(9);
        let suite = lead.short(44 + u32::from(lead.byte(43)));
        let chosen = match legacy {
            0x0300 => version::SSL3,
            0x0301 => version::TLS10,
            0x0302 => version::TLS11,
            0x0303 if suite >> 8 == 0x13 => version::TLS13,
            0x0303 => version::TLS12,
            _ => version::UNKNOWN,
        };
        Self(next.0 | chosen << VERSION_SHIFT)
    }

    /// What further segments of a protocol say about itself.
    #[inline(always)]
    fn detail(self, protocol: u32, lead: &Lead) -> Self {
        if protocol != protocol::SMB {
            return self;
        }
        let first = lead.at(0);
        if first & 0x00ff_ffff != 0x0053_4d42 {
            return self;
        }
        let signed = match first >> 24 & 0xff {
            // A transform header: encrypted from here on.
            0xfd => return self.be(protocol, encryption::NATIVE).with_both_done(),
            0xfe => lead.byte(20) & 8 != 0,
            _ => lead.byte(14) & 4 != 0,
        };
        if signed { Self(self.0 | flag::SIGNED) } else { self }
    }

    #[inline(always)]
    const fn with_both_done(self) -> Self {
        Self(self.0 | flag::SETTLED)
    }

    /// Counts the segment, and says whether another one is worth a look.
    #[inline(always)]
    fn settle(self, is_tcp: bool, forward: bool) -> Self {
        let protocol = self.protocol();
        let own = self.encryption() == encryption::NATIVE
            || protocol == protocol::HTTP2
            || protocol == protocol::DNS
            || self.has(flag::CREDENTIALS);
        if own {
            return self.with_both_done();
        }
        let (shift, done) =
            if forward { (FORWARD_SHIFT, flag::FORWARD_DONE) } else { (BACKWARD_SHIFT, flag::BACKWARD_DONE) };
        let looked_at = (self.0 >> shift & 15) + 1;
        let most = if !is_tcp {
            DATAGRAMS
        } else if protocol == protocol::HTTP {
            if forward { HTTP_SEGMENTS } else { 1 }
        } else {
            TCP_SEGMENTS
        };
        let counted = Self(self.0 & !(15 << shift) | (looked_at & 15) << shift);
        if looked_at >= most { Self(counted.0 | done) } else { counted }
    }
}

/// How a protocol without TLS around it is encrypted.
#[inline(always)]
const fn encryption_of(protocol: u32) -> u32 {
    match protocol {
        protocol::SSH | protocol::QUIC | protocol::WIREGUARD => encryption::NATIVE,
        _ => encryption::CLEAR,
    }
}

/// What the client's command makes of a greeting or of text: SMTP and FTP greet alike, and commands are only words.
#[inline(always)]
fn mail_or_files(known: u32, found: u32, lead: &Lead) -> u32 {
    if found != protocol::NONE {
        return found;
    }
    let first = lead.at(0);
    if known == protocol::GREETING
        && (identify::begins_any_case(first, *b"user    ", 5)
            || identify::begins_any_case(first, *b"auth tls", 8)
            || identify::begins_any_case(first, *b"auth ssl", 8)
            || identify::begins_any_case(first, *b"feat    ", 4)
            || identify::begins_any_case(first, *b"syst    ", 4)
            || identify::begins_any_case(first, *b"opts    ", 5))
    {
        return protocol::FTP;
    }
    if known == protocol::NONE
        && (identify::begins_any_case(first, *b"auth    ", 5)
            || identify::begins_any_case(first, *b"ping\r\n  ", 6))
    {
        // Inline commands of Redis; in mail, the server speaks first.
        return protocol::REDIS;
    }
    protocol::NONE
}
