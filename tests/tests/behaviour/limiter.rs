//! A limit means what it says: over any window, on any number of CPUs, whatever stands beside it.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use monitor_common::{
    names::map,
    record::{EventKind, SHARED},
    verdict::{CANDIDATE, Reason::*},
};
use monitor_tests::{
    harness::{
        packet::{flag, packet, packet6},
        program::{DROP, PASS, Program},
        rules::{self, MILLISECOND, SECOND, START, TICK_NS},
    },
    or_skip,
};
use policy::Image;

use crate::random::Random;

fn dns(limit: &str) -> String {
    format!("[access]\ninside = []\n[[service]]\nname = \"dns\"\nprotocol = \"udp\"\nports = [53]\n{limit}\n")
}

fn installed(program: &Program, text: &str) -> Image {
    let image = rules::compile(text, None).unwrap();
    program.install(&image);
    program.set_clock(START);
    image
}

/// Several threads send one source's packets while the clock moves tick by tick; every window keeps the promise.
fn hammer(threads: usize, text: &str, rate: u64, burst: u64, prepare: impl FnOnce(&Program)) {
    const STEPS: u64 = 150;
    let program = or_skip!("the promise", Program::load());
    let image = installed(&program, &dns(text));
    prepare(&program);
    let service = rules::number(&image, "dns");
    let cpus = thread::available_parallelism().unwrap().get() as u64;
    let frame = packet().udp(1000, 53).build();
    let over = AtomicBool::new(false);
    let offered = AtomicU64::new(0);
    let passed = || program.ended(service, Accepted) + program.ended(service, Unlimited);
    let before = passed();
    let mut taken = vec![before];
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    program.judge(&frame, 50);
                    offered.fetch_add(50, Ordering::Relaxed);
                }
            });
        }
        for step in 0..STEPS {
            program.set_clock(START + step * TICK_NS * 16);
            // Far more than a tick's worth of packets, from every thread.
            let enough = offered.load(Ordering::Relaxed) + 400 * threads as u64;
            while offered.load(Ordering::Relaxed) < enough {
                thread::sleep(Duration::from_micros(200));
            }
            taken.push(passed());
        }
        over.store(true, Ordering::Relaxed);
    });
    // `taken[0]` is before the first tick, `taken[i + 1]` at its end.
    for first in 0..taken.len() {
        for last in first + 1..taken.len() {
            let ticks = (last - first.max(1)) as u64;
            let allowed = rate * ticks * TICK_NS / 1_000_000_000 + burst + cpus;
            let passed = taken[last] - taken[first];
            assert!(passed <= allowed, "{passed} within {ticks} ticks, {allowed} allowed, {threads} threads");
        }
    }
    let passed = taken[taken.len() - 1] - before;
    let due = rate * (STEPS - 1) * TICK_NS / 1_000_000_000;
    assert!(passed + cpus >= due, "{passed} passed where {due} were due");
    println!("{threads} threads: {passed} of at most {}", due + burst + cpus);
}

const TEN_THOUSAND: &str = "mode = \"enforce\"\nlimit = { packets = \"10k/s\", packets_burst = 100 }";

#[test]
fn one_thread_gets_no_more_than_rate_and_burst_over_any_window() {
    hammer(1, TEN_THOUSAND, 10_000, 100, |_| ());
}

#[test]
fn two_threads_get_no_more_than_one() {
    hammer(2, TEN_THOUSAND, 10_000, 100, |_| ());
}

#[test]
fn four_threads_get_no_more_than_one() {
    hammer(4, TEN_THOUSAND, 10_000, 100, |_| ());
}

#[test]
fn all_sources_together_get_no_more_than_the_aggregate() {
    let text = "mode = \"enforce\"\naggregate = { packets = \"10k/s\", packets_burst = 100, reserve = 0.0 }";
    hammer(4, text, 10_000, 100, |_| ());
}

#[test]
fn another_source_and_another_service_have_their_own_buckets() {
    let program = or_skip!("own buckets", Program::load());
    let text =
        dns(TEN_THOUSAND) + "[[service]]\nname = \"ntp\"\nprotocol = \"udp\"\nports = [123]\n" + TEN_THOUSAND;
    let image = installed(&program, &text);
    let (dns, ntp) = (rules::number(&image, "dns"), rules::number(&image, "ntp"));
    program.judge(&packet().udp(1000, 53).build(), 500);
    assert_eq!(program.ended(dns, Accepted), 60);
    assert_eq!(program.judge(&packet().source("10.1.0.2").udp(1000, 53).build(), 1).verdict, PASS);
    assert_eq!(program.judge(&packet().udp(1000, 123).build(), 1).verdict, PASS);
    assert_eq!(program.judge(&packet().udp(1000, 53).build(), 1).verdict, DROP);
    assert_eq!((program.ended(dns, Accepted), program.ended(ntp, Accepted)), (61, 1));
}

