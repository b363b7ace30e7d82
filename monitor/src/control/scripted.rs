//! For tests: a server over a real Unix socket in a directory of its own, with a scripted engine behind the channel.
//!
//! The engine's channel is the seam: everything in front of it is the real thing, nothing behind it is.

pub mod insight;

use policy::config::Rate;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::client::Client;
use super::peer::Roles;
use super::server::Limits;
use super::{listen, router, server};
use crate::core::origin::Origin;
use crate::engine::Handle;
use crate::engine::command::{
    AccessList, Applied, Caller, Change, ChangeOptions, Command, ConfigText, ContainmentList, Explanation,
    FlowList, Graph, Request, SourceList, TuneList, Tuned,
};
use crate::engine::refusal::{Code, Refusal};
use crate::snapshot::{
    AttachMode, Ban, Build, Count, Findings, Flood, Interface, LimitInForce, MapUse, RateAndBurst, Reload,
    Rules, Service, Snapshot, Source, Sources, Tally, Total,
};
use policy::LimitKind;
use policy::config::Mode;
use tuning::proposal::{Confidence, Current, Dimension, Evidence, Hit, Proposal};
use tuning::quantiles::{Excess, RELATIVE_ERROR};
use tuning::trial::{self, Report, WouldDrop};
use tuning::{self, Advice, Limit, Subject};

/// What reached the engine: the command's debug text, who asked, and how.
pub type Heard = Arc<Mutex<Vec<(String, Caller, ChangeOptions)>>>;

