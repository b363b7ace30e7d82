//! Findings as HTTP requests to an address of the operator's choice.
//!
//! In: alerts. Out: one POST of JSON each, from a thread of its own, so that a slow receiver delays nobody. What a receiver
//! cannot take now is tried again with growing pauses; what the queue cannot hold, and what nobody took in time, is
//! counted as lost.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ring::hmac;

use super::sinks::Sink;
use crate::core::Told;
use policy::config::Alerts;

/// Alerts that may wait.
const QUEUE: usize = 1024;
/// A receiver that takes longer is given up on, for this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first pause before another attempt, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// A finding that nobody took within this time is lost.
const OLDEST: Duration = Duration::from_mins(15);
/// Carries the HMAC-SHA256 of the body under the shared secret, as `sha256=` and hexadecimal digits.
const SIGNATURE: &str = "x-sluice-signature";

/// The thread that posts, as long as this is held.
#[derive(Debug)]
pub(super) struct Webhook {
    queue: SyncSender<Delivery>,
    progress: Arc<Progress>,
}

/// A finding on its way.
#[derive(Debug)]
struct Delivery {
    body: String,
    since: Instant,
}

/// What the thread says of itself.
#[derive(Debug, Default)]
struct Progress {
    waiting: AtomicU64,
    lost: AtomicU64,
    /// Why the last attempt failed; `None` after one that did not.
    failing: Mutex<Option<String>>,
}

/// What is posted to, and how it is signed.
struct Receiving {
    address: String,
    key: Option<hmac::Key>,
    pauses: (Duration, Duration),
    oldest: Duration,
}

impl Webhook {
    /// The webhook of the configuration, if it names one. Refuses an address that cannot be posted to, and a secret that
    /// cannot be read.
    pub fn open(config: &Alerts) -> Result<Option<Self>> {
        let Some(address) = config.webhook.clone() else { return Ok(None) };
        let key = config.webhook_secret_file.as_deref().map(key).transpose()?;
        Self::start(Receiving { address, key, pauses: PAUSES, oldest: OLDEST }).map(Some)
    }

