//! What the kernel writes and userspace reads: entries, totals, states and events. Times are in clock units
//! (sixteenths of a nanosecond of the kernel's tick clock, see [`crate::bucket`]).

mod source;

use crate::{
    bucket::level,
    flow::protocol,
    parse::{End, Frame, Parsed, end},
    plain,
    request::COUNTED,
    rule::DIMENSIONS,
    verdict::REASONS,
};

pub use source::{Ban, OWNED, Others, SETTLED, SHARED, SourceEntry, entry, origin, scope};

/// Packets and bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}
plain!(Count { packets: u64, bytes: u64 } = 16);

/// Totals of one interface and service on one CPU, by reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// How packets ended.
    pub ended: [Count; REASONS],
    /// Packets that an observing limit would have dropped, by the reason it would have given.
    pub would_drop: [Count; REASONS],
}
plain!(Totals { ended: [Count; REASONS], would_drop: [Count; REASONS] } = 1280);

/// What requests and handshakes to one service became, each counted once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTotals {
    pub passed: [u64; COUNTED],
    /// Refused attempts: a request that its client sends again and that is refused again is two.
    pub dropped: [u64; COUNTED],
    /// What an observing limit would have refused; also under `passed`.
    pub would_drop: [u64; COUNTED],
}
plain!(RequestTotals { passed: [u64; COUNTED], dropped: [u64; COUNTED], would_drop: [u64; COUNTED] } = 48);

impl RequestTotals {
    /// Adds what another CPU counted.
    pub fn add(&mut self, other: &Self) {
        let from = other.passed.iter().chain(&other.dropped).chain(&other.would_drop);
        let to = self.passed.iter_mut().chain(&mut self.dropped).chain(&mut self.would_drop);
        to.zip(from).for_each(|(to, from)| *to = to.wrapping_add(*from));
    }
}

/// Buckets of one source at one service, in a table of their own: most services count no requests. What owes nothing says
/// nothing, so another source may take its place without a loss to anybody.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestBuckets {
    /// Hash of the source at the service; 0 nobody yet.
    pub key: u64,
    pub force: [u64; COUNTED],
    pub candidate: [u64; COUNTED],
}
plain!(RequestBuckets { key: u64, force: [u64; COUNTED], candidate: [u64; COUNTED] } = 40);

impl RequestBuckets {
    /// Places that may hold a source.
    pub const WAYS: u32 = 4;

    /// The first of the places of a source with this hash; `entries` is a power of two.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
    pub const fn first(hash: u64, entries: u32) -> u32 {
        (hash >> 20) as u32 & (entries - 1) & !(Self::WAYS - 1)
    }

    /// Whether nothing is owed.
    #[inline(always)]
    pub fn is_free(&self, now: u64) -> bool {
        let force = level(self.force[0], now) | level(self.force[1], now);
        force | level(self.candidate[0], now) | level(self.candidate[1], now) == 0
    }
}

/// Buckets of a service's aggregate limit, a cache line each.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateState {
    pub total: [u64; DIMENSIONS],
    pub total_requests: [u64; COUNTED],
    pub total_line: [u64; 2],
    pub strangers: [u64; DIMENSIONS],
    pub strangers_requests: [u64; COUNTED],
    pub strangers_line: [u64; 2],
}
plain!(
    AggregateState {
        total: [u64; DIMENSIONS],
        total_requests: [u64; COUNTED],
        total_line: [u64; 2],
        strangers: [u64; DIMENSIONS],
        strangers_requests: [u64; COUNTED],
        strangers_line: [u64; 2],
    } = 128
);

/// Which guarded interface an index belongs to: open addressing over `ifindex % INTERFACE_INDEXES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceIndex {
    pub ifindex: u32,
    /// 1..; slot 0 stands for interfaces that are not listed (test runs, replay).
    pub slot: u32,
}
plain!(InterfaceIndex { ifindex: u32, slot: u32 } = 8);

/// Flood mode of one interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodState {
    /// When the present flood began; 0: calm.
    pub since: u64,
    /// When flood mode ends unless it is prolonged.
    pub until: u64,
    /// Floods so far.
    pub floods: u64,
    /// A cache line of its own.
    pub reserved: [u64; 5],
}
plain!(FloodState { since: u64, until: u64, floods: u64, reserved: [u64; 5] } = 64);

/// Budgets of one interface on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bucket of new sources.
    pub new_sources: u64,
    /// Bucket of heavy sources admitted in flood mode.
    pub heavy_sources: u64,
    /// Bucket of observed packets outside conversations.
    pub observations: u64,
    /// When the table of conversations was last found full; 0 never.
    pub no_room: u64,
    /// Observations that it had no room for. Counted here and not among the incidents, since in a flood it is every packet.
    pub skipped: u64,
    /// When a spoofed source was last reported.
    pub spoofed: u64,
}
plain!(
    Budget {
        new_sources: u64,
        heavy_sources: u64,
        observations: u64,
        no_room: u64,
        skipped: u64,
        spoofed: u64,
    } = 48
);