/// A running server.
#[derive(Debug)]
pub struct Scripted {
    pub client: Client,
    pub socket: PathBuf,
    pub heard: Heard,
    /// Ends the server.
    pub shutdown: Option<oneshot::Sender<()>>,
    pub server: JoinHandle<()>,
    _directory: tempfile::TempDir,
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

/// The daemon's user is the test's own, so the test is an admin.
pub fn own_roles() -> Roles {
    Roles { daemon_uid: rustix::process::getuid().as_raw(), ..Roles::default() }
}

pub fn start(roles: Roles, limits: Limits) -> Scripted {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let listener = listen::bind(&socket, None).unwrap();
    let (requests, inbox) = mpsc::channel(8);
    let (snapshots, seen) = watch::channel(Arc::new(snapshot()));
    let heard = Heard::default();
    tokio::spawn(play(inbox, Arc::clone(&heard)));
    let (shutdown, ended) = oneshot::channel::<()>();
    let router = router::router(Handle::new(requests, seen));
    let server = tokio::spawn(server::serve(listener, router, roles, limits, async {
        let _ = ended.await;
    }));
    Scripted {
        client: Client::new(&socket, Some("192.0.2.7".to_owned())),
        socket,
        heard,
        shutdown: Some(shutdown),
        server,
        _directory: directory,
        _snapshots: snapshots,
    }
}

async fn play(mut inbox: mpsc::Receiver<Request>, heard: Heard) {
    while let Some(Request { caller, options, command }) = inbox.recv().await {
        heard.lock().unwrap().push((told(&command), caller, options));
        answer(command);
    }
}

/// The command without its reply channel.
fn told(command: &Command) -> String {
    let text = format!("{command:?}");
    let end = text.find(", Reply").or_else(|| text.find("(Reply")).unwrap_or(text.len());
    text[..end].to_owned()
}

fn answer(command: Command) {
    let applied = || {
        Ok(Applied { change: Some(7), summary: vec!["web: packets 1000/s".to_owned()], ..Applied::default() })
    };
    match command {
        Command::Sources(_, reply) => {
            reply.send(Ok(SourceList {
                next: None,
                at: noon(),
                matched: 1,
                sources: vec![source()],
                senders: Vec::new(),
            }));
        }
        Command::Explain(address, reply) => {
            reply.send(Ok(Explanation {
                address,
                source: address.into(),
                class: "outside".to_owned(),
                verdict: "passes: within every limit that applies".to_owned(),
                exempt: None,
                denied: None,
                ban: None,
                containment: None,
                services: Vec::new(),
            }));
        }
        Command::LimitList(reply) => {
            reply.send(Ok(vec![limit()]));
        }
        // A reply that is neither sent nor dropped: an engine that hangs.
        Command::LimitSet(set, reply) if set.target.service == "silent" => std::mem::forget(reply),
        Command::LimitSet(set, reply) => {
            reply.send(match set.target.service.as_str() {
                "nowhere" => Err(Refusal::new(Code::NotFound, "no service is called `nowhere`")
                    .next("see `sluice limit list`")),
                "cutting" => Err(Refusal::new(Code::NeedsConfirmation, "this would limit 192.0.2.7, you")
                    .next("add --yes if it is meant")),
                _ => applied(),
            });
        }
        Command::AccessList(reply) => {
            reply.send(Ok(AccessList { banned: vec![ban()], ..AccessList::default() }));
        }
        Command::LimitUnset(_, reply)
        | Command::AccessAdd(_, reply)
        | Command::AccessImport(_, reply)
        | Command::AccessRemove(_, reply)
        | Command::TuneTry(_, reply)
        | Command::TuneEnd(_, reply)
        | Command::TuneApply(_, reply)
        | Command::TuneForget(_, reply)
        | Command::Contain(_, reply)
        | Command::Lift(_, reply)
        | Command::AlertSilence(_, reply)
        | Command::Reload(reply)
        | Command::Confirm(_, reply)
        | Command::Revert(_, reply) => reply.send(applied()),
        Command::AlertList(_, reply) => reply.send(Ok(vec![insight::alert()])),
        Command::AlertShow(_, reply) | Command::AlertClose(_, reply) => {
            reply.send(Ok(insight::alert()));
        }
        Command::Flows(_, reply) => {
            reply.send(Ok(FlowList { at: snapshot().at, matched: 1, flows: vec![insight::flow()] }));
        }
        Command::Graph(reply) => {
            reply.send(Ok(Graph { at: snapshot().at, edges: vec![insight::edge()] }));
        }
        Command::ContainmentList(reply) => {
            reply.send(Ok(ContainmentList { containments: vec![insight::contained()] }));
        }
        Command::Stop(reply) | Command::Detach(reply) => reply.send(Ok(())),
        Command::ConfigShow(reply) => {
            reply.send(Ok(ConfigText { path: None, toml: "interfaces = [\"eth0\"]\n".to_owned() }));
        }
        Command::History(_, reply) => reply.send(Ok(vec![change()])),
        Command::TuneShow(_, reply) => reply.send(Ok(tuned())),
    }
}

/// One proposal with everything that a proposal can say.
pub fn tuned() -> TuneList {
    let limit = |per_second, burst| Limit { per_second, burst };
    let excess = |at_least, at_most| Excess { at_least, at_most, of: 1e6, seconds: 3.0 };
    let source = "192.0.2.7".parse().unwrap();
    let subject = Subject { service: "web".to_owned(), class: "outside".to_owned() };
    let current = Current { limit: limit(100, 200), would_have_dropped: excess(200_000.0, 250_000.0) };
    let packets = Dimension {
        limit: limit(640, 1280),
        observed: 320.0,
        between: [300.0, 340.0],
        busiest_hour: Some("Tue 13:00 UTC".to_owned()),
        highest: 900.0,
        carriers: 7.5,
        would_have_dropped: excess(0.0, 100.0),
        current: Some(current),
    };
    let evidence = Evidence {
        sources: 41,
        hours_covered: 168,
        learned_hours: 200.0,
        source_seconds: 2_500_000.0,
        left_out_seconds: 12.0,
        median: 20.0,
        confidence: Confidence::High,
        relative_error: RELATIVE_ERROR,
    };
    let hit = Hit { source, dimension: "packets".to_owned(), peak: 900.0, at: 1_795_392_000, certain: false };
    let proposal = Proposal {
        subject: subject.clone(),
        quantile: 0.999,
        headroom: 2.0,
        packets: Some(packets),
        bytes: None,
        connections: None,
        evidence,
        hit: vec![hit],
        hit_is_complete: true,
        locked_out: Vec::new(),
    };
    let trial = Report {
        subject,
        limits: proposal.limits(),
        since: noon().as_second() - 600,
        calm: trial::Count { seconds: 600.0, packets: 9_000, would_drop: 3 },
        trouble: trial::Count::default(),
        sources: vec![WouldDrop { source, packets: 3 }],
        locked_out: Vec::new(),
    };
    let tuned = Tuned {
        service: "web".to_owned(),
        class: "outside".to_owned(),
        tuning: tuning::Mode::Propose,
        mode: Mode::Enforce,
        limits: tuning::Limits { packets: Some(limit(100, 200)), ..tuning::Limits::default() },
        advice: Advice::Proposal(Box::new(proposal)),
        trial: Some(trial),
        decisions: None,
    };
    TuneList { at: noon(), freeze: None, limits: vec![tuned] }
}

pub fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub fn change() -> Change {
    Change {
        number: 7,
        at: noon(),
        made_by: "uid 1000".to_owned(),
        origin: Origin::Socket { uid: 1000, gid: 1000, pid: 1 },
        what: "limit web".to_owned(),
        before: "off".to_owned(),
        after: "enforce 1000/s".to_owned(),
        state: "applied".to_owned(),
        evidence: None,
    }
}

pub fn ban() -> Ban {
    Ban {
        source: "198.51.100.9/32".parse().unwrap(),
        since: noon(),
        until: Some("2026-11-22T12:10:00Z".parse().unwrap()),
        dropped: Count { packets: 5, bytes: 320 },
        strikes: 1,
        made_by: "kernel".to_owned(),
        service: Some("web".to_owned()),
        comment: None,
    }
}

pub fn limit() -> LimitInForce {
    LimitInForce {
        service: "web".to_owned(),
        class: "outside".to_owned(),
        kind: LimitKind::PerSource,
        mode: Mode::Enforce,
        packets: Some(RateAndBurst { rate: Rate::per_second(2000), burst: 4000 }),
        bytes: None,
        connections: None,
        fragments: None,
        origin: "config".to_owned(),
    }
}

pub fn source() -> Source {
    Source {
        source: "198.51.100.9/32".parse().unwrap(),
        service: "web".to_owned(),
        class: "outside".to_owned(),
        interface: "eth0".to_owned(),
        total: Count { packets: 1_250_000, bytes: 80_000_000 },
        dropped: Count { packets: 1_200_000, bytes: 76_800_000 },
        would_drop: Count::default(),
        connections: 3,
        packets_per_second: 50_000.0,
        bytes_per_second: 3_200_000.0,
        dropped_per_second: 48_000.0,
        would_drop_per_second: 0.0,
        first_seen: noon(),
        last_seen: noon(),
        exceeding: true,
        workload: None,
    }
}

pub fn snapshot() -> Snapshot {
    use monitor_common::verdict::Reason;
    let total = |reason, packets, rate| Total {
        interface: "eth0".to_owned(),
        service: "web".to_owned(),
        reason,
        ended: Count { packets, bytes: packets * 64 },
        would_drop: Count::default(),
        ended_per_second: rate,
        would_drop_per_second: 0.0,
    };
    Snapshot {
        at: noon(),
        started: "2026-11-22T10:58:30Z".parse().unwrap(),
        build: Build { version: "0.1.0".to_owned(), layout: 1, compiler: "none".to_owned() },
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            slot: 1,
            ifindex: 2,
            mode: AttachMode::Native,
            egress: false,
            flood: Flood::default(),
            problem: None,
            stands_for: Vec::new(),
        }],
        unguarded: Vec::new(),
        services: vec![
            Service { number: 0, name: "default".to_owned() },
            Service { number: 1, name: "web".to_owned() },
        ],
        totals: vec![
            total(Reason::Accepted, 100_000, 2000.0),
            total(Reason::PacketRate, 1_200_000, 48_000.0),
        ],
        maps: vec![MapUse { name: "SOURCES".to_owned(), entries: Some(1), capacity: 131_072 }],
        incidents: vec![Tally { label: "source_table_full".to_owned(), count: 0 }],
        malformed: Vec::new(),
        events: Vec::new(),
        rules: Rules { generation: 1, flips: 3 },
        sources: Sources { tracked: 1, exceeding: 1, by_rate: vec![source()], ..Sources::default() },
        bans: vec![ban()],
        containments: 1,
        limits: vec![limit()],
        findings: Findings::default(),
        reload: Reload {
            at: noon(),
            succeeded_at: Some(noon()),
            error: None,
            successes: 1,
            failures: 0,
            path: None,
        },
        pending: None,
        tuning: crate::snapshot::Tuning::default(),
        process: crate::snapshot::Process::default(),
        read_seconds: 0.002,
        problems: Vec::new(),
    }
}
