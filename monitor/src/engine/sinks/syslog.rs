//! Findings as RFC 5424 messages over UDP (RFC 5426), TCP with octet counting (RFC 6587) or TLS (RFC 5425).
//!
//! A stream is kept open and made again when it breaks. Neither way has an answer, so a message that was written as the
//! receiver went away may be lost.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::wording::{event, fields, host, priority, sentence};
use crate::engine::delivery::{Courier, Message, Patience, Queue, Refused};
use crate::engine::trust;
use policy::config::AlertSink;

/// The facility `daemon`.
const FACILITY: u8 = 3;
/// Our element of structured data; the number is the one for documents (RFC 5612).
const ELEMENT: &str = "sluice@32473";
/// What every receiver takes in one datagram.
const LARGEST_DATAGRAM: usize = 2048;
const PATIENCE: Duration = Duration::from_secs(5);

pub fn open(sink: &AlertSink) -> Result<Queue> {
    let Some((scheme, place)) = sink.address() else { bail!("it has no address") };
    let way = match scheme {
        "udp" => Way::Datagrams,
        "tcp" => Way::Stream(None),
        _ => Way::Stream(Some(
            sink.ca_file
                .clone()
                .or_else(trust::file_of_the_host)
                .context("the host has no certificates: name a `ca_file`")?,
        )),
    };
    Queue::start(sink.name(), Syslog { place: place.to_owned(), way, held: None }, Patience::USUAL)
}

/// How messages travel.
#[derive(Debug)]
enum Way {
    Datagrams,
    /// With the certificates that are trusted: over TLS.
    Stream(Option<PathBuf>),
}

trait Stream: Read + Write + Send {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }
}

struct Syslog {
    /// HOST:PORT.
    place: String,
    way: Way,
    held: Option<Box<dyn Stream>>,
}

impl Courier for Syslog {
    fn deliver(&mut self, message: &Message) -> Result<(), Refused> {
        let text = rfc5424(message, &host());
        let place = self.place.clone();
        Ok(self.send(&text).with_context(|| format!("send to {place}"))?)
    }
}

impl Syslog {
    fn send(&mut self, text: &str) -> Result<()> {
        let Way::Stream(trusted) = &self.way else { return datagram(&self.place, text) };
        // One that the receiver closed would swallow the first message.
        self.held.take_if(|stream| is_over(stream.socket()));
        let framed = format!("{} {text}", text.len());
        let mut stream = match self.held.take() {
            Some(stream) => stream,
            None => connect(&self.place, trusted.as_deref())?,
        };
        stream.write_all(framed.as_bytes())?;
        stream.flush()?;
        self.held = Some(stream);
        Ok(())
    }
}

fn datagram(place: &str, text: &str) -> Result<()> {
    let mut cut = text.len().min(LARGEST_DATAGRAM);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let to = place.to_socket_addrs().context("ask for its address")?.next().context("it has no address")?;
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    socket.send(&text.as_bytes()[..cut])?;
    Ok(())
}

/// Whether the other end is gone: it never says anything, so what can be read is the end.
fn is_over(socket: &TcpStream) -> bool {
    let looked = socket.set_nonblocking(true).and_then(|()| socket.peek(&mut [0]));
    let is_quiet = matches!(&looked, Err(error) if error.kind() == ErrorKind::WouldBlock);
    let is_talking = matches!(looked, Ok(length) if length > 0);
    let blocks = socket.set_nonblocking(false).is_ok();
    !(blocks && (is_quiet || is_talking))
}

fn connect(place: &str, trusted: Option<&Path>) -> Result<Box<dyn Stream>> {
    let mut last = anyhow!("it has no address");
    for to in place.to_socket_addrs().context("ask for its address")? {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let Some(trusted) = trusted else { return Ok(Box::new(stream)) };
                return secured(stream, place, trusted);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last.context("connect"))
}

fn secured(mut stream: TcpStream, place: &str, trusted: &Path) -> Result<Box<dyn Stream>> {
    let mut roots = RootCertStore::empty();
    // Files of many hold some that nobody can use.
    roots.add_parsable_certificates(trust::certificates(trusted)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choose versions of TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host).trim_matches(['[', ']']);
    let name =
        ServerName::try_from(host.to_owned()).with_context(|| format!("`{host}` is no name of a host"))?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    connection.complete_io(&mut stream).context("agree on TLS")?;
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

/// One message, without the frame around it.
fn rfc5424(message: &Message, host: &str) -> String {
    let (alert, kind) = (&message.told.alert, message.told.kind);
    let level = FACILITY * 8 + priority(alert.finding.severity, kind);
    let mut text = format!(
        "<{level}>1 {:.6} {} sluice {} {} [{ELEMENT}",
        alert.updated,
        if host.is_empty() { "-" } else { host },
        std::process::id(),
        event(kind)
    );
    for (name, value) in fields(alert, kind) {
        // Writing to a String cannot fail.
        let _ = write!(text, " {name}=\"{}\"", escaped(&value));
    }
    // The mark says that UTF-8 follows (RFC 5424, section 6.4).
    let _ = write!(text, "] \u{feff}{}", sentence(alert, kind).replace(['\n', '\r'], " "));
    text
}

/// Section 6.3.3: three characters, and no line breaks, which end a message for many receivers.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '"' | '\\' | ']' => text.extend(['\\', letter]),
            '\n' | '\r' => text.push(' '),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::wording::tests::message;
    use super::*;
    use detection::ledger::ChangeKind;

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(escaped("a\"b]c\\d\ne"), "a\\\"b\\]c\\\\d e");
    }

    #[test]
    fn a_message_has_the_header_of_the_rfc() {
        let text = rfc5424(&message(ChangeKind::Opened), "vm");
        let head: Vec<&str> = text.splitn(8, ' ').collect();
        assert!(head[0].starts_with('<') && head[0].ends_with(">1"), "{text}");
        assert!(head[1].ends_with('Z') && head[1].contains('.'), "{text}");
        assert_eq!(
            (head[2], head[3], head[5], head[6]),
            ("vm", "sluice", "opened", "[sluice@32473"),
            "{text}"
        );
        assert!(text.contains("] \u{feff}finding "), "{text}");
    }

    #[test]
    fn a_stream_that_the_receiver_closed_is_made_again_before_a_message_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let mut syslog = Syslog { place, way: Way::Stream(None), held: None };
        for number in 0..3 {
            syslog.send(&format!("message {number}")).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = [0; 11];
            stream.read_exact(&mut read).unwrap();
            assert_eq!(String::from_utf8_lossy(&read), format!("9 message {number}"));
            drop(stream);
        }
    }
}
