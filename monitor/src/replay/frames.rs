//! Packets of a capture in, batches of Ethernet frames out; what could not be made a frame is counted.

use std::collections::BTreeMap;
use std::io::Read;

use jiff::Timestamp;
use monitor_common::flow::from_halves;
use monitor_common::parse::{Parsed, parse};

use super::batch::{Batch, Frame};
use capture::{Broken, Capture, Link, NoCapture, Packet, name_of};
use detection::contact::ip_of;
use detection::finding::CaptureSummary;

/// A capture on its way into batches.
#[derive(Debug)]
pub struct Frames<R> {
    capture: Capture<R>,
    packets: u64,
    bytes: u64,
    /// Earliest and latest.
    times: Option<(u64, u64)>,
    /// Packets by why they made no frame.
    skipped: BTreeMap<String, u64>,
    broken: Option<Broken>,
}

impl<R: Read> Frames<R> {
    pub fn new(capture: Capture<R>) -> Result<Self, NoCapture> {
        let link_types = capture.link_types();
        let (skipped, broken) = (BTreeMap::new(), None);
        let frames = Self { capture, packets: 0, bytes: 0, times: None, skipped, broken };
        // pcap says it in its head; in pcapng it is known when the first packet comes.
        if link_types.is_empty() { Ok(frames) } else { frames.read_at_all().map(|()| frames) }
    }

    /// Refuses a capture of which nothing would be read.
    fn read_at_all(&self) -> Result<(), NoCapture> {
        let link_types = self.capture.link_types();
        if link_types.iter().any(|link_type| Link::of(*link_type).is_some()) {
            return Ok(());
        }
        let names =
            link_types.first().map_or_else(|| "packets without an interface".to_owned(), |it| name_of(*it));
        Err(NoCapture::Other(format!(
            "it holds {names}, which is not read; Ethernet, raw IP, Linux cooked, BSD loopback and NFLOG are"
        )))
    }

    /// Reads into `batch` until it is full; false at the end of the capture.
    pub fn fill(&mut self, batch: &mut Batch) -> Result<bool, NoCapture> {
        while !batch.is_full() {
            let packet = match self.capture.read() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(false),
                Err(broken) => {
                    self.broken = Some(broken);
                    return Ok(false);
                }
            };
            self.packets += 1;
            self.bytes += u64::from(packet.length);
            let at = packet.at_ns;
            let (first, last) = self.times.unwrap_or((at, at));
            self.times = Some((first.min(at), last.max(at)));
            if let Err(why) = append(&packet, batch) {
                *self.skipped.entry(why).or_default() += 1;
                if batch.frames.is_empty() {
                    self.read_at_all()?;
                }
            }
        }
        Ok(true)
    }

    /// The head of the report.
    pub fn summary(&self) -> CaptureSummary {
        let mut labels: Vec<&str> = Vec::new();
        for link_type in self.capture.link_types() {
            let label = Link::of(link_type).map_or("unread", Link::label);
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        let moment = |at: u64| Timestamp::from_nanosecond(i128::from(at)).ok();
        CaptureSummary {
            link_type: if labels.is_empty() { "none".to_owned() } else { labels.join("+") },
            packets: self.packets,
            bytes: self.bytes,
            first: self.times.and_then(|(first, _)| moment(first)),
            last: self.times.and_then(|(_, last)| moment(last)),
            skipped: self.skipped.values().sum::<u64>() + u64::from(self.broken.is_some()),
        }
    }

    pub fn notes(&self) -> Vec<String> {
        let told = |(why, count): (&String, &u64)| {
            format!("{count} {} skipped: {why}", if *count == 1 { "packet was" } else { "packets were" })
        };
        let mut notes: Vec<String> = self.skipped.iter().map(told).collect();
        notes.extend(
            self.broken
                .as_ref()
                .map(|broken| format!("{broken}; {} packets were read until then", self.packets)),
        );
        notes
    }
}

/// Makes a frame of a packet, or says why not.
fn append(packet: &Packet<'_>, batch: &mut Batch) -> Result<(), String> {
    let Some(link_type) = packet.link_type else {
        return Err("the file does not describe its interface".to_owned());
    };
    let link = Link::of(link_type).ok_or_else(|| format!("{} is not read", name_of(link_type)))?;
    let start = batch.bytes.len();
    if !link.append(packet, &mut batch.bytes) {
        return Err("shorter than a header, or longer than 64 KiB".to_owned());
    }
    let end = batch.bytes.len();
    let source = match parse(batch.bytes.get(start..end).unwrap_or_default()) {
        Parsed::Ip(ip) => Some(ip_of(&from_halves(ip.source[0], ip.source[1]))),
        _ => None,
    };
    batch.frames.push(Frame { start, end, at_ns: packet.at_ns, source, verdict: None });
    Ok(())
}
