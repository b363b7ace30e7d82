//! The demonstration: an attacker, an honest client and a guarded host, each in a namespace of its own; first without
//! sluice, then with it. Under half a minute, and nothing is left behind, also after Ctrl-C.

#![expect(clippy::cast_precision_loss, reason = "what is shown is rounded")]

mod scoreboard;
mod service;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use monitor_tests::harness::{
    daemon::{self, Daemon},
    flood::{Flood, Plan, Sources},
    packet::packet,
    scene::{INTERFACE, Over, Scene},
};
use scoreboard::{Phase, Scoreboard};
use service::{ASKED, Worker};

/// Sources of the flood, each far over its limit.
const SOURCES: u32 = 16;
const PER_SECOND: u64 = 200_000;

const RULES: &str = r#"
[access]
inside = []

[[service]]
name = "names"
protocol = "udp"
ports = [53]
mode = "enforce"
limit = { packets = "1k/s", packets_burst = 1000 }
"#;

/// Set by a signal; every step of the demonstration looks at it.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

fn main() -> ExitCode {
    let handler = interrupt as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing but store a flag.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if INTERRUPTED.load(Ordering::Relaxed) => {
            eprintln!("demo: stopped ({error}); everything is removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Fails once somebody wants it to end.
fn going_on() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

fn play() -> Result<()> {
    daemon::possible()?;
    println!(
        "A host that answers questions over UDP, an honest client that asks {ASKED} a second, and an attacker"
    );
    println!(
        "who sends {PER_SECOND} a second from {SOURCES} addresses: each in a network namespace of its own."
    );
    let scene = Scene::new().context("make the namespaces")?;
    scene.warm_up(Over::Ipv4)?;
    let service = scene.service(Over::Ipv4, 53);
    let server = Worker::serve(&scene.guarded, service)?;
    let client = Worker::ask(&scene.client, (scene.client_address(Over::Ipv4), 0).into(), service)?;
    let mut board = Scoreboard::new(&server, &client);
    going_on()?;

    board.watch(Phase::Calm, 2, None, None)?;
    let flood = attack(&scene)?;
    board.watch(Phase::Off, 5, Some(&flood), None)?;
    flood.stop()?;

    println!("\n$ sluice run --config sluice.toml     # a limit of 1000 packets a second from each source");
    let guard = Daemon::start(&scene.guarded, &[INTERFACE], RULES)?;
    going_on()?;
    let flood = attack(&scene)?;
    board.watch(Phase::On, 6, Some(&flood), Some(&guard))?;
    println!("\n$ sluice sources --by drops -n 3");
    print!("{}", guard.tell(&["sources", "--by", "drops", "-n", "3"])?);
    println!("\n$ sluice sources --prefix {}", scene.client_address(Over::Ipv4));
    print!("{}", guard.tell(&["sources", "--prefix", &scene.client_address(Over::Ipv4).to_string()])?);
    flood.stop()?;
    board.result();
    Ok(())
}

fn attack(scene: &Scene) -> Result<Flood> {
    let frame = packet()
        .macs([2, 0, 0, 0, 0, 9], scene.guarded_mac()?)
        .between("198.18.0.1", "10.77.0.1")
        .udp(4000, 53)
        .payload_bytes(18)
        .build();
    let plan = Plan {
        interface: INTERFACE.to_owned(),
        frame,
        sources: Sources::Few(SOURCES),
        per_second: PER_SECOND,
        time: Duration::from_secs(15),
    };
    Flood::start(&scene.attacker, plan)
}
