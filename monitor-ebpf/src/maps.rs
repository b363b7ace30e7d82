//! Every map: key -> value, who writes, who reads. Capacities that the configuration can change are set at load.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, PerfEventArray, RingBuf},
};
use monitor_common::{
    capture::{Head, Progress},
    challenge::Heard,
    connection::{self, Cell, Holder, Open},
    containment::Containment,
    conversation::{Conversation, ConversationKey, presence::Banks},
    flow::BanKey,
    names::capacity,
    parse::Malformed,
    record::{
        AggregateState, Ban, Budget, ClockReading, FloodState, Incident, InterfaceIndex, ParsedRecord,
        RequestBuckets, RequestTotals, Totals,
    },
    rule::{
        Active, Aggregate, BLOCKS, Denial, Limit, PREFIX_FILTER_WORDS, PortBlock, PrefixNode, ServiceRule,
        Settings,
    },
    sketch::{CELLS_PER_LINE, Line, lines},
    table::{Slot, Tags, WAYS},
    vital,
};

use crate::{
    context::PacketContext,
    scratch::{Followed, Opening, Reply, Request},
};

/// BPF_F_MMAPABLE: the values begin at a page, so at a cache line.
const MMAPABLE: u32 = 1 << 10;

const _: () = assert!(Malformed::ALL.len() <= capacity::MALFORMED_KINDS as usize);
const _: () = assert!(Incident::ALL.len() <= capacity::INCIDENTS as usize);

/// 0 -> which generation judges. Daemon writes, programs read.
#[map]
pub static ACTIVE: Array<Active> = Array::with_max_entries(1, 0);
/// Generation -> what holds for every packet. Daemon writes the idle one, programs read the active one; so for all rules.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(2, 0);
/// Generation * `PREFIX_NODES` + node -> sixteen children.
#[map]
pub static PREFIXES: Array<PrefixNode> = Array::with_max_entries(2 * capacity::PREFIX_NODES, MMAPABLE);
/// Generation * `PREFIX_FILTER_WORDS` + word -> which first sixteen bits of addresses the tree says anything of. A cache
/// holds it, where the root of the tree would take the place of other tables.
#[map]
pub static PREFIX_FILTER: Array<u64> = Array::with_max_entries(2 * PREFIX_FILTER_WORDS, MMAPABLE);
/// Generation * `BLOCKS` + block -> service rule by port.
#[map]
pub static PORTS: Array<PortBlock> = Array::with_max_entries(2 * BLOCKS, 0);
/// Generation * `RULES` + rule -> how a service matches and what applies.
#[map]
pub static SERVICES: Array<ServiceRule> = Array::with_max_entries(2 * capacity::RULES, 0);
/// Generation * `LIMITS` + limit -> rates and modes.
#[map]
pub static LIMITS: Array<Limit> = Array::with_max_entries(2 * capacity::LIMITS, 0);
/// Generation * `SERVICES` + service -> the limit over all sources.
#[map]
pub static AGGREGATES: Array<Aggregate> = Array::with_max_entries(2 * capacity::SERVICES, 0);
/// Denial -> its end (daemon) and its count (programs).
#[map]
pub static DENIALS: Array<Denial> = Array::with_max_entries(capacity::DENIALS, 0);

/// Service -> buckets of its aggregate limit. Programs only.
#[map]
pub static AGGREGATE_STATES: Array<AggregateState> = Array::with_max_entries(capacity::SERVICES, MMAPABLE);
/// Set * 8 + slot -> a source at a service and its entry. Programs add and write; the daemon reads and sweeps. Mapped
/// memory, for only that begins at a cache line.
#[map]
pub static SOURCES: Array<Slot> = Array::with_max_entries(capacity::SOURCES, MMAPABLE);
/// Set -> the tags of its slots.
#[map]
pub static SOURCE_TAGS: Array<Tags> = Array::with_max_entries(capacity::SOURCES / WAYS, MMAPABLE);
/// Place -> a source at a service and what it owes for requests. Programs write, the daemon reads.
#[map]
pub static REQUESTS: Array<RequestBuckets> = Array::with_max_entries(capacity::REQUEST_SOURCES, 0);
/// Line -> eight connections whose requests are counted, a word each. Programs only.
#[map]
pub static REQUEST_WORDS: Array<Line> = Array::with_max_entries(
    capacity::REQUEST_SOURCES * capacity::WORDS_PER_REQUEST_SOURCE / CELLS_PER_LINE,
    MMAPABLE,
);
/// Service -> this CPU's requests. Programs write, the daemon reads.
#[map]
pub static REQUEST_TOTALS: PerCpuArray<RequestTotals> = PerCpuArray::with_max_entries(capacity::SERVICES, 0);
/// 0 -> what the packet under judgement on this CPU begins.
#[map]
pub static REQUEST: PerCpuArray<Request> = PerCpuArray::with_max_entries(1, 0);
/// Set -> eight connections that are followed. Programs write, the daemon takes those away that fell silent.
#[map]
pub static OPEN_CONNECTIONS: Array<[Cell; connection::WAYS as usize]> =
    Array::with_max_entries(capacity::OPEN_CELLS / connection::WAYS, MMAPABLE);
