//! What sources send becomes proposals, steps and refusals; overload becomes a rung, and goes again.

use monitor_common::flow::{SourceKey, mapped_halves};
use monitor_common::plain::Plain;
use monitor_common::record::{FloodState, SourceEntry};

use super::*;
use ::tuning::Advice;
use datapath::Kernel;

const LEARNING: &str = "[interfaces]\nnames = [\"eth0\"]\n\
    [[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nmode = \"enforce\"\n\
    limit = { packets = \"2k/s\" }\n\
    [tuning]\nquantile = 0.5\nleast_learning_hours = 0\n";

const AUTO: &str = "[tuning.services.web]\nmode = \"auto\"\n[tuning.services.web.auto]\n\
    ceiling = { packets_per_second = 5000 }\nsettle_minutes = 0\ninterval_minutes = 10\n";

/// A bench whose table is read once a second, as the clock of the test says.
struct Learning {
    bench: Bench,
    seconds: u64,
}

impl Learning {
    fn new(config: &str) -> Self {
        let mut bench = Bench::new();
        bench.configure(config);
        Self { bench: bench.restart(), seconds: 0 }
    }

    /// Ten sources of 10/s, and one of `greedy`/s, for so many seconds.
    fn play(&mut self, seconds: u64, greedy: u64) {
        for _ in 0..seconds {
            self.seconds += 1;
            let mut state = self.bench.kernel.state();
            let services = &state.image.as_ref().unwrap().services;
            let web = services.iter().position(|name| name.as_deref() == Some("web")).unwrap();
            let web = u32::try_from(web).unwrap();
            let row = |last: u8, rate: u64| {
                let [high, low] = mapped_halves([198, 51, 100, last]);
                let mut entry = SourceEntry::zeroed();
                entry.packets = rate * self.seconds;
                entry.bytes = entry.packets * 100;
                (SourceKey::new(high, low, web), entry)
            };
            state.sources = (1..=10).map(|last| row(last, 10)).chain([row(99, greedy)]).collect();
            drop(state);
            self.bench.kernel.advance(Duration::from_secs(1));
            self.bench.read();
        }
    }

    fn apply(&mut self, options: ChangeOptions) -> Result<Applied, Error> {
        let target = TuneTarget { service: "web".to_owned(), ..TuneTarget::default() };
        self.bench.ask(options, TuneApply(target))
    }

    fn in_force(&mut self) -> u64 {
        let limits = self.bench.ask(NOW, ListLimits {}).unwrap().limits;
        let of = |class: &str| {
            limits
                .iter()
                .find(|l| l.service == "web" && l.kind == LimitKind::PerSource && l.class == class)
                .and_then(|limit| limit.packets)
        };
        of("outside").or_else(|| of("any")).unwrap().rate.amount
    }
}

#[test]
fn a_proposal_is_shown_and_applied_with_its_evidence_in_the_history() {
    let mut learning = Learning::new(LEARNING);
    assert_eq!(learning.apply(NOW).unwrap_err().code, Code::Conflict);
    learning.play(30, 40);
    let query = TuneQuery { service: Some("web".to_owned()), ..TuneQuery::default() };
    let list = learning.bench.ask(NOW, query).unwrap();
    let Advice::Proposal(proposal) = &list.limits[0].advice else { panic!("{list:?}") };
    assert_eq!(proposal.packets.as_ref().unwrap().limit.per_second, 21);
    assert_eq!(proposal.hit[0].source.to_string(), "198.51.100.99");
    let applied = learning.apply(SAVED).unwrap();
    assert!(applied.saved && learning.in_force() == 21);
    let record = learning.bench.store.change(applied.change.unwrap()).unwrap().unwrap();
    assert_eq!(record.evidence.unwrap()["evidence"]["sources"], 11);
    learning.bench = learning.bench.restart();
    assert_eq!(learning.in_force(), 21);
}

