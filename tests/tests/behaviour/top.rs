//! `sluice top` on a real terminal, with a daemon and a flood: what it shows, what keys do, what it leaves behind.

use std::time::Duration;

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Over, Scene},
        screen::Screen,
    },
    or_skip,
};

const RULES: &str = r#"
[access]
inside = []

[default]
mode = "enforce"
limit = { packets = "500/s", packets_burst = 200 }
"#;

/// Longer than a test looks at it; the test ends it.
const FLOOD: Duration = Duration::from_mins(1);

fn scene() -> Result<Scene> {
    Screen::possible()?;
    Scene::to_guard()
}

/// The process of `sluice top` at this daemon.
fn process(daemon: &Daemon) -> Option<i32> {
    let socket = format!("SLUICE_SOCKET={}", daemon.socket().display());
    let mut all = std::fs::read_dir("/proc").ok()?.flatten();
    all.find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let said = std::fs::read(entry.path().join("cmdline")).ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let is_top = String::from_utf8_lossy(&said).replace('\0', " ").starts_with("sluice top");
        (is_top && String::from_utf8_lossy(&environment).contains(&socket)).then_some(pid)
    })
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: a plain system call on a process that this test started.
    unsafe { libc::kill(pid, signal) };
}

/// The shell has its screen, its cursor and its line editing again.
fn assert_clean(screen: &Screen, after: &str) {
    eventually(after, PATIENCE, || (!screen.is_taken().ok()?).then_some(())).unwrap();
    screen.runs("stty -a | tr ' ;' '\\n\\n' | grep -cxE 'icanon|echo|isig|opost'").unwrap();
    let modes = |line: &str| line.trim_start_matches("ready> ").trim() == "4";
    screen.becomes(after, |text| text.lines().any(modes)).unwrap();
    screen.runs("clear").unwrap();
}

#[test]
fn a_terminal_shows_the_flood_and_acts_on_it() {
    let scene = or_skip!("top", scene());
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _flood = scene.flood(5_000, FLOOD).unwrap();
    let screen = Screen::start(&daemon, (80, 24), &["LANG=C.UTF-8"]).unwrap();
    screen.runs("sluice top").unwrap();
    let all = screen.shows("over its limit").unwrap();
    assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
    for wanted in ["1 Interfaces: 1 guarded", "2 Services", "3 Sources", "4 Flows", "5 Findings", "6 Changes"]
    {
        assert!(all.contains(wanted), "{wanted}: {all}");
    }
    assert!(all.contains("10.77.0.3") && all.contains('█'), "{all}");

    // All about the row, and back.
    screen.types("/77.0.3").unwrap();
    screen.presses("Enter").unwrap();
    screen.shows("[filter: 77.0.3]").unwrap();
    screen.presses("Enter").unwrap();
    screen.shows("next packet").unwrap();
    screen.types("q").unwrap();
    // A ban is made after its question, and shows.
    screen.types("b").unwrap();
    screen.shows("ban 10.77.0.3, for: 10m_").unwrap();
    screen.presses("Enter").unwrap();
    screen.types("flood").unwrap();
    screen.presses("Enter").unwrap();
    screen.shows("why: flood? y/n").unwrap();
    let bans = || daemon.json(&["access", "list"]).unwrap()["banned"].as_array().unwrap().len();
    assert_eq!(bans(), 0);
    screen.types("y").unwrap();
    screen.shows("banned, over in").unwrap();
    assert_eq!(bans(), 1);
    // A limit through the pane of services, and undone in the pane of changes.
    screen.types("2l").unwrap();
    screen.shows("limit default, packets per source: 500/s_").unwrap();
    for _ in 0.."500/s".len() {
        screen.presses("BSpace").unwrap();
    }
    screen.types("2k/s").unwrap();
    screen.presses("Enter").unwrap();
    screen.presses("Enter").unwrap();
    screen.shows("mode: enforce? y/n").unwrap();
    screen.types("y").unwrap();
    screen.shows("undo it with `u`").unwrap();
    let limit = || daemon.json(&["limit", "list"]).unwrap()["limits"][0]["packets"]["rate"].clone();
    assert_eq!(limit(), "2k/s");
    screen.types("6u").unwrap();
    screen.shows("undo change").unwrap();
    screen.types("y").unwrap();
    eventually("the limit is as before", PATIENCE, || (limit() == "500/s").then_some(())).unwrap();

    // Another size, with more panes open; then help and the end.
    screen.resizes(120, 50).unwrap();
    screen.becomes("several tables", |text| text.contains("INTERFACE") && text.contains("SERVICE")).unwrap();
    screen.resizes(60, 20).unwrap();
    screen
        .becomes("a narrow screen", |text| {
            text.contains("6 Changes") && text.lines().all(|line| line.chars().count() <= 60)
        })
        .unwrap();
    screen.types("?").unwrap();
    screen.shows("go to a pane").unwrap();
    screen.types("G").unwrap();
    screen.shows("Nothing is said by colour alone").unwrap();
    screen.types("qq").unwrap();
    assert_clean(&screen, "the end");
}

