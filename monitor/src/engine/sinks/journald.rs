//! Findings in the journal of this host, with fields, by its native protocol: a datagram of `NAME=value` lines.
//!
//! See `systemd.journal-fields(7)` and <https://systemd.io/JOURNAL_NATIVE_PROTOCOL>. It holds no connection, so a journal that
//! was started again gets the next one.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::wording::{fields, priority, sentence};
use crate::engine::delivery::{Courier, Message, Patience, Queue, Refused};
use policy::config::AlertSink;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Every finding's kind of message; `journalctl MESSAGE_ID=...` lists them.
const MESSAGE_ID: &str = "8f4d1f1f6f0d4b0aa1c1a8b2c7f5e9d3";
/// A journal that reads no faster is one that hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// The whole finding as JSON goes along as long as a datagram surely holds it.
const LARGEST_JSON: usize = 48 * 1024;

pub fn open(sink: &AlertSink) -> Result<Queue> {
    let socket = sink.path.clone().unwrap_or_else(|| PathBuf::from(SOCKET));
    Queue::start(sink.name(), Journal { socket }, Patience::LONG)
}

#[derive(Debug)]
struct Journal {
    socket: PathBuf,
}

impl Courier for Journal {
    fn deliver(&mut self, message: &Message) -> Result<(), Refused> {
        let send = || -> Result<()> {
            let datagram = UnixDatagram::unbound()?;
            datagram.set_write_timeout(Some(PATIENCE))?;
            datagram.send_to(&entry(message), &self.socket)?;
            Ok(())
        };
        let told = || format!("send to the journal at {}", self.socket.display());
        Ok(send().with_context(told)?)
    }
}

fn entry(message: &Message) -> Vec<u8> {
    let (alert, kind) = (&message.told.alert, message.told.kind);
    let mut entry = Vec::with_capacity(2048);
    put(&mut entry, "MESSAGE", &sentence(alert, kind));
    put(&mut entry, "MESSAGE_ID", MESSAGE_ID);
    put(&mut entry, "PRIORITY", &priority(alert.finding.severity, kind).to_string());
    put(&mut entry, "SYSLOG_IDENTIFIER", "sluice");
    for (name, value) in fields(alert, kind) {
        put(&mut entry, &format!("SLUICE_{}", name.to_uppercase()), &value);
    }
    if message.line.len() <= LARGEST_JSON {
        put(&mut entry, "SLUICE_JSON", &message.line);
    }
    entry
}

/// A value with a line break travels with its length.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_begin_a_field_of_its_own() {
        let mut entry = Vec::new();
        put(&mut entry, "A", "x");
        put(&mut entry, "B", "y\nPRIORITY=0");
        assert_eq!(entry, b"A=x\nB\n\x0c\0\0\0\0\0\0\0y\nPRIORITY=0\n");
    }
}
