//! Frames through the parser and the conversation functions over a table in memory, the records through the detectors:
//! what the kernel and the daemon do, without a kernel.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::Path,
};

use capture::{Capture, Link, name_of};
use detection::{
    Detection, Learned, Parameters,
    contact::{Inside, ip_of},
    finding::Finding,
    ledger::ChangeKind,
};
use ipnet::IpNet;
use monitor_common::{
    application::lead::Lead,
    bucket::UNITS_PER_NS,
    conversation::{
        Conversation, ConversationKey, Record, embedded, record_kind, report,
        tracking::{Entering, OnWire, SECOND as SECOND_UNITS, Sight, entering, key_of, since},
    },
    flow::from_halves,
    parse::{Frame, Parsed, parse},
    plain::Plain,
};

const ACTIVE_TIMEOUT: u64 = 5 * SECOND_UNITS;
const SWEEP: u64 = 10 * 1_000_000_000;

/// What the kernel does with a table and a ring, with a map and the detectors.
#[derive(Debug)]
pub struct Tracker {
    table: HashMap<ConversationKey, Conversation>,
    inside: Inside,
    pub detection: Detection,
    swept: u64,
    at: u64,
    pub packets: u64,
    pub records: u64,
}

impl Tracker {
    pub fn new(parameters: &Parameters, inside: Vec<IpNet>) -> Self {
        Self {
            table: HashMap::new(),
            inside: Inside(inside.clone()),
            detection: Detection::new(parameters, inside, &Learned::default()),
            swept: 0,
            at: 0,
            packets: 0,
            records: 0,
        }
    }

    pub fn frame(&mut self, bytes: &[u8], at_ns: u64) {
        self.packets += 1;
        self.at = at_ns;
        let now = at_ns.wrapping_mul(UNITS_PER_NS);
        if at_ns > self.swept + SWEEP || at_ns + SWEEP < self.swept {
            self.swept = at_ns;
            self.sweep(now, false);
            self.detection.tick(at_ns);
        }
        let mut record = Record::zeroed();
        match parse(bytes) {
            Parsed::Ip(frame) => self.packet(bytes, &frame, now, &mut record),
            Parsed::Arp(offset) if report::arp_request(&mut record, bytes, offset, 1, 1, now) => {
                self.send(&record);
            }
            _ => {}
        }
    }

    fn packet(&mut self, bytes: &[u8], frame: &Frame, now: u64, record: &mut Record) {
        if let Some(failure) = embedded::failure(bytes, frame)
            && let Some(conversation) = self.table.get_mut(&failure.key)
        {
            let by_initiator = failure.sender_is_higher
                == (conversation.state & monitor_common::conversation::state::INITIATOR_IS_HIGHER != 0);
            let due = if by_initiator { conversation.fail(failure.outcome, now) } else { 0 };
            if due != 0 {
                report::conversation(record, &failure.key, conversation, due, now);
                self.send(record);
                return;
            }
        }
        let sight = Sight {
            source_inside: self.inside.contains(ip_of(&from_halves(frame.source[0], frame.source[1]))),
            destination_inside: self
                .inside
                .contains(ip_of(&from_halves(frame.destination[0], frame.destination[1]))),
            track_all: true,
        };
        if let Some((key, sender_is_higher)) = key_of(frame) {
            if let Some(conversation) = self.table.get_mut(&key) {
                let due =
                    conversation.update(frame, OnWire::whole(frame), sender_is_higher, now, ACTIVE_TIMEOUT);
                if due != 0 {
                    report::conversation(record, &key, conversation, due, now);
                    self.send(record);
                }
                if let Some(conversation) = self.table.get_mut(&key) {
                    recognise(conversation, bytes, frame, sender_is_higher);
                }
                return;
            }
            let by_source = match entering(frame, sight) {
                Entering::BySource => Some(true),
                Entering::ByDestination => Some(false),
                Entering::Observe(_) => None,
            };
            if let Some(by_source) = by_source {
                let mut conversation = Conversation::zeroed();
                conversation.begin(frame, OnWire::whole(frame), sender_is_higher, by_source, now);
                conversation.interface = 1;
                if by_source {
                    conversation.mac = report::source_mac(bytes);
                }
                report::conversation(record, &key, &conversation, record_kind::STARTED, now);
                recognise(&mut conversation, bytes, frame, sender_is_higher);
                self.table.insert(key, conversation);
                self.send(record);
                return;
            }
        }
        if let Entering::Observe(note) = entering(frame, sight) {
            report::observation(record, bytes, frame, note, 1, 1, now);
            self.send(record);
        }
    }