#[test]
fn a_terminal_is_left_clean_by_signals_and_the_shell_gets_it_back() {
    let scene = or_skip!("top", scene());
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let screen = Screen::start(&daemon, (80, 24), &["LANG=C", "NO_COLOR=1"]).unwrap();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        screen.runs("sluice top --every 200ms").unwrap();
        let all = screen.shows("1 Interfaces").unwrap();
        assert!(all.is_ascii(), "{all}");
        // SGR 30 to 48 and 90 to 107 are colours.
        let attributes = screen.attributes().unwrap();
        let colors = ["\x1b[3", "\x1b[4", "\x1b[9"].iter().any(|start| {
            attributes.split(start).skip(1).any(|rest| {
                rest.starts_with(|c: char| c.is_ascii_digit())
                    && !rest.starts_with("9m")
                    && !rest.starts_with("9;")
            })
        });
        assert!(!colors, "{attributes:?}");
        let pid = eventually("top runs", PATIENCE, || process(&daemon)).unwrap();
        kill(pid, signal);
        assert_clean(&screen, &format!("after signal {signal}"));
    }
    // To the shell and back.
    screen.runs("sluice top").unwrap();
    screen.shows("1 Interfaces").unwrap();
    screen.presses("C-z").unwrap();
    screen.shows("ready>").unwrap();
    screen.runs("clear; fg").unwrap();
    screen.shows("1 Interfaces").unwrap();
    screen.presses("C-c").unwrap();
    assert_clean(&screen, "after Ctrl-C");
    // Piped, it prints pages.
    let said = daemon.tell(&["top", "--pages", "2", "--every", "100ms"]).unwrap();
    assert_eq!(said.matches("INTERFACE").count(), 2, "{said}");
}

/// Takes the screen and panics; the test below runs it on a terminal.
#[test]
#[ignore = "is the panic of another test"]
fn panics_on_a_screen() {
    let _screen = monitor::cli::top::terminal::Screen::take().unwrap();
    panic!("of a test");
}

#[test]
fn a_panic_leaves_the_terminal_clean_and_is_readable() {
    let scene = or_skip!("top", scene());
    let daemon = Daemon::new(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let screen = Screen::start(&daemon, (80, 24), &["LANG=C.UTF-8"]).unwrap();
    let own = std::env::current_exe().unwrap();
    let line = format!("{} --ignored --exact --nocapture top::panics_on_a_screen", own.display());
    screen.runs(&line).unwrap();
    screen.shows("of a test").unwrap();
    screen.shows("1 failed").unwrap();
    screen.runs("clear").unwrap();
    assert_clean(&screen, "after a panic");
}

#[test]
fn a_daemon_that_ends_is_said_and_found_again() {
    let scene = or_skip!("top", scene());
    let mut daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let screen = Screen::start(&daemon, (80, 24), &["LANG=C.UTF-8"]).unwrap();
    screen.runs("sluice top --every 200ms").unwrap();
    screen.shows("1 Interfaces").unwrap();
    daemon.terminate().unwrap();
    screen.shows("the daemon does not answer").unwrap();
    daemon.run().unwrap();
    screen.becomes("answers again", |text| !text.contains("does not answer")).unwrap();
    screen.types("q").unwrap();
    assert_clean(&screen, "the end");
    daemon.terminate().unwrap();
    screen.runs("sluice top; echo code $?").unwrap();
    screen.shows("code 3").unwrap();
}