#[test]
fn ipv6_sources_of_one_64_share_a_bucket_and_of_another_do_not() {
    let program = or_skip!("ipv6 by /64", Program::load());
    let image = installed(&program, &dns(TEN_THOUSAND));
    let dns = rules::number(&image, "dns");
    for host in 1..=100 {
        program.judge(&packet6().source(&format!("fd00:1::{host:x}")).udp(1000, 53).build(), 1);
    }
    assert_eq!(program.ended(dns, Accepted), 60);
    assert_eq!(program.judge(&packet6().source("fd00:1:0:1::1").udp(1000, 53).build(), 1).verdict, PASS);
    assert_eq!(program.source("fd00:1::", dns).unwrap().total().packets, 100);
}

#[test]
fn an_entry_counts_what_its_source_sent_and_when() {
    let program = or_skip!("counters of a source", Program::load());
    let text = "[access]\ninside = []\n[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nmode = \"enforce\"\n\
                limit = { connections = \"100/s\", connections_burst = 5 }\n";
    let image = installed(&program, text);
    let web = rules::number(&image, "web");
    let frame = packet().tcp(1000, 80, flag::SYN).payload_bytes(46).build();
    program.judge(&frame, 10);
    program.set_clock(START + 3 * SECOND);
    program.judge(&packet().tcp(1000, 80, flag::ACK).payload_bytes(46).build(), 2);
    let entry = program.source("10.1.0.1", web).unwrap();
    assert_eq!((entry.total().packets, entry.total().bytes, entry.opened()), (12, 1200, 10));
    assert_eq!((entry.dropped.packets, entry.dropped.bytes), (6, 600));
    assert_eq!((entry.would_drop.packets, entry.candidate_would_drop), (0, 0));
    assert_eq!((entry.first_seen, entry.last_seen), (START, START + 3 * SECOND));
}