    fn send(&mut self, record: &Record) {
        self.records += 1;
        self.detection.observe(record, self.at, None);
    }

    fn sweep(&mut self, now: u64, all: bool) {
        let mut over: Vec<(ConversationKey, Conversation)> = Vec::new();
        self.table.retain(|key, conversation| {
            let ends = all || since(now, conversation.last_seen) > conversation.idle_after(key.protocol);
            if ends && conversation.state & monitor_common::conversation::state::CLOSED == 0 {
                over.push((*key, *conversation));
            }
            !ends
        });
        over.sort_by_key(|(key, value)| {
            (value.first_seen, key.lower, key.higher, key.lower_port, key.higher_port)
        });
        for (key, mut conversation) in over {
            conversation.records += 1;
            let mut record = Record::zeroed();
            report::conversation(&mut record, &key, &conversation, record_kind::ENDED, now);
            self.send(&record);
        }
    }

    /// Nothing more is seen until then, and nothing ends: what is found by then, and not taken back.
    pub fn wait(&mut self, until_ns: u64) -> Vec<Finding> {
        while self.at < until_ns {
            self.at = until_ns.min(self.at + 1_000_000_000);
            if self.at > self.swept + SWEEP {
                self.swept = self.at;
                self.sweep(self.at.wrapping_mul(UNITS_PER_NS), false);
            }
            self.detection.tick(self.at);
        }
        self.findings()
    }

    pub fn finish(&mut self) -> Vec<Finding> {
        self.detection.tick(self.at);
        self.sweep(self.at.wrapping_mul(UNITS_PER_NS), true);
        self.detection.finish();
        self.findings()
    }

    fn findings(&mut self) -> Vec<Finding> {
        let mut findings = BTreeMap::new();
        for change in self.detection.drain_findings() {
            if change.kind == ChangeKind::Retracted {
                findings.remove(&change.id);
            } else {
                findings.insert(change.id, change.finding);
            }
        }
        for (id, finding) in self.detection.open_findings() {
            findings.insert(id, finding.clone());
        }
        findings.into_values().collect()
    }
}

/// Looks at the data of a packet that was counted, if it is one of the first.
fn recognise(conversation: &mut Conversation, bytes: &[u8], frame: &Frame, sender_is_higher: bool) {
    if conversation.is_open_to(frame, sender_is_higher)
        && let Some(lead) = Lead::of_frame(bytes, frame)
    {
        conversation.recognise(&lead, frame.protocol, sender_is_higher, |number| number);
    }
}

/// Feeds every packet of a capture as an Ethernet frame; an error says why it cannot be read.
pub fn read(path: &Path, mut each: impl FnMut(&[u8], u64)) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut capture = Capture::new(file).map_err(|error| error.to_string())?;
    let mut frame = Vec::new();
    while let Some(packet) = capture.read().map_err(|broken| broken.to_string())? {
        let link_type = packet.link_type.ok_or("a packet without an interface")?;
        let link = Link::of(link_type).ok_or_else(|| format!("{} is not read", name_of(link_type)))?;
        frame.clear();
        if link.append(&packet, &mut frame) {
            each(&frame, packet.at_ns);
        }
    }
    Ok(())
}