    fn start(receiving: Receiving) -> Result<Self> {
        let address = &receiving.address;
        if !(address.starts_with("http://") || address.starts_with("https://")) {
            bail!("alerts.webhook = {address:?} is no http:// or https:// address");
        }
        let (queue, waiting) = sync_channel(QUEUE);
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        std::thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || post(&receiving, &waiting, &shared))
            .context("start the webhook's thread")?;
        Ok(Self { queue, progress })
    }

    pub fn send(&self, body: String) {
        let delivery = Delivery { body, since: Instant::now() };
        self.progress.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(delivery).is_err() {
            self.progress.waiting.fetch_sub(1, Ordering::Relaxed);
            self.progress.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sink for Webhook {
    fn concern(&self) -> &'static str {
        "post findings"
    }

    fn take(&mut self, told: &Told, line: &str) -> Result<()> {
        if told.post {
            self.send(line.to_owned());
        }
        Ok(())
    }

    /// Findings that did not arrive, so far.
    fn lost(&self) -> u64 {
        self.progress.lost.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> Option<String> {
        let failing = self.progress.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let waiting = self.progress.waiting.load(Ordering::Relaxed);
        Some(format!("{waiting} findings wait to be posted to the webhook, which is tried again: {failing}"))
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

/// Until the queue's other end is gone and what waits is delivered or lost.
fn post(receiving: &Receiving, waiting: &Receiver<Delivery>, progress: &Progress) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    while let Ok(delivery) = waiting.recv() {
        let mut pause = receiving.pauses.0;
        loop {
            let failure = attempt(&agent, receiving, &delivery.body);
            let is_over = delivery.since.elapsed() + pause > receiving.oldest;
            let told = failure.as_ref().map(|(why, _)| why.clone());
            *progress.failing.lock().unwrap_or_else(PoisonError::into_inner) = told;
            match failure {
                None => break,
                Some((_, Retry::Later)) if !is_over => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(receiving.pauses.1);
                }
                Some((why, _)) => {
                    progress.lost.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("a finding could not be posted to the webhook: {why}");
                    break;
                }
            }
        }
        progress.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the same request can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    Later,
    Never,
}

/// One request; `None` when the receiver took it.
fn attempt(agent: &ureq::Agent, receiving: &Receiving, body: &str) -> Option<(String, Retry)> {
    let mut request = agent.post(&receiving.address).content_type("application/json");
    if let Some(key) = &receiving.key {
        let tag = hmac::sign(key, body.as_bytes());
        let digits = tag.as_ref().iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
        request = request.header(SIGNATURE, format!("sha256={digits}"));
    }
    match request.send(body) {
        Ok(_) => None,
        Err(error) => {
            let retry = match error {
                // The receiver understood, and does not want it. Timeouts and too many requests pass.
                ureq::Error::StatusCode(code)
                    if (400..500).contains(&code) && ![408, 425, 429].contains(&code) =>
                {
                    Retry::Never
                }
                _ => Retry::Later,
            };
            Some((error.to_string(), retry))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// How long a test waits for what is done in a moment.
    const WAIT: Duration = Duration::from_mins(1);

    fn webhook(address: String, key: Option<hmac::Key>, oldest: Duration) -> Webhook {
        let pauses = (Duration::from_millis(10), Duration::from_millis(50));
        Webhook::start(Receiving { address, key, pauses, oldest }).unwrap()
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
        let webhook = webhook(address, Some(hmac::Key::new(hmac::HMAC_SHA256, b"key")), OLDEST);
        webhook.send("{\"event\":\"opened\"}".to_owned());
        let request = answer(&listener, "204 No Content");
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("application/json") && request.ends_with("{\"event\":\"opened\"}"),
            "{request}"
        );
        // As `printf '{"event":"opened"}' | openssl dgst -sha256 -hmac key` says.
        let signed = "5f6ba5d74ff6f48b558b4b1c463880a3acc456419715f189c829f0cb9d5ec013";
        assert!(request.contains(&format!("{SIGNATURE}: sha256={signed}")), "{request}");
        until("it is delivered", || webhook.progress.waiting.load(Ordering::Relaxed) == 0);
        assert_eq!((Sink::lost(&webhook), Sink::waiting(&webhook)), (0, None));
    }

    #[test]
    fn a_receiver_that_fails_gets_the_finding_again_until_it_takes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let webhook = webhook(format!("http://{}/", listener.local_addr().unwrap()), None, OLDEST);
        webhook.send("{\"number\":1}".to_owned());
        webhook.send("{\"number\":2}".to_owned());
        for status in ["503 Service Unavailable", "429 Too Many Requests"] {
            assert!(answer(&listener, status).ends_with("{\"number\":1}"));
        }
        until("the failure is told", || {
            Sink::waiting(&webhook).is_some_and(|said| said.starts_with("2 findings") && said.contains("429"))
        });
        for number in [1, 2] {
            assert!(answer(&listener, "204 No Content").ends_with(&format!("{{\"number\":{number}}}")));
        }
        until("both are delivered", || webhook.progress.waiting.load(Ordering::Relaxed) == 0);
        assert_eq!((Sink::lost(&webhook), Sink::waiting(&webhook)), (0, None));
    }

    #[test]
    fn what_the_receiver_does_not_want_is_not_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let webhook = webhook(format!("http://{}/", listener.local_addr().unwrap()), None, OLDEST);
        webhook.send("{\"number\":1}".to_owned());
        webhook.send("{\"number\":2}".to_owned());
        assert!(answer(&listener, "400 Bad Request").ends_with("{\"number\":1}"));
        assert!(answer(&listener, "204 No Content").ends_with("{\"number\":2}"));
        assert_eq!(Sink::lost(&webhook), 1);
    }

    #[test]
    fn a_receiver_that_is_never_there_loses_the_finding_in_the_end() {
        // An address of this machine that no test listens on, so that nobody takes the port meanwhile.
        let webhook = webhook("http://127.83.19.7:1/".to_owned(), None, Duration::from_millis(100));
        webhook.send("{}".to_owned());
        until("the loss is counted", || Sink::lost(&webhook) == 1);
    }
}