/// What the kernel could not do, and other rare things, counted per CPU. The position is the index in the map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// The exact table was full: the source stays with the sketch.
    SourceTableFull = 0,
    /// The ban table was full: the source was limited but not banned.
    BanTableFull = 1,
    /// The event ring was full.
    EventLost = 2,
    /// The record ring was full.
    RecordLost = 3,
    /// The conversation table was full.
    ConversationTableFull = 4,
    /// An observation was not reported because the budget was spent; the kernel counts it in [`Budget::skipped`].
    ObservationSkipped = 5,
    /// A bucket changed under every attempt to charge it.
    Contended = 6,
    /// A packet was judged by the sketch.
    JudgedBySketch = 7,
    /// A source entered the exact table in calm times.
    SourceEntered = 8,
    /// A heavy source entered the exact table in flood mode.
    HeavySourceEntered = 9,
    /// A heavy source could not enter because the budget was spent.
    HeavySourceDeferred = 10,
    /// A frame came in through an interface that is not listed.
    UnlistedInterface = 11,
    /// The daemon's heartbeat was stale, and the configured policy made limits observe.
    StaleHeartbeat = 12,
    /// A ban was made by the kernel.
    BanMade = 13,
    /// A conversation entered the table.
    ConversationEntered = 14,
    /// A source earned a ban, and this host depends on it or contacted it: it was limited but not banned.
    BanWithheld = 15,
    /// The table of requests had no place for a source: its requests count in the aggregate alone.
    RequestTableFull = 16,
    /// The tables of open connections had no place for a connection or its source: it does not count.
    ConnectionTableFull = 17,
}

impl Incident {
    pub const ALL: [Self; 18] = [
        Self::SourceTableFull,
        Self::BanTableFull,
        Self::EventLost,
        Self::RecordLost,
        Self::ConversationTableFull,
        Self::ObservationSkipped,
        Self::Contended,
        Self::JudgedBySketch,
        Self::SourceEntered,
        Self::HeavySourceEntered,
        Self::HeavySourceDeferred,
        Self::UnlistedInterface,
        Self::StaleHeartbeat,
        Self::BanMade,
        Self::ConversationEntered,
        Self::BanWithheld,
        Self::RequestTableFull,
        Self::ConnectionTableFull,
    ];

    /// The value of the metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SourceTableFull => "source_table_full",
            Self::BanTableFull => "ban_table_full",
            Self::EventLost => "event_lost",
            Self::RecordLost => "record_lost",
            Self::ConversationTableFull => "conversation_table_full",
            Self::ObservationSkipped => "observation_skipped",
            Self::Contended => "contended",
            Self::JudgedBySketch => "judged_by_sketch",
            Self::SourceEntered => "source_entered",
            Self::HeavySourceEntered => "heavy_source_entered",
            Self::HeavySourceDeferred => "heavy_source_deferred",
            Self::UnlistedInterface => "unlisted_interface",
            Self::StaleHeartbeat => "stale_heartbeat",
            Self::BanMade => "ban_made",
            Self::ConversationEntered => "conversation_entered",
            Self::BanWithheld => "ban_withheld",
            Self::RequestTableFull => "request_table_full",
            Self::ConnectionTableFull => "connection_table_full",
        }
    }
}

/// A notable moment, edge-triggered: one ring-buffer record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// An [`EventKind`].
    pub kind: u32,
    pub interface: u32,
    pub at: u64,
    /// Aggregated source, if one is concerned.
    pub high: u64,
    pub low: u64,
    pub service: u32,
    /// A [`crate::verdict::Reason`], of a source that starts to exceed its limit; else 0.
    pub reason: u32,
    /// By kind, see [`EventKind`].
    pub value: u64,
}
plain!(
    Event {
        kind: u32,
        interface: u32,
        at: u64,
        high: u64,
        low: u64,
        service: u32,
        reason: u32,
        value: u64,
    } = 48
);

/// What an [`Event`] tells.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A source starts to exceed its limit.
    ExceedStarted = 1,
    /// A source is within its limit again; `value` is how many of its packets were dropped so far.
    ExceedEnded = 2,
    /// A source was banned for violations; `value` is the end.
    Banned = 3,
    /// An interface enters flood mode.
    FloodStarted = 4,
    /// An interface leaves flood mode; `value` is when it began.
    FloodEnded = 5,
    /// A source came in through an interface that it cannot come through; at most one a second for each interface and CPU.
    Spoofed = 6,
}

