//! Every metric, declared once: its name, kind, labels and meaning.
//!
//! In: nothing. Out: the table that the collector fills and docs/reference/metrics.md is made from. No label ever holds an address.

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; what the kernel counts, also over a restart of the daemon as long as its maps live.
    Counter,
    Gauge,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub const $constant: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)+

        /// All of them, in the order of the reference.
        pub const ALL: &[Family] = &[$($constant),+];
    };
}

families! {
    PACKETS = Counter "sluice_packets_total" ["interface", "service", "verdict", "reason"]
        "Packets by how they ended: verdict is pass, drop or answer, reason says why.";
    BYTES = Counter "sluice_bytes_total" ["interface", "service", "verdict", "reason"]
        "Bytes of whole frames by how they ended.";
    WOULD_DROP_PACKETS = Counter "sluice_would_drop_packets_total" ["interface", "service", "reason"]
        "Packets that an observing limit would have dropped; they are also counted under how they ended.";
    WOULD_DROP_BYTES = Counter "sluice_would_drop_bytes_total" ["interface", "service", "reason"]
        "Bytes that an observing limit would have dropped.";
    REQUESTS = Counter "sluice_requests_total" ["service", "dimension", "verdict"]
        "Requests and handshakes to services that limit them; what is dropped is counted as often as it is sent.";
    WOULD_DROP_REQUESTS = Counter "sluice_would_drop_requests_total" ["service", "dimension"]
        "Requests and handshakes that an observing limit would have dropped; they are also counted as passed.";
    OPEN_CONNECTIONS = Gauge "sluice_open_connections" ["service"]
        "TCP connections that are open to a service that has them followed.";
    FIRST_DATA = Counter "sluice_first_data_total" ["service", "encrypted"]
        "Connections to services that ask for encryption, by whether their first data was encrypted: yes or no.";
    SPOKEN = Counter "sluice_conversations_total" ["service", "application", "encryption"]
        "Conversations with services of this host that ended, by the protocol that was recognised and how it was encrypted.";
    MALFORMED = Counter "sluice_malformed_frames_total" ["kind"]
        "Frames that could not be parsed, by what is wrong with them.";
    INTERFACE_MODE = Gauge "sluice_interface_mode" ["interface", "mode"]
        "1 for the mode in which the interface is guarded (native, generic, or absent when it is not), 0 for the others.";
    INTERFACE_EGRESS = Gauge "sluice_interface_egress_followed" ["interface"]
        "1 while the conversations that leave through the interface are followed.";
    FLOOD_ACTIVE = Gauge "sluice_flood_active" ["interface"]
        "1 while new sources come faster than the budget of the interface, and the sketch judges strangers.";
    FLOODS = Counter "sluice_floods_total" ["interface"]
        "How often the interface entered flood mode.";
    MAP_ENTRIES = Gauge "sluice_map_entries" ["map"]
        "Entries of a table of the kernel side.";
    MAP_CAPACITY = Gauge "sluice_map_capacity" ["map"]
        "Entries (of rings: bytes) for which a map of the kernel side has room.";
    FAILED_INSERTIONS = Counter "sluice_failed_insertions_total" ["map"]
        "Entries that the kernel could not make because the table was full.";
    LOST = Counter "sluice_lost_events_total" ["ring"]
        "Events or conversation records that the kernel could not report because the ring was full.";
    INCIDENTS = Counter "sluice_incidents_total" ["incident"]
        "Other rare things that the kernel counts, for example contended buckets and packets judged by the sketch.";
    EVENTS = Counter "sluice_events_total" ["kind"]
        "Events of the kernel that reached this process.";
    SOURCES_EXCEEDING = Gauge "sluice_sources_exceeding" []
        "Entries of the exact table that are over their limit now.";
    BANS = Gauge "sluice_bans_active" ["origin"]
        "Sources that are banned now, by who banned them: operator or kernel (for violations).";
    CONTAINMENTS = Gauge "sluice_containments_active" []
        "Sources and cgroups that are cut off or limited on their own.";
    LIMIT = Gauge "sluice_limit_per_second" ["service", "class", "kind", "dimension"]
        "The rate of each limit as it holds now; kind is per_source, trial or aggregate.";
    LIMIT_OPEN = Gauge "sluice_limit_open_connections" ["service", "class", "kind"]
        "The open TCP connections that each limit admits; kind is per_source, trial or aggregate.";
    LIMIT_MODE = Gauge "sluice_limit_mode" ["service", "class", "kind"]
        "How the limit acts: 0 off, 1 observe, 2 enforce.";
    PANIC = Gauge "sluice_panic" []
        "1 while sluice panic lets everything pass, whatever the limits say.";
    RULE_CHANGES = Counter "sluice_rule_changes_total" []
        "Atomic changes of the rules since the kernel's maps were made.";
    RELOAD_SUCCESSFUL = Gauge "sluice_config_last_reload_successful" []
        "1 when the last load of the configuration was taken over, 0 when it was refused and changed nothing.";
    RELOAD_TIME = Gauge "sluice_config_last_reload_success_timestamp_seconds" []
        "When the configuration in force was loaded, in Unix time.";
    RELOADS = Counter "sluice_config_reloads_total" ["result"]
        "Loads of the configuration by result: success or failure.";
    CHANGE_PENDING = Gauge "sluice_change_pending" []
        "1 while a change waits for sluice confirm and will be taken back without it.";
    TUNING_PROPOSAL = Gauge "sluice_tuning_proposal_per_second" ["service", "class", "dimension"]
        "The rate that tuning proposes for each source; absent while too little is known.";
    TUNING_STATE = Gauge "sluice_tuning_state" ["service", "class", "dimension", "state"]
        "1 for what tuning does about the limit: proposed, or in automatic mode steady, settling, waiting, step and what hinders it.";
    TUNING_FROZEN = Gauge "sluice_tuning_frozen" []
        "1 while a flood or an alert, or one just over, keeps tuning from learning and from steps.";
    TUNING_MEMORY = Gauge "sluice_tuning_memory_bytes" []
        "Memory of the distributions that tuning learned.";
    TUNING_NOT_LEARNED = Counter "sluice_tuning_samples_not_learned_total" []
        "Samples of services and classes beyond tuning.profiles.";
    AGGREGATE_STATE = Gauge "sluice_automatic_aggregate_state" ["service", "basis", "state"]
        "1 for what the automatic aggregate of a service does: rests, observes or enforces; basis is what the share of strangers rests on.";
    DEFENCE_RUNG = Gauge "sluice_defence_rung" []
        "Rung of the defence ladder; 0 leaves limits as they were set.";
    FINDINGS_OPEN = Gauge "sluice_findings_open" ["detector", "severity"]
        "Findings that are open now.";
    FINDINGS = Counter "sluice_findings_total" ["detector", "severity"]
        "Findings that were raised by this process.";
    SINK_DELIVERIES = Counter "sluice_sink_deliveries_total" ["sink", "result"]
        "What a receiver of findings took (delivered), attempts that failed (failed), and findings that nobody took (lost).";
    SINK_WAITING = Gauge "sluice_sink_waiting" ["sink"]
        "Findings that wait for a receiver.";
    SINK_FAILING = Gauge "sluice_sink_failing" ["sink"]
        "1 while the last attempt to deliver to a receiver failed; sluice status says why.";
    LIST_PREFIXES = Gauge "sluice_list_prefixes" ["list", "action"]
        "Prefixes of a list of the configuration that are in force.";
    LIST_FETCHED = Gauge "sluice_list_fetched_timestamp_seconds" ["list"]
        "When the server of a list last said that its copy is the list, in Unix time.";
    LIST_FAILURES = Counter "sluice_list_fetch_failures_total" ["list"]
        "Fetches of a list that failed.";
    LIST_FAILING = Gauge "sluice_list_failing" ["list"]
        "1 while the last fetch of a list failed; sluice status says why.";
    SHED = Counter "sluice_findings_shed_total" ["reason"]
        "Signals that became no finding or no notification of their own.";
    STORE_BYTES = Gauge "sluice_store_bytes" []
        "Bytes of the store that are in use.";
    STORE_MOST_BYTES = Gauge "sluice_store_max_bytes" []
        "What the store may grow to (state.store_size).";
    STORE_SHED = Counter "sluice_store_shed_total" ["what"]
        "Closed findings and changes of the history that went for want of room in the store.";
    AUDIT_WRITTEN = Counter "sluice_audit_entries_total" []
        "Entries of the audit that this process wrote.";
    AUDIT_WAITING = Gauge "sluice_audit_waiting" []
        "Entries of the audit that wait for a disk that can be written.";
    AUDIT_LOST = Counter "sluice_audit_lost_total" []
        "Entries of the audit that found no room while they waited.";
    AUDIT_REFUSED = Counter "sluice_audit_refused_total" ["listed"]
        "Calls that were refused, with an entry of the audit of their own or without one.";
    AUDIT_BYTES = Gauge "sluice_audit_bytes" []
        "Size of the files of the audit.";
    AUDIT_MOST_BYTES = Gauge "sluice_audit_max_bytes" []
        "What the files of the audit may grow to (state.audit_size).";
    RECORDS = Counter "sluice_conversation_records_total" []
        "Conversation records that reached the detectors of this process.";
    LEARNING = Gauge "sluice_detection_learning_seconds" ["of"]
        "Time until new edges, and odd hours, are judged; 0 when they are.";
    MEMORY_ENTRIES = Gauge "sluice_detection_memory_entries" ["memory"]
        "Entries of one of the detectors' memories.";
    MEMORY_CAPACITY = Gauge "sluice_detection_memory_capacity" ["memory"]
        "Entries for which one of the detectors' memories has room.";
    MEMORY_EVICTED = Counter "sluice_detection_memory_evicted_total" ["memory"]
        "Entries that were still of use and made room for others.";
    MEMORY_REFUSED = Counter "sluice_detection_memory_refused_total" ["memory"]
        "New keys that found no room in one of the detectors' memories.";
    PROBLEMS = Gauge "sluice_problems" []
        "How many things are wrong right now; sluice status names them.";
    BUILD = Gauge "sluice_build_info" ["version", "layout", "compiler"]
        "Always 1; the labels say what runs. Layout is the version of the kernel's data layouts.";
    STARTED = Gauge "sluice_start_timestamp_seconds" []
        "When this process began to guard, in Unix time.";
    SNAPSHOT_TIME = Gauge "sluice_snapshot_timestamp_seconds" []
        "When the figures on this page were read from the kernel, in Unix time.";
    READ_DURATION = Gauge "sluice_read_duration_seconds" []
        "How long that read took.";
    SCRAPE_DURATION = Gauge "sluice_scrape_duration_seconds" []
        "How long it took to make this page.";
    MEMORY = Gauge "process_resident_memory_bytes" []
        "Memory of this process.";
    VIRTUAL_MEMORY = Gauge "process_virtual_memory_bytes" []
        "Addresses of this process.";
    CPU = Counter "process_cpu_seconds_total" []
        "Processor time of this process. The kernel side's time is not in it.";
    FILES = Gauge "process_open_fds" []
        "Open file descriptors of this process.";
    MOST_FILES = Gauge "process_max_fds" []
        "File descriptors that this process may open.";
    THREADS = Gauge "process_threads" []
        "Threads of this process.";
    PROCESS_STARTED = Gauge "process_start_time_seconds" []
        "When this process was started, in Unix time.";
}
