//! Findings as HTTP requests to an address of the operator's choice.
//!
//! In: alerts. Out: one POST of JSON each, from a thread of its own, so that a slow receiver delays nobody. What a receiver
//! cannot take now is tried again with growing pauses; what the queue cannot hold, and what nobody took in time, is
//! counted as lost.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ring::hmac;

use super::delivery::{Courier, Message, Patience, Queue, Refused};
use super::sinks::Sink;
use super::trust;
use crate::core::Told;
use crate::snapshot::SinkState;
use policy::config::Alerts;

/// A receiver that takes longer is given up on, for this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Carries the HMAC-SHA256 of the body under the shared secret, as `sha256=` and hexadecimal digits.
const SIGNATURE: &str = "x-sluice-signature";

/// The queue of the thread that posts.
#[derive(Debug)]
pub(super) struct Webhook(Queue);

/// What is posted to, and how it is signed.
struct Receiver {
    address: String,
    key: Option<hmac::Key>,
    agent: ureq::Agent,
}

impl Webhook {
    /// The webhook of the configuration, if it names one. Refuses an address that cannot be posted to, and a secret that
    /// cannot be read.
    pub fn open(config: &Alerts) -> Result<Option<Self>> {
        let Some(address) = config.webhook.clone() else { return Ok(None) };
        let key = config.webhook_secret_file.as_deref().map(key).transpose()?;
        Self::start(address, key, Patience::USUAL).map(Some)
    }

    fn start(address: String, key: Option<hmac::Key>, patience: Patience) -> Result<Self> {
        if !(address.starts_with("http://") || address.starts_with("https://")) {
            bail!("alerts.webhook = {address:?} is no http:// or https:// address");
        }
        let agent = trust::client(None, PATIENCE)?.build().into();
        Ok(Self(Queue::start("webhook", Receiver { address, key, agent }, patience)?))
    }
}

impl Sink for Webhook {
    fn concern(&self) -> &'static str {
        "post findings"
    }

    fn take(&mut self, told: &Told, line: &str) -> Result<()> {
        if told.post {
            self.0.send(Message { told: told.clone(), line: line.to_owned() });
        }
        Ok(())
    }

    fn state(&self) -> Option<SinkState> {
        Some(self.0.state())
    }
}

/// The key that the receiver knows too. It never reaches a log.
fn key(path: &Path) -> Result<hmac::Key> {
    let secret = std::fs::read(path)
        .with_context(|| format!("alerts.webhook_secret_file: read {}", path.display()))?;
    let secret = secret.trim_ascii();
    if secret.is_empty() {
        bail!("alerts.webhook_secret_file: {} is empty", path.display());
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret))
}

