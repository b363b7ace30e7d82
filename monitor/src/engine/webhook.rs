//! Findings as HTTP requests to an address of the operator's choice.
//!
//! In: alerts. Out: one POST of JSON each, from a thread of its own, so that a slow receiver delays nobody. What the queue
//! cannot hold is dropped and said so; nothing is tried twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::sinks::Sink;
use crate::core::Told;

/// Alerts that may wait.
const QUEUE: usize = 256;
/// A receiver that takes longer is given up on.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread that posts, as long as this is held.
#[derive(Debug)]
pub(super) struct Webhook {
    queue: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

impl Webhook {
    /// Refuses an address that cannot be posted to.
    pub fn new(address: &str) -> Result<Self> {
        if !(address.starts_with("http://") || address.starts_with("https://")) {
            bail!("alerts.webhook = {address:?} is no http:// or https:// address");
        }
        let (queue, waiting) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let (to, failed) = (address.to_owned(), Arc::clone(&lost));
        std::thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || post(&to, &waiting, &failed))
            .context("start the webhook's thread")?;
        Ok(Self { queue, lost })
    }

    pub fn send(&self, body: String) {
        if self.queue.try_send(body).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Findings that did not arrive, so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
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

    fn lost(&self) -> u64 {
        Self::lost(self)
    }
}

/// Until the queue's other end is gone.
fn post(address: &str, waiting: &Receiver<String>, failed: &AtomicU64) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    while let Ok(body) = waiting.recv() {
        if let Err(error) = agent.post(address).content_type("application/json").send(body) {
            failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("a finding could not be posted to the webhook: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_no_web_address_is_refused() {
        assert!(Webhook::new("ftp://example").is_err());
    }

    #[test]
    fn a_finding_arrives_as_one_request_with_its_json() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let webhook = Webhook::new(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
        webhook.send("{\"event\":\"opened\"}".to_owned());
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(12 * PATIENCE)).unwrap();
        let mut request = String::new();
        while !request.ends_with('}') {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "cut off after {request:?}");
            request.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("application/json") && request.ends_with("{\"event\":\"opened\"}"),
            "{request}"
        );
    }

    #[test]
    fn a_receiver_that_is_not_there_costs_nothing_but_the_finding() {
        // An address of this machine that no test listens on, so that nobody takes the port meanwhile.
        let webhook = Webhook::new("http://127.83.19.7:1/").unwrap();
        webhook.send("{}".to_owned());
        let began = Instant::now();
        while webhook.lost() == 0 {
            assert!(began.elapsed() < 12 * PATIENCE, "the loss was never counted");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
