//! Commands that carry a password. In: the beginning of a segment of a conversation in clear. Out: flags; never a value.

use super::{
    flag,
    identify::{begins, begins_any_case, ldap_operation, lower, mqtt_name, word},
    lead::{LEAD_BYTES, Lead},
    protocol,
};
use crate::bucket::sign;

/// What a segment from the client says about passwords.
#[inline(always)]
pub fn sent(protocol: u32, lead: &Lead, flags: u32) -> u32 {
    let first = lead.at(0);
    match protocol {
        // What was asked for comes now, whatever it is; a client of SMTP may still give up with `*`.
        protocol::POSTGRESQL if flags & flag::ASKED != 0 => given(first >> 56 == 0x70),
        protocol::MYSQL if flags & flag::ASKED != 0 => flag::CREDENTIALS,
        protocol::SMTP | protocol::IMAP | protocol::POP3 if flags & flag::ASKED != 0 => {
            given(first >> 56 != u64::from(b'*'))
        }
        protocol::POP3 if begins_any_case(first, *b"pass    ", 5) => flag::CREDENTIALS,
        protocol::SMTP | protocol::POP3 => authentication(first, lead),
        protocol::IMAP => tagged(lead),
        protocol::FTP => file_transfer(first, lead, flags),
        protocol::REDIS if begins_any_case(first, *b"auth    ", 5) => flag::CREDENTIALS,
        protocol::REDIS => redis(lead),
        protocol::MQTT => given(mqtt_has_password(first, lead)),
        protocol::LDAP => given(is_simple_bind(lead)),
        protocol::HTTP | protocol::NATS => given(is_within(protocol, lead)),
        _ => 0,
    }
}

/// What an answer of the server says about the password that comes next.
#[inline(always)]
pub fn asked(protocol: u32, lead: &Lead, flags: u32) -> u32 {
    let first = lead.at(0);
    let asks = match protocol {
        // `AuthenticationCleartextPassword`.
        protocol::POSTGRESQL => first == 0x5200_0000_0800_0000 && lead.byte(8) == 3,
        // A switch to the plugin that sends the password as it is, or to the one of PAM.
        protocol::MYSQL => {
            lead.byte(4) == 0xfe && (lead.at(5) == word(*b"mysql_cl") || begins(lead.at(5), *b"dialog\0 ", 7))
        }
        protocol::SMTP => flags & flag::OFFERED != 0 && begins(first, *b"334     ", 3),
        protocol::IMAP | protocol::POP3 => flags & flag::OFFERED != 0 && begins(first, *b"+       ", 1),
        _ => false,
    };
    if asks { flag::ASKED } else { 0 }
}

#[inline(always)]
const fn given(is_given: bool) -> u32 {
    if is_given { flag::CREDENTIALS } else { 0 }
}

/// `AUTH PLAIN` or `AUTH LOGIN` (RFC 4954, RFC 5034), with the password in the same line or after the server's answer.
#[inline(always)]
fn authentication(first: u64, lead: &Lead) -> u32 {
    let second = lower(lead.at(8)) >> 48;
    let plain = lower(first) == word(*b"auth pla") && second == 0x696e;
    let login = lower(first) == word(*b"auth log") && second == 0x696e;
    if !plain && !login {
        0
    } else if plain && lead.byte(10) == b' ' {
        flag::CREDENTIALS
    } else {
        flag::OFFERED
    }
}

/// `LOGIN` or `AUTHENTICATE PLAIN` of IMAP behind a tag of at most 15 characters.
#[inline(always)]
fn tagged(lead: &Lead) -> u32 {
    let mut at = 1;
    while at < 16 {
        if lead.byte(at) == b' ' {
            let command = lead.at(at + 1);
            if begins_any_case(command, *b"login   ", 6) {
                return flag::CREDENTIALS;
            }
            let mechanism = lead.at(at + 14);
            let clear =
                begins_any_case(mechanism, *b"plain   ", 5) || begins_any_case(mechanism, *b"login   ", 5);
            let offers = lower(command) == word(*b"authenti") && clear;
            return if !offers {
                0
            } else if lead.byte(at + 19) == b' ' {
                flag::CREDENTIALS
            } else {
                flag::OFFERED
            };
        }
        at += 1;
    }
    0
}

