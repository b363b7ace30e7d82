//! A flood that harms the host: strangers are held to a share, aloud, over a restart, and never past an operator's word.

use ::tuning::aggregates::State;
use ::tuning::defence::Load;
use datapath::{Kernel as _, Total};
use monitor_common::plain::Plain as _;
use monitor_common::record::{FloodState, Totals};
use monitor_common::rule::{Aggregate, PACKETS, mode};
use monitor_common::verdict::Reason;

use super::*;

const PLAIN: &str = "[interfaces]\nnames = [\"eth0\"]\n\
    [[service]]\nname = \"web\"\nprotocol = \"udp\"\nports = [80]\nmode = \"enforce\"\nlimit = { packets = \"2k/s\" }\n\
    [[service]]\nname = \"quiet\"\nprotocol = \"udp\"\nports = [81]\nmode = \"enforce\"\nlimit = { packets = \"2k/s\" }\n";

struct Flooded {
    bench: Bench,
    packets: u64,
}

impl Flooded {
    fn new(text: &str) -> Self {
        let mut bench = Bench::new();
        bench.configure(text);
        Self { bench: bench.restart(), packets: 0 }
    }

    /// So many packets a second for `web`, for so many seconds.
    fn play(&mut self, seconds: u64, per_second: u64) {
        for _ in 0..seconds {
            self.packets += per_second;
            let mut totals = Totals::zeroed();
            totals.ended[Reason::Accepted as usize].packets = self.packets;
            let clock = self.bench.kernel.clock(self.bench.kernel.now());
            let flood =
                FloodState { since: clock - 1, until: clock + (1 << 50), floods: 1, reserved: [0; 5] };
            let service = self.number("web");
            let mut state = self.bench.kernel.state();
            state.counters.totals = vec![Total { slot: 1, service, totals }];
            state.counters.floods = vec![FloodState::zeroed(), flood];
            drop(state);
            self.bench.kernel.advance(Duration::from_secs(1));
            self.bench.read();
        }
    }

    fn number(&self, name: &str) -> u32 {
        let state = self.bench.kernel.state();
        let services = &state.image.as_ref().unwrap().services;
        services.iter().position(|known| known.as_deref() == Some(name)).unwrap().try_into().unwrap()
    }

    /// What the kernel was given.
    fn kernel(&self, name: &str) -> Aggregate {
        let number = self.number(name) as usize;
        self.bench.kernel.state().image.as_ref().unwrap().aggregates[number]
    }

    /// How it is listed.
    fn listed(&mut self, name: &str) -> Option<(Mode, u64, String)> {
        let limits = self.bench.ask(NOW, ListLimits {}).unwrap().limits;
        let of = |limit: &&crate::snapshot::LimitInForce| {
            limit.service == name && limit.kind == LimitKind::Aggregate
        };
        let found = limits.iter().find(of)?;
        Some((found.mode, found.packets.unwrap().rate.amount, found.origin.clone()))
    }

    fn set(&mut self, mode: Option<Mode>, packets: Option<u64>) {
        let rate = |per_second| RateRequest { rate: Rate::per_second(per_second), burst: None };
        let set = LimitSet {
            service: "web".to_owned(),
            kind: LimitKind::Aggregate,
            mode,
            packets: packets.map(rate),
            ..LimitSet::default()
        };
        self.bench.ask(NOW, set).unwrap();
    }
}

#[test]
fn strangers_are_held_to_a_share_while_a_flood_harms_and_over_a_restart() {
    let mut flooded = Flooded::new(PLAIN);
    flooded.play(5, 100_000);
    // Observing costs nobody a packet; the quiet service beside it is left alone.
    assert_eq!((flooded.kernel("web").mode, flooded.kernel("quiet").mode), (mode::OBSERVE, mode::OFF));
    assert_eq!(flooded.listed("quiet").unwrap().0, Mode::Off);
    flooded.bench.load = Load { buffer_errors_per_second: 5_000.0, ..Load::default() };
    let flips = flooded.bench.kernel.state().flips;
    flooded.play(10, 100_000);
    assert_eq!((flooded.kernel("web").mode, flooded.kernel("quiet").mode), (mode::ENFORCE, mode::OFF));
    assert_eq!(flooded.bench.kernel.state().flips, flips + 1, "rules are written once");
    assert_eq!(
        flooded.listed("web").unwrap(),
        (Mode::Enforce, 1_000, "auto, for strangers (least)".to_owned())
    );
    let history = flooded.bench.ask(NOW, HistoryQuery { limit: 1, before: None }).unwrap().changes;
    assert!(history[0].what.contains("strangers are held to 1000 packets"), "{history:?}");
    let problem =
        |bench: &Bench| bench.snapshot.problems.iter().any(|problem| problem.contains("aggregate of web"));
    flooded.play(1, 100_000);
    assert!(problem(&flooded.bench), "{:?}", flooded.bench.snapshot.problems);

    flooded.bench = flooded.bench.restart();
    assert_eq!(flooded.kernel("web").mode, mode::ENFORCE, "from the first rules on");
    flooded.play(70, 100);
    assert_eq!(flooded.kernel("web").mode, mode::OFF);
    assert!(!problem(&flooded.bench));
    let states: Vec<_> = flooded.bench.snapshot.tuning.aggregates.iter().map(|row| row.state).collect();
    assert_eq!(states, [State::Rests; 3], "with the default service");
}

#[test]
fn an_operators_word_wins_over_an_automatic_aggregate() {
    let mut flooded = Flooded::new(PLAIN);
    flooded.bench.load = Load { softirq_share: 0.9, ..Load::default() };
    flooded.play(10, 100_000);
    assert_eq!(flooded.kernel("web").mode, mode::ENFORCE);
    flooded.set(Some(Mode::Observe), None);
    assert_eq!(flooded.kernel("web").mode, mode::OBSERVE);
    flooded.set(Some(Mode::Off), None);
    assert_eq!(flooded.kernel("web").mode, mode::OFF);
    flooded.play(1, 100_000);
    assert_eq!(flooded.listed("web"), None);
    let target = LimitTarget { service: "web".to_owned(), class: None, kind: LimitKind::Aggregate };
    flooded.bench.ask(NOW, LimitUnset(target)).unwrap();
    assert_eq!(flooded.kernel("web").mode, mode::OFF, "what was in force before it is forgotten");
    flooded.play(1, 100_000);
    assert_eq!(flooded.kernel("web").mode, mode::ENFORCE);
    flooded.set(Some(Mode::Enforce), Some(5_000));
    flooded.play(1, 100_000);
    assert!(flooded.kernel("web").total[PACKETS].unit_cost > 0);
    assert_eq!(flooded.listed("web").unwrap(), (Mode::Enforce, 5_000, "set while running".to_owned()));
    // What the file says: observing services are only counted at.
    let mut observing = Flooded::new(&PLAIN.replace("enforce", "observe"));
    observing.bench.load = Load { softirq_share: 0.9, ..Load::default() };
    observing.play(10, 100_000);
    assert_eq!(observing.kernel("web").mode, mode::OBSERVE);
    let mut off = Flooded::new(&PLAIN.replace("limit = {", "aggregate = \"off\"\nlimit = {"));
    off.bench.load = Load { softirq_share: 0.9, ..Load::default() };
    off.play(10, 100_000);
    assert_eq!(off.kernel("web").mode, mode::OFF);
}
