//! What tuning costs: memory per service, time per tick at 100,000 sources, time of `tune show`, size in the store.
//!
//! `cargo run --release -p monitor --example tuning_figures`. Prints tab-separated lines; synthetic sources, fixed seed.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures"
)]

use std::time::{Duration, Instant};

use monitor_common::flow::mapped;
use tuning::{Aim, Limits, Parameters, Sample, Subject, Tick, Tuner};

const SOURCES: u32 = 100_000;
const SERVICES: u32 = 20;
/// 2026-11-23, a Monday.
const MONDAY: i64 = 1_795_392_000;

fn main() {
    let mut random = 42u64;
    let samples: Vec<Sample> = (0..SOURCES).map(|number| sample(number, &mut random)).collect();
    let mut tuner = Tuner::new(Parameters::default());
    let services: Vec<_> = (1..=SERVICES).map(|number| (number, format!("service-{number}"))).collect();
    tuner.rename(&services, &[(0, "outside".to_owned())]);

    let tick = |at| Tick { at, seconds: 1.0, flood: false, alert: false };
    let mut ticks = Vec::new();
    for second in 0..30 {
        let began = Instant::now();
        tuner.observe(tick(MONDAY + second), &samples);
        ticks.push(began.elapsed());
    }
    print("tick_100k_sources_ms", median(ticks).as_secs_f64() * 1e3);

    // A whole week, ten seconds of each hour, a tenth of the sources: every hour holds a full distribution.
    let few: Vec<Sample> = samples.iter().take(10_000).copied().collect();
    for hour in 0..168 {
        for second in 0..10 {
            tuner.observe(tick(MONDAY + hour * 3_600 + second), &few);
        }
    }
    print("memory_per_service_and_class_kib", tuner.memory_bytes() as f64 / f64::from(SERVICES) / 1024.0);

    let subjects = tuner.subjects();
    let show = |subject: &Subject| tuner.advise(subject, Aim::default(), Limits::default());
    let times = (0..20).map(|_| {
        let began = Instant::now();
        let answers: Vec<_> = subjects.iter().map(show).collect();
        assert_eq!(answers.len(), SERVICES as usize);
        began.elapsed()
    });
    print("tune_show_20_services_ms", median(times.collect()).as_secs_f64() * 1e3);

    let began = Instant::now();
    let blobs = tuner.save();
    print("save_everything_ms", began.elapsed().as_secs_f64() * 1e3);
    let size = |blobs: &[(String, Vec<u8>)]| blobs.iter().map(|(_, blob)| blob.len()).sum::<usize>() as f64;
    print("store_per_service_and_class_kib", size(&blobs) / f64::from(SERVICES) / 1024.0);
    print("store_per_service_and_class_later_kib", size(&tuner.save()) / f64::from(SERVICES) / 1024.0);
}

/// A source at one service: log-normal around 20 packets a second.
fn sample(number: u32, random: &mut u64) -> Sample {
    let normal = (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0;
    let packets = (20.0 * normal.exp()).max(1.0) as u64;
    Sample {
        service: 1 + number % SERVICES,
        class: 0,
        source: mapped((0x0a00_0000 + number).to_be_bytes()),
        packets,
        bytes: packets * (60 + 1_400 * u64::from(uniform(random) > 0.5)),
        connections: u64::from(uniform(random) > 0.9),
        dropped: 0,
        trial_drops: 0,
        flagged: false,
        protected: false,
        established: false,
    }
}

fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn print(name: &str, value: f64) {
    println!("{name}\t{value:.3}");
}