impl EventKind {
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::ExceedStarted),
            2 => Some(Self::ExceedEnded),
            3 => Some(Self::Banned),
            4 => Some(Self::FloodStarted),
            5 => Some(Self::FloodEnded),
            6 => Some(Self::Spoofed),
            _ => None,
        }
    }
}

/// The kernel's clocks, side by side, and the word that stands in for them in replay and tests.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Clock units; read by the programs when `CLOCK_SOURCE` is 1.
    pub now: u64,
    /// Written by the calibration program.
    pub jiffies: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds; written by the calibration program.
    pub ktime_ns: u64,
    /// What became of the last packet, see [`judged`]; written by the programs when `CLOCK_SOURCE` is 1.
    pub judged: u64,
}
plain!(ClockReading { now: u64, jiffies: u64, ktime_ns: u64, judged: u64 } = 32);

/// [`ClockReading::judged`]: bits 0..8 the reason's number, bits 8..16 one more than the number of what an observing limit
/// would have given, bit 16 the limit on trial would have dropped, the upper half the service's number.
pub mod judged {
    pub const WOULD_DROP_SHIFT: u32 = 8;
    pub const CANDIDATE: u64 = 1 << 16;
    pub const SERVICE_SHIFT: u32 = 32;
}

/// What the kernel's parser made of a frame: the test program `sluice_parse` writes it, tests compare it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedRecord {
    pub source: [u64; 2],
    pub destination: [u64; 2],
    /// A constant of [`end`].
    pub kind: u32,
    /// Offset of ARP, the EtherType, or the number of the malformation.
    pub detail: u32,
    pub is_v4: u32,
    pub protocol: u32,
    pub fragment: u32,
    pub tcp_flags: u32,
    pub source_port: u32,
    pub destination_port: u32,
    pub vlans: [u32; 2],
    pub length: u32,
    pub network_offset: u32,
    pub transport_offset: u32,
    pub payload: u32,
    pub layers: u32,
    pub fragment_id: u32,
    pub sequence: u32,
    pub acknowledged: u32,
}
plain!(
    ParsedRecord {
        source: [u64; 2],
        destination: [u64; 2],
        kind: u32,
        detail: u32,
        is_v4: u32,
        protocol: u32,
        fragment: u32,
        tcp_flags: u32,
        source_port: u32,
        destination_port: u32,
        vlans: [u32; 2],
        length: u32,
        network_offset: u32,
        transport_offset: u32,
        payload: u32,
        layers: u32,
        fragment_id: u32,
        sequence: u32,
        acknowledged: u32,
    } = 104
);

impl From<&Parsed> for ParsedRecord {
    fn from(parsed: &Parsed) -> Self {
        match parsed {
            Parsed::Ip(frame) => Self::new(End { kind: end::IP, detail: 0 }, frame),
            Parsed::Arp(offset) => Self::new(End { kind: end::ARP, detail: *offset }, &Frame::EMPTY),
            Parsed::NonIp(ethertype) => {
                Self::new(End { kind: end::NON_IP, detail: u32::from(*ethertype) }, &Frame::EMPTY)
            }
            Parsed::Malformed(kind) => {
                Self::new(End { kind: end::MALFORMED, detail: *kind as u32 }, &Frame::EMPTY)
            }
            Parsed::Defective(frame, kind) => {
                Self::new(End { kind: end::DEFECTIVE, detail: *kind as u32 }, frame)
            }
        }
    }
}

impl ParsedRecord {
    /// The record of a parse; what is not IP has no frame, and what is defective has its addresses.
    #[inline(always)]
    pub fn new(end: End, frame: &Frame) -> Self {
        let addresses = if end.kind == end::DEFECTIVE { frame } else { &Frame::EMPTY };
        let frame = if end.kind == end::IP { frame } else { &Frame::EMPTY };
        let addresses = if end.kind == end::IP { frame } else { addresses };
        let is_tcp = frame.protocol == protocol::TCP && frame.has_ports();
        Self {
            source: addresses.source,
            destination: addresses.destination,
            kind: end.kind,
            detail: end.detail,
            is_v4: u32::from(frame.is_v4),
            protocol: u32::from(frame.protocol),
            fragment: frame.fragment as u32,
            tcp_flags: u32::from(frame.tcp_flags),
            source_port: u32::from(frame.source_port),
            destination_port: u32::from(frame.destination_port),
            vlans: [u32::from(frame.vlans[0]), u32::from(frame.vlans[1])],
            length: frame.length,
            network_offset: frame.network_offset,
            transport_offset: frame.transport_offset,
            payload: frame.payload,
            layers: frame.layers,
            fragment_id: if frame.is_fragment() { frame.fragment_id } else { 0 },
            sequence: if is_tcp { frame.sequence } else { 0 },
            acknowledged: if is_tcp { frame.acknowledged } else { 0 },
        }
    }
}