/// `PASS` of FTP, unless the user is `anonymous`.
#[inline(always)]
fn file_transfer(first: u64, lead: &Lead, flags: u32) -> u32 {
    if begins_any_case(first, *b"pass    ", 5) {
        return given(flags & flag::ANONYMOUS == 0);
    }
    if begins_any_case(first, *b"user    ", 5) {
        let name = lower(lead.at(5));
        let nobody = name == word(*b"anonymou") || begins_any_case(name, *b"ftp\r\n   ", 5);
        return if nobody { flag::ANONYMOUS } else { 0 };
    }
    0
}

/// `AUTH`, or `HELLO` with `AUTH`, in an array.
#[inline(always)]
fn redis(lead: &Lead) -> u32 {
    // `*N\r\n$4\r\nAUTH`, and the same behind `$5\r\nHELLO\r\n$1\r\n3\r\n`.
    let is_auth = |at: u32| lower(lead.at(at)) >> 32 == word(*b"\0\0\0\0auth");
    given(is_auth(8) || (lower(lead.at(8)) >> 24 == word(*b"\0\0\0hello") && is_auth(26)))
}

/// The flag of a password in CONNECT (MQTT 3.1.1, 3.1.2.3).
#[inline(always)]
fn mqtt_has_password(first: u64, lead: &Lead) -> bool {
    let name = mqtt_name(first);
    if name == 0 {
        return false;
    }
    let flags = name + if lead.byte(name + 1) == 6 { 9 } else { 7 };
    lead.byte(flags) & 0x40 != 0
}

/// A bind with a password that is not empty (RFC 4511, 4.2).
#[inline(always)]
fn is_simple_bind(lead: &Lead) -> bool {
    let at = ldap_operation(lead);
    if at == 0 || lead.byte(at) != 0x60 {
        return false;
    }
    // Lengths in short form, or in one or two bytes more; then the version, then the name.
    let at = at + 1 + length_bytes(lead.byte(at + 1));
    if lead.short(at) != 0x0201 || lead.byte(at + 3) != 4 {
        return false;
    }
    let at = at + 4;
    let size = u32::from(lead.byte(at));
    let name = match size {
        0..=0x7f => size,
        0x81 => u32::from(lead.byte(at + 1)),
        _ => return false,
    };
    let choice = at + length_bytes(lead.byte(at)) + name;
    choice < LEAD_BYTES - 1 && lead.byte(choice) == 0x80 && lead.byte(choice + 1) != 0
}

#[inline(always)]
const fn length_bytes(first: u8) -> u32 {
    if first < 0x80 { 1 } else { 1 + (first & 7) as u32 }
}

/// What stands before a password in these protocols, wherever it is: sixteen characters, or the last eight of them alone.
#[inline(always)]
fn is_within(protocol: u32, lead: &Lead) -> bool {
    let (before, only_last, needle) = if protocol == protocol::HTTP {
        (word(*b"rization"), 0, word(*b": basic "))
    } else {
        (0, u64::MAX, word(*b"\"pass\":\""))
    };
    let (mut old, mut new, mut at) = (0u64, 0u64, 0u32);
    while at < LEAD_BYTES / 8 {
        if at * 8 >= lead.available {
            return false;
        }
        let eight = lower(u64::from_be(lead.words[at as usize]));
        let (mut shift, mut missed) = (64u32, 1u64);
        while shift > 0 {
            shift -= 8;
            old = old << 8 | new >> 56;
            new = new << 8 | (eight >> shift & 0xff);
            // Without a branch, which would make the verifier follow every byte twice.
            let miss = (new ^ needle) | (old ^ before) & !only_last;
            missed &= sign(miss | miss.wrapping_neg());
        }
        if missed == 0 {
            return true;
        }
        at += 1;
    }
    false
}
