//! Names of maps and programs, and capacities. A test holds the object to them.

/// Version of all layouts in this crate; part of the pin directory's name. Raise it with any change of a layout.
pub const LAYOUT: u32 = 7;

/// Programs.
pub mod program {
    /// XDP, multi-buffer: judges.
    pub const INGRESS: &str = "sluice_ingress";
    /// tcx: follows and contains what leaves.
    pub const EGRESS: &str = "sluice_egress";
    /// XDP: writes the kernel's tick clock into the `CLOCK` map, for calibration.
    pub const CLOCK: &str = "sluice_clock";
    /// XDP: writes what it parsed into the `PARSED` map, for tests.
    pub const PARSE: &str = "sluice_parse";
}

/// Maps, as they are named in the object and pinned.
pub mod map {
    pub const ACTIVE: &str = "ACTIVE";
    pub const SETTINGS: &str = "SETTINGS";
    pub const PREFIXES: &str = "PREFIXES";
    pub const PREFIX_FILTER: &str = "PREFIX_FILTER";
    pub const DENIALS: &str = "DENIALS";
    pub const PORTS: &str = "PORTS";
    pub const SERVICES: &str = "SERVICES";
    pub const LIMITS: &str = "LIMITS";
    pub const AGGREGATES: &str = "AGGREGATES";
    pub const AGGREGATE_STATES: &str = "AGGREGATE_STATES";
    pub const SOURCES: &str = "SOURCES";
    pub const SOURCE_TAGS: &str = "SOURCE_TAGS";
    pub const REQUESTS: &str = "REQUESTS";
    pub const REQUEST_WORDS: &str = "REQUEST_WORDS";
    pub const REQUEST_TOTALS: &str = "REQUEST_TOTALS";
    pub const REQUEST: &str = "REQUEST";
    pub const OPEN_CONNECTIONS: &str = "OPEN_CONNECTIONS";
    pub const HOLDERS: &str = "HOLDERS";
    pub const OPEN_TOTALS: &str = "OPEN_TOTALS";
    pub const FOLLOWED: &str = "FOLLOWED";
    pub const PACKETS: &str = "PACKETS";
    pub const SKETCH: &str = "SKETCH";
    pub const BANS: &str = "BANS";
    pub const BAN_FILTER: &str = "BAN_FILTER";
    pub const CONTAINED: &str = "CONTAINED";
    pub const DATAGRAMS: &str = "DATAGRAMS";
    pub const STRAYS: &str = "STRAYS";
    pub const PROOFS: &str = "PROOFS";
    pub const OWN_FLOWS: &str = "OWN_FLOWS";
    pub const CONTACTED: &str = "CONTACTED";
    pub const INTERFACES: &str = "INTERFACES";
    pub const FLOODS: &str = "FLOODS";
    pub const BUDGETS: &str = "BUDGETS";
    pub const TOTALS: &str = "TOTALS";
    pub const MALFORMED: &str = "MALFORMED";
    pub const INCIDENTS: &str = "INCIDENTS";
    pub const EVENTS: &str = "EVENTS";
    pub const RECORDS: &str = "RECORDS";
    pub const CONVERSATIONS: &str = "CONVERSATIONS";
    pub const PRESENCE: &str = "PRESENCE";
    pub const BEGUN: &str = "BEGUN";
    pub const OPENINGS: &str = "OPENINGS";
    pub const HEARTBEAT: &str = "HEARTBEAT";
    pub const CLOCK: &str = "CLOCK";
    pub const PARSED: &str = "PARSED";
    pub const LISTENERS: &str = "LISTENERS";
    pub const REPLY: &str = "REPLY";
    pub const CAPTURED: &str = "CAPTURED";
    pub const FRAMES: &str = "FRAMES";
    /// The memory of the object in which a capture's filter is.
    pub const CAPTURE: &str = ".data.capture";
}