/// Runs on one CPU until the test ends or says otherwise.
pub fn stay_on(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

#[test]
fn a_source_that_moves_between_cpus_keeps_its_counts_and_its_debt() {
    let program = or_skip!("an entry on two CPUs", Program::load());
    if thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    let image =
        installed(&program, &dns("mode = \"enforce\"\nlimit = { packets = \"1/s\", packets_burst = 30 }"));
    let dns = rules::number(&image, "dns");
    let frame = packet().udp(1000, 53).build();
    let entry = || program.source("10.1.0.1", dns).unwrap();
    stay_on(0);
    program.judge(&frame, 10);
    let made = entry();
    assert_eq!((made.owner, made.total().packets, made.others.packets), (0, 10, 0));
    stay_on(1);
    program.judge(&frame, 10);
    let shared = entry();
    assert_eq!((shared.owner, shared.total().packets, shared.others.packets), (SHARED, 20, 10));
    stay_on(0);
    program.judge(&frame, 40);
    assert_eq!((entry().packets, entry().total().packets), (50, 60));
    // One tick is taken off the burst, so 29 pass: what each CPU was charged counts for both.
    assert_eq!(program.ended(dns, Accepted), 29);
    assert_eq!(entry().total().bytes, 60 * u64::try_from(frame.len()).unwrap());
    // Alone on the other CPU for long enough, the entry is that one's; what it owes comes along.
    stay_on(1);
    for second in 1..=12 {
        program.set_clock(START + second * SECOND);
        program.judge(&frame, 1);
    }
    let settled = entry();
    assert_eq!((settled.owner, settled.others.packets), (1, 10 + 12));
    assert_eq!(settled.total().packets, 72);
    program.judge(&frame, 100);
    assert_eq!(program.ended(dns, Accepted), 29 + 12);
}

#[test]
fn a_limit_on_trial_changes_no_verdict_and_counts_what_it_would_have_dropped() {
    let limit = "mode = \"enforce\"\nlimit = { packets = \"1k/s\", packets_burst = 20 }";
    let run = |trial: &str| {
        let program = Program::load()?;
        let image = installed(&program, &dns(&format!("{limit}\n{trial}")));
        let mut random = Random::seeded("trial");
        let mut now = START;
        let mut verdicts = Vec::new();
        for _ in 0..20_000 {
            now += random.word() % (2 * MILLISECOND) / 16 * 16;
            program.set_clock(now);
            let source = ["10.1.0.1", "10.1.0.2", "10.1.0.3"][random.below(3)];
            let times = 1 + u32::try_from(random.below(10)).unwrap();
            verdicts.push(program.judge(&packet().source(source).udp(1000, 53).build(), times).verdict);
        }
        let service = rules::number(&image, "dns");
        let trial = program.totals(service).would_drop[CANDIDATE].packets;
        let entries =
            ["10.1.0.1", "10.1.0.2", "10.1.0.3"].map(|source| program.source(source, service).unwrap());
        anyhow::Ok((verdicts, entries.map(|entry| (entry.owed(0, now), entry.dropped, entry.total())), trial))
    };
    let (without, entries, none) = or_skip!("limits on trial", run(""));
    let (with, same, trial) = run("trial = { packets = \"100/s\", packets_burst = 10 }").unwrap();
    assert!(without.contains(&PASS) && without.contains(&DROP));
    assert!(without == with, "the limit on trial changed a verdict");
    assert_eq!(entries, same);
    assert_eq!(none, 0);
    assert!(trial > 10_000, "{trial}");
}

#[test]
fn observing_drops_nothing_however_much_comes() {
    let program = or_skip!("observe", Program::load());
    let text = "mode = \"observe\"\nlimit = { packets = \"100/s\", packets_burst = 10 }\n\
                aggregate = { packets = \"100/s\", packets_burst = 10 }\nban = { after = 10, unproven = true }";
    let image = installed(&program, &dns(text));
    let dns = rules::number(&image, "dns");
    for _ in 0..100 {
        assert_eq!(program.judge(&packet().udp(1000, 53).build(), 1000).verdict, PASS);
    }
    assert_eq!(program.ended(dns, Accepted), 100_000);
    assert_eq!(program.totals(dns).would_drop[PacketRate as usize].packets, 99_991);
    assert_eq!(program.source("10.1.0.1", dns).unwrap().would_drop.packets, 99_991);
    assert!(program.keys::<monitor_common::flow::BanKey>(map::BANS).is_empty());
}

#[test]
fn watching_only_drops_nothing_whatever_the_rules_say() {
    let program = or_skip!("watch only", Program::load());
    let text = "[interfaces]\nwatch_only = true\n[access]\ndenied = [\"10.66.0.0/16\"]\n[[service]]\nname = \"dns\"\n\
                protocol = \"udp\"\nports = [53]\nmode = \"enforce\"\nlimit = { packets = \"100/s\", packets_burst = 10 }\n";
    installed(&program, text);
    program.ban("10.77.0.1", u64::MAX);
    for source in ["10.1.0.1", "10.66.0.1", "10.77.0.1"] {
        let frame = packet().source(source).udp(1000, 53).build();
        assert_eq!(program.judge(&frame, 100).verdict, PASS, "{source}");
    }
}

#[test]
fn panic_passes_everything_and_counts_what_would_be_dropped() {
    let program = or_skip!("panic", Program::load());
    let text = "[malformed]\naction = \"drop\"\n[access]\ndenied = [\"10.66.0.0/16\"]\n[[service]]\nname = \"dns\"\n\
                protocol = \"udp\"\nports = [53]\nmode = \"enforce\"\nlimit = { packets = \"100/s\", packets_burst = 10 }\n";
    let image = installed(&program, text);
    let dns = rules::number(&image, "dns");
    program.ban("10.77.0.1", u64::MAX);
    let frame = |source: &str| packet().source(source).udp(1000, 53).build();
    let (limited, denied, banned) = (frame("10.1.0.1"), frame("10.66.0.1"), frame("10.77.0.1"));
    for frame in [&limited, &denied, &banned] {
        assert_eq!(program.judge(frame, 100).verdict, DROP);
    }
    for generation in [0u32, 1] {
        let mut settings: monitor_common::rule::Settings = program.read(map::SETTINGS, generation);
        settings.flags |= monitor_common::rule::setting::PANIC;
        program.write(map::SETTINGS, generation, &settings);
    }
    let before = program.ended(dns, Accepted);
    for frame in [&limited, &denied, &banned] {
        assert_eq!(program.judge(frame, 1000).verdict, PASS);
    }
    assert_eq!(program.ended(dns, Accepted) - before, 3000);
    // The first reason is the one that is counted.
    let would = |service: u32, reason: monitor_common::verdict::Reason| {
        program.totals(service).would_drop[reason as usize].packets
    };
    assert_eq!((would(dns, Denied), would(dns, Banned)), (1000, 1000));
    assert_eq!(would(dns, PacketRate), 1000);
    // A malformed frame passes too.
    let cut = &limited[..20];
    assert_eq!(program.judge(cut, 1).verdict, PASS);
}

#[test]
fn a_silent_daemon_leaves_limits_in_force_or_observing_as_configured() {
    for (policy, silent) in [("keep", DROP), ("observe", PASS)] {
        let program = or_skip!("heartbeat", Program::load());
        let text =
            format!("{}[heartbeat]\ntimeout = \"30s\"\nwhen_stale = \"{policy}\"\n", dns(TEN_THOUSAND));
        installed(&program, &text);
        let frame = packet().udp(1000, 53).build();
        program.write(map::HEARTBEAT, 0u32, &START);
        let last = |at: u64| {
            program.set_clock(at);
            program.judge(&frame, 500).verdict
        };
        assert_eq!(last(START + 29 * SECOND), DROP);
        assert_eq!(last(START + 31 * SECOND), silent, "{policy}");
        program.write(map::HEARTBEAT, 0u32, &(START + 32 * SECOND));
        assert_eq!(last(START + 33 * SECOND), DROP);
    }
}

#[test]
fn totals_stand_under_the_interface_that_the_frame_came_through() {
    let program = or_skip!("interfaces", Program::load());
    let image = installed(&program, &dns(TEN_THOUSAND));
    let dns = rules::number(&image, "dns");
    let frame = packet().udp(1000, 53).build();
    let counted = |slot: u32| -> u64 {
        let totals = program.read_per_cpu::<monitor_common::record::Totals>(map::TOTALS, slot * 64 + dns);
        totals.iter().map(|totals| totals.ended[Accepted as usize].packets).sum()
    };
    program.judge(&frame, 3);
    // A test run's frames come through the loopback interface, number 1.
    let place = monitor_common::record::InterfaceIndex { ifindex: 1, slot: 5 };
    program.write(map::INTERFACES, 1u32, &place);
    program.judge(&frame, 4);
    // Open addressing: the next place serves as well.
    program.write(map::INTERFACES, 1u32, &monitor_common::record::InterfaceIndex { ifindex: 1025, slot: 7 });
    program.write(map::INTERFACES, 2u32, &monitor_common::record::InterfaceIndex { ifindex: 1, slot: 6 });
    program.judge(&frame, 5);
    assert_eq!([0, 5, 6, 7].map(counted), [3, 4, 5, 0]);
}

#[test]
fn an_excess_is_reported_once_when_it_starts_and_once_when_it_is_over() {
    let mut program = or_skip!("events", Program::load());
    let image = installed(&program, &dns(TEN_THOUSAND));
    let dns = rules::number(&image, "dns");
    let frame = packet().udp(1000, 53).build();
    program.judge(&frame, 5000);
    let kinds = |program: &mut Program| program.events().iter().map(|event| event.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&mut program), [EventKind::ExceedStarted as u32]);
    // Within its limit, but not for long enough.
    program.set_clock(START + SECOND / 2);
    program.judge(&frame, 1);
    assert_eq!(kinds(&mut program), [0u32; 0]);
    program.set_clock(START + 2 * SECOND);
    program.judge(&frame, 1);
    let events = program.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].kind, events[0].service, events[0].value),
        (EventKind::ExceedEnded as u32, dns, 4940)
    );
    assert_eq!((events[0].high, events[0].low), rules::address("10.1.0.1"));
}

#[test]
fn events_that_nobody_reads_are_counted_as_lost() {
    let program = or_skip!("a stopped reader", Program::load());
    installed(&program, &format!("{}[flood]\nnew_sources = \"1M/s\"\nburst = 100000\n", dns(TEN_THOUSAND)));
    for source in 0..8000u32 {
        let address = format!("10.1.{}.{}", source / 250, source % 250);
        program.judge(&packet().source(&address).udp(1000, 53).build(), 101);
    }
    let lost = program.incidents(monitor_common::record::Incident::EventLost);
    // Each event takes 56 of the ring's bytes.
    assert_eq!(lost, 8000 - 256 * 1024 / 56);
}