#[test]
fn a_proposal_that_would_hit_an_exempt_address_is_refused_with_the_list() {
    let mut learning = Learning::new(&format!("{LEARNING}[access]\nexempt = [\"198.51.100.99\"]\n"));
    learning.play(30, 500);
    let error = learning.apply(NOW).unwrap_err();
    assert_eq!(error.code, Code::NeedsConfirmation);
    assert!(error.message.contains("198.51.100.99"), "{error}");
    assert_eq!(learning.in_force(), 2000);
    let error = learning.bench.set(NOW, 100).unwrap_err();
    assert!(error.message.contains("198.51.100.99 (500 packets/s at web)"), "{error}");
    learning.bench.set(NOW, 600).unwrap();
    learning.bench.set(NOW, 2000).unwrap();
    learning.apply(ChangeOptions { yes: true, ..NOW }).unwrap();
    assert_eq!(learning.in_force(), 21);
}

#[test]
fn an_automatic_step_is_saved_audited_and_reverted_like_any_change() {
    let mut learning = Learning::new(&format!("{LEARNING}{AUTO}"));
    learning.play(130, 10);
    assert_eq!(learning.in_force(), 1600, "one step of 1.25, and ten minutes until the next");
    let history = learning.bench.ask(NOW, HistoryQuery { limit: 1, before: None }).unwrap().changes;
    assert_eq!(history[0].made_by, "tuning");
    assert!(history[0].what.starts_with("automatic step at web class outside"), "{history:?}");
    let tuning = learning.bench.snapshot.tuning.clone();
    let packets = tuning.proposals.iter().find(|row| row.dimension == "packets").unwrap();
    assert_eq!((packets.per_second, packets.state.as_str()), (Some(21), "waiting"));
    let number = history[0].number;
    learning.bench = learning.bench.restart();
    assert_eq!(learning.in_force(), 1600);
    learning.bench.ask(NOW, Revert { number }).unwrap();
    assert_eq!(learning.in_force(), 2000);
}

#[test]
fn a_waiting_change_holds_automatic_steps_off() {
    let mut learning = Learning::new(&format!("{LEARNING}{AUTO}"));
    learning.bench.set(TIMED_LONG, 3000).unwrap();
    learning.play(130, 10);
    assert_eq!(learning.in_force(), 3000);
}

#[test]
fn a_flood_freezes_learning_and_climbs_the_ladder_if_it_is_switched_on() {
    let defence = "[tuning.defence]\nenabled = true\nclimb_after_seconds = 2\nrelax_after_seconds = 2\n\
                   rungs = [{ limits = 0.5, in_flood_mode = true }]\n";
    let mut learning = Learning::new(&format!("{LEARNING}{defence}"));
    learning.play(2, 10);
    let clock = learning.bench.kernel.clock(learning.bench.kernel.now());
    let flood = FloodState { since: clock - 1, until: clock + (1 << 50), floods: 1, reserved: [0; 5] };
    learning.bench.kernel.state().counters.floods = vec![FloodState::zeroed(), flood];
    let flips = learning.bench.kernel.state().flips;
    let climb = |learning: &mut Learning, seconds: u64| {
        for _ in 0..seconds {
            learning.play(1, 10);
        }
    };
    climb(&mut learning, 4);
    learning.play(1, 10);
    let snapshot = learning.bench.snapshot.clone();
    assert_eq!(snapshot.tuning.frozen.as_deref(), Some("flood"));
    assert_eq!((snapshot.tuning.defence_rung, snapshot.tuning.defence_factor), (1, 0.5));
    assert!(snapshot.problems.iter().any(|problem| problem.contains("defence rung 1")));
    assert_eq!(learning.bench.kernel.state().flips, flips + 1);
    assert_eq!(learning.in_force(), 2000, "what was decided is not touched");
    let history = learning.bench.ask(NOW, HistoryQuery { limit: 1, before: None }).unwrap().changes;
    assert!(history[0].what.starts_with("defence rung 0 -> 1"), "{history:?}");

    learning.bench.kernel.state().counters.floods = vec![FloodState::zeroed(); 2];
    climb(&mut learning, 4);
    learning.play(1, 10);
    let snapshot = learning.bench.snapshot.clone();
    assert_eq!((snapshot.tuning.defence_rung, snapshot.tuning.frozen.as_deref()), (0, Some("thawing")));
    assert!(snapshot.problems.iter().all(|problem| !problem.contains("defence rung")));
}