impl Courier for Receiver {
    fn deliver(&mut self, message: &Message) -> Result<(), Refused> {
        let body = &message.line;
        let mut request = self.agent.post(&self.address).content_type("application/json");
        if let Some(key) = &self.key {
            let tag = hmac::sign(key, body.as_bytes());
            let digits =
                tag.as_ref().iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
            request = request.header(SIGNATURE, format!("sha256={digits}"));
        }
        match request.send(body) {
            Ok(_) => Ok(()),
            // The receiver understood, and does not want it. Timeouts and too many requests pass.
            Err(ureq::Error::StatusCode(code))
                if (400..500).contains(&code) && ![408, 425, 429].contains(&code) =>
            {
                Err(Refused::Never(ureq::Error::StatusCode(code).into()))
            }
            Err(error) => Err(Refused::Later(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    /// How long a test waits for what is done in a moment.
    const WAIT: Duration = Duration::from_mins(1);

    fn webhook(address: String, key: Option<hmac::Key>, oldest: Duration) -> Webhook {
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(50));
        Webhook::start(address, key, Patience { first, longest, oldest }).unwrap()
    }

    fn send(webhook: &mut Webhook, line: &str) {
        let told = crate::engine::sinks::wording::tests::message(detection::ledger::ChangeKind::Opened).told;
        webhook.take(&told, line).unwrap();
    }

    /// What waits, what was lost, and why it fails.
    fn state(webhook: &Webhook) -> (u64, u64, Option<String>) {
        let SinkState { waiting, lost, failing, .. } = webhook.state().unwrap();
        (waiting, lost, failing)
    }

    /// Takes a request and answers it.
    fn answer(listener: &TcpListener, status: &str) -> String {
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut request = String::new();
        while !request.ends_with('}') {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "cut off after {request:?}");
            request.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        request
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < WAIT, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        let config = Alerts { webhook: Some("ftp://example".to_owned()), ..Alerts::default() };
        assert!(Webhook::open(&config).is_err());
        assert!(Webhook::open(&Alerts::default()).unwrap().is_none());
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_named_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let config = Alerts {
            webhook: Some("http://127.0.0.1:1/".to_owned()),
            webhook_secret_file: Some(path.clone()),
            ..Alerts::default()
        };
        let said = |config| format!("{:#}", Webhook::open(config).unwrap_err());
        assert!(said(&config).contains("secret"), "{}", said(&config));
        std::fs::write(&path, "\n").unwrap();
        assert!(said(&config).contains("is empty"), "{}", said(&config));
    }

    #[test]
    fn a_finding_arrives_as_one_signed_request_with_its_json() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/hook", listener.local_addr().unwrap());
        let mut webhook =
            webhook(address, Some(hmac::Key::new(hmac::HMAC_SHA256, b"key")), Patience::USUAL.oldest);
        send(&mut webhook, "{\"event\":\"opened\"}");
        let request = answer(&listener, "204 No Content");
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("application/json") && request.ends_with("{\"event\":\"opened\"}"),
            "{request}"
        );
        // As `printf '{"event":"opened"}' | openssl dgst -sha256 -hmac key` says.
        let signed = "5f6ba5d74ff6f48b558b4b1c463880a3acc456419715f189c829f0cb9d5ec013";
        assert!(request.contains(&format!("{SIGNATURE}: sha256={signed}")), "{request}");
        until("it is delivered", || state(&webhook) == (0, 0, None));
    }

    #[test]
    fn a_receiver_that_fails_gets_the_finding_again_until_it_takes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut webhook =
            webhook(format!("http://{}/", listener.local_addr().unwrap()), None, Patience::USUAL.oldest);
        send(&mut webhook, "{\"number\":1}");
        send(&mut webhook, "{\"number\":2}");
        for status in ["503 Service Unavailable", "429 Too Many Requests"] {
            assert!(answer(&listener, status).ends_with("{\"number\":1}"));
        }
        until("the failure is told", || {
            let (waiting, _, failing) = state(&webhook);
            waiting == 2 && failing.is_some_and(|why| why.contains("429"))
        });
        for number in [1, 2] {
            assert!(answer(&listener, "204 No Content").ends_with(&format!("{{\"number\":{number}}}")));
        }
        until("both are delivered", || state(&webhook) == (0, 0, None));
    }

    #[test]
    fn what_the_receiver_does_not_want_is_not_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut webhook =
            webhook(format!("http://{}/", listener.local_addr().unwrap()), None, Patience::USUAL.oldest);
        send(&mut webhook, "{\"number\":1}");
        send(&mut webhook, "{\"number\":2}");
        assert!(answer(&listener, "400 Bad Request").ends_with("{\"number\":1}"));
        assert!(answer(&listener, "204 No Content").ends_with("{\"number\":2}"));
        assert_eq!(state(&webhook).1, 1);
    }

    #[test]
    fn a_receiver_that_is_never_there_loses_the_finding_in_the_end() {
        // An address of this machine that no test listens on, so that nobody takes the port meanwhile.
        let mut webhook = webhook("http://127.83.19.7:1/".to_owned(), None, Duration::from_millis(100));
        send(&mut webhook, "{}");
        until("the loss is counted", || state(&webhook).1 == 1);
    }
}