/// Place -> a source at a service and how many connections it holds. Programs write, the daemon reads and corrects.
#[map]
pub static HOLDERS: Array<Holder> = Array::with_max_entries(capacity::HOLDERS, MMAPABLE);
/// Service -> its open connections. Programs write, the daemon reads and corrects.
#[map]
pub static OPEN_TOTALS: Array<Open> = Array::with_max_entries(capacity::SERVICES, MMAPABLE);
/// Hook -> where this CPU looks for the packet's connection.
#[map]
pub static FOLLOWED: PerCpuArray<Followed> = PerCpuArray::with_max_entries(2, 0);
/// Hook -> the packet under judgement on this CPU.
#[map]
pub static PACKETS: PerCpuArray<PacketContext> = PerCpuArray::with_max_entries(2, 0);
/// Line -> eight buckets. Programs only. Mapped memory, for only that begins at a cache line.
#[map]
pub static SKETCH: Array<Line> = Array::with_max_entries(lines(capacity::SKETCH_CELLS), MMAPABLE);
/// Source -> its ban. Daemon and programs add; the daemon sweeps.
#[map]
pub static BANS: HashMap<BanKey, Ban> = HashMap::with_max_entries(capacity::BANS, 0);
/// Hash of the source -> a bit: a ban may exist. The last word: any ban may exist.
#[map]
pub static BAN_FILTER: Array<u64> = Array::with_max_entries(capacity::BAN_FILTER_WORDS + 1, MMAPABLE);
/// Source or workload -> its containment. Daemon adds and removes, programs charge. The ban filter stands before it too.
#[map]
pub static CONTAINED: HashMap<BanKey, Containment> = HashMap::with_max_entries(capacity::CONTAINED, 0);
/// Hash of a fragmented datagram -> what its first fragment said, in one word. Programs only.
#[map]
pub static DATAGRAMS: Array<u64> = Array::with_max_entries(capacity::DATAGRAMS, 0);
/// Hash of the source -> bucket of its fragments without a first one; then the bucket of all, those of the
/// kinds of vital packets, and those of their sources. Programs only.
#[map]
pub static STRAYS: Array<u64> =
    Array::with_max_entries(capacity::STRAYS + 1 + vital::KINDS + capacity::VITALS, 0);
/// Hash of a flow -> what acknowledges our SYN-ACK, in one word. Programs only.
#[map]
pub static PROOFS: Array<u64> = Array::with_max_entries(capacity::PROOFS, 0);
/// Line -> eight flows that this host began, a word each. Programs only.
#[map]
pub static OWN_FLOWS: Array<Line> = Array::with_max_entries(capacity::OWN_FLOWS / CELLS_PER_LINE, MMAPABLE);
/// Hash of a source -> when this host contacted it. Programs write, the daemon reads.
#[map]
pub static CONTACTED: Array<u64> = Array::with_max_entries(capacity::CONTACTED, 0);
/// Place of a port on an interface -> what its listener last said. Programs only.
#[map]
pub static LISTENERS: Array<Heard> = Array::with_max_entries(capacity::LISTENERS, 0);
/// Hook -> where headers are read and an answer is made on this CPU.
#[map]
pub static REPLY: PerCpuArray<Reply> = PerCpuArray::with_max_entries(2, 0);
/// Interface index (open addressing) -> slot. Daemon writes.
#[map]
pub static INTERFACES: Array<InterfaceIndex> = Array::with_max_entries(capacity::INTERFACE_INDEXES, 0);
/// Slot -> flood mode. Programs write, the daemon reads.
#[map]
pub static FLOODS: Array<FloodState> = Array::with_max_entries(capacity::INTERFACES, 0);
/// Slot -> this CPU's budgets. Programs only.
#[map]
pub static BUDGETS: PerCpuArray<Budget> = PerCpuArray::with_max_entries(capacity::INTERFACES, 0);