/// Variables of the object that are set at load (`.rodata`).
pub mod global {
    /// u32: 0 the kernel's tick clock, 1 the word in the `CLOCK` map (replay and tests).
    pub const CLOCK_SOURCE: &str = "CLOCK_SOURCE";
    /// u32: sets of the exact table.
    pub const SOURCE_SETS: &str = "SOURCE_SETS";
    /// u32: entries of the table of requests, a power of two.
    pub const REQUEST_SOURCES: &str = "REQUEST_SOURCES";
    /// u32: connections that are followed at once, a power of two; the next of the sources that hold them.
    pub const OPEN_CELLS: &str = "OPEN_CELLS";
    pub const HOLDER_COUNT: &str = "HOLDER_COUNT";
    /// u32: cells per row of the sketch, a power of two.
    pub const SKETCH_CELLS: &str = "SKETCH_CELLS";
    /// u32: nodes of the prefix tree per generation.
    pub const PREFIX_NODES: &str = "PREFIX_NODES";
    /// u32: service rules per generation.
    pub const RULES: &str = "RULES";
    /// u32: limits per generation.
    pub const LIMIT_COUNT: &str = "LIMIT_COUNT";
    /// u32: 0 where this kernel knows no SYN cookies.
    pub const COOKIES: &str = "COOKIES";
    /// u32: services (numbers), 0 the default one.
    pub const SERVICE_COUNT: &str = "SERVICE_COUNT";
}

/// Default capacities; those that the configuration can change are set at load.
pub mod capacity {
    /// A multiple of `table::WAYS`.
    pub const SOURCES: u32 = 131_072;
    pub const SKETCH_CELLS: u32 = 65_536;
    /// Sources that owe for requests at once, a power of two; [`WORDS_PER_REQUEST_SOURCE`] connections are followed for each. The
    /// larger where the configuration limits requests.
    pub const REQUEST_SOURCES: u32 = 1024;
    pub const REQUEST_SOURCES_IN_USE: u32 = 16_384;
    pub const WORDS_PER_REQUEST_SOURCE: u32 = 4;
    /// Connections that are followed at once, and sources that hold them, powers of two; the larger where the configuration has
    /// connections followed.
    pub const OPEN_CELLS: u32 = 512;
    pub const OPEN_CELLS_IN_USE: u32 = 131_072;
    pub const HOLDERS: u32 = 512;
    pub const HOLDERS_IN_USE: u32 = 32_768;
    pub const PREFIX_NODES: u32 = 92_160;
    pub const DENIALS: u32 = 32_768;
    pub const BANS: u32 = 16_384;
    pub const CONTAINED: u32 = 1024;
    /// Fragmented datagrams that are remembered, a power of two.
    pub const DATAGRAMS: u32 = 16_384;
    /// SYN-ACKs of which the answer is waited for, a power of two.
    pub const PROOFS: u32 = 65_536;
    /// Flows that this host began, a power of two.
    pub const OWN_FLOWS: u32 = 32_768;
    /// Peers that this host contacted, a power of two.
    pub const CONTACTED: u32 = 16_384;
    /// Listeners whose SYN-ACKs were seen, a power of two.
    pub const LISTENERS: u32 = 2048;
    /// Buckets of fragments whose first one was not seen, a power of two. The map has more behind them: one for all sources
    /// together, one for each kind of vital packet, and [`VITALS`].
    pub const STRAYS: u32 = 8192;
    /// Buckets of sources of vital packets, a power of two.
    pub const VITALS: u32 = 4096;
    pub const CONVERSATIONS: u32 = 32_768;
    pub const RULES: u32 = 1024;
    pub const LIMITS: u32 = 1024;
    pub const SERVICES: u32 = 64;
    /// Guarded interfaces, slot 0 included.
    pub const INTERFACES: u32 = 16;
    /// Places of the interface table, a power of two.
    pub const INTERFACE_INDEXES: u32 = 1024;
    /// How many places are probed for one interface.
    pub const INTERFACE_PROBES: u32 = 2;
    /// Words of 64 bits of the ban filter: one bit per hash value (2^18 bits). The map has one word more, at this
    /// index: whoever writes a ban sets it to 1, whoever rebuilds the filter sets it to whether a ban is left.
    pub const BAN_FILTER_WORDS: u32 = 4096;
    /// Words of each of the two banks of the conversations' presence filter (2^18 bits).
    pub const PRESENCE_WORDS: u32 = 4096;
    pub const EVENT_RING_BYTES: u32 = 256 * 1024;
    pub const RECORD_RING_BYTES: u32 = 2 * 1024 * 1024;
    /// Kinds of malformed frames, see `parse::Malformed`.
    pub const MALFORMED_KINDS: u32 = 32;
    pub const INCIDENTS: u32 = 32;
}