/// Slot * services + service -> this CPU's totals by reason. Programs write, the daemon reads; so for all below.
#[map]
pub static TOTALS: PerCpuArray<Totals> =
    PerCpuArray::with_max_entries(capacity::INTERFACES * capacity::SERVICES, 0);
/// `Malformed` -> frames.
#[map]
pub static MALFORMED: PerCpuArray<u64> = PerCpuArray::with_max_entries(capacity::MALFORMED_KINDS, 0);
/// `Incident` -> times.
#[map]
pub static INCIDENTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(capacity::INCIDENTS, 0);
/// Notable moments.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(capacity::EVENT_RING_BYTES, 0);

/// Two ends -> their conversation. Programs add and write; the daemon reads and sweeps.
#[map]
pub static CONVERSATIONS: HashMap<ConversationKey, Conversation> =
    HashMap::with_max_entries(capacity::CONVERSATIONS, 0);
/// 0 -> where this CPU prepares a conversation before it goes into `CONVERSATIONS`.
#[map]
pub static BEGUN: PerCpuArray<Conversation> = PerCpuArray::with_max_entries(1, 0);
/// Hook -> the beginning of the data that is looked at on this CPU.
#[map]
pub static OPENINGS: PerCpuArray<Opening> = PerCpuArray::with_max_entries(2, 0);
/// Hash of two ends -> a bit: a conversation may be in the table, in two banks, of which one at least is always whole.
/// Programs set bits in both, the daemon makes one after the other anew.
#[map]
pub static PRESENCE: Array<Banks> = Array::with_max_entries(capacity::PRESENCE_WORDS, MMAPABLE);
/// Records of conversations, and observed packets that belong to none.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(capacity::RECORD_RING_BYTES, 0);

/// 0 -> when the daemon last said that it lives, in clock units.
#[map]
pub static HEARTBEAT: Array<u64> = Array::with_max_entries(1, 0);
/// 0 -> the clocks. Mapped into the memory of a replay, which moves the clock with every frame.
#[map]
pub static CLOCK: Array<ClockReading> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// 0 -> what `sluice capture` took. Programs write, the capture reads.
#[map]
pub static CAPTURED: Array<Progress> = Array::with_max_entries(1, 0);
/// CPU -> ring of the capture. Programs write, the capture reads.
#[map]
pub static FRAMES: PerfEventArray<Head> = PerfEventArray::new(0);
/// 0 -> what `sluice_parse` made of a frame.
#[map]
pub static PARSED: Array<ParsedRecord> = Array::with_max_entries(1, 0);

macro_rules! stride {
    ($(#[$doc:meta])* $function:ident, $static:ident = $default:expr) => {
        #[unsafe(no_mangle)]
        static $static: u32 = $default;

        $(#[$doc])*
        #[inline(always)]
        pub fn $function() -> u32 {
            // SAFETY: a static of this object; volatile, because the loader writes it.
            unsafe { core::ptr::read_volatile(&raw const $static) }
        }
    };
}

stride!(/// Nodes of the prefix tree per generation.
    prefix_nodes, PREFIX_NODES = capacity::PREFIX_NODES);
stride!(/// Service rules per generation.
    rules, RULES = capacity::RULES);
stride!(/// Limits per generation.
    limits, LIMIT_COUNT = capacity::LIMITS);
stride!(/// Services, the default one included.
    services, SERVICE_COUNT = capacity::SERVICES);
stride!(/// Sets of the exact table.
    source_sets, SOURCE_SETS = capacity::SOURCES / WAYS);
stride!(/// Cells per row of the sketch.
    sketch_cells, SKETCH_CELLS = capacity::SKETCH_CELLS);
stride!(/// Cells of connections that are followed, a power of two.
    open_cells, OPEN_CELLS = capacity::OPEN_CELLS);
stride!(/// Places of sources that hold connections, a power of two.
    holder_count, HOLDER_COUNT = capacity::HOLDERS);
stride!(/// Entries of the table of requests, a power of two.
    request_sources, REQUEST_SOURCES = capacity::REQUEST_SOURCES);
