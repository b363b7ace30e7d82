//! Mistakes that people make at every command, against a running daemon: the answers are kept beside this file, word for
//! word, and none of them changes anything.
//!
//! A line of `mistakes.txt` that begins with `$ sluice` is typed; below it stand what is printed and the exit code. `SLUICE_WRITE_DOCS=1`
//! writes the file again from what the commands say now.

use std::{fs, path::Path};

use anyhow::Result;
use monitor_tests::{
    harness::{
        daemon::{self, Daemon},
        network::{Network, Space},
        scene::INTERFACE,
    },
    or_skip,
};

const KEPT: &str = "tests/behaviour/mistakes.txt";
/// Stands in the kept lines for the test's own directory.
const PLACE: &str = "DIR";

const RULES: &str = "[access]\ninside = [\"10.77.0.0/24\"]\n\
    [[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [8080]\nmode = \"enforce\"\n\
    limit = { packets = \"200/s\", packets_burst = 100, connections = \"5/s\" }\n\
    [[service]]\nname = \"dns\"\nprotocol = \"udp\"\nports = [53]\nmode = \"observe\"\nlimit = { packets = \"50/s\" }\n";

fn guarded() -> Result<(Network, Space)> {
    daemon::possible()?;
    let mut network = Network::new()?;
    let (guarded, other) = (network.space()?, network.space()?);
    network.link(&guarded, &other, [(INTERFACE, &["10.77.0.1/24"]), (INTERFACE, &["10.77.0.2/24"])])?;
    Ok((network, guarded))
}

/// The typed line, what was printed, and the exit code.
fn type_line(daemon: &Daemon, place: &Path, line: &str) -> String {
    let here = place.display().to_string();
    let typed = line.replace(PLACE, &here);
    let words: Vec<_> = typed.split_whitespace().skip(2).collect();
    let mut command = daemon.command(&words).unwrap();
    // Wide enough that no word is broken; no terminal, no colour.
    command.env("COLUMNS", "200").env("NO_COLOR", "1").stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    let printed = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    let code = output.status.code().unwrap_or(-1);
    format!("{line}\n{}\n[{code}]\n", printed.replace(&here, PLACE).trim_end())
}

#[test]
fn what_people_mistype_is_answered_with_what_is_wrong_and_changes_nothing() {
    let (_network, space) = or_skip!("mistakes", guarded());
    let daemon = Daemon::start(&space, &[INTERFACE], RULES).unwrap();
    let place = daemon.config().parent().unwrap().to_owned();
    fs::write(place.join("words.txt"), "no prefix\nat all\n").unwrap();
    let kept = fs::read_to_string(KEPT).unwrap();
    let lines: Vec<_> = kept.lines().filter(|line| line.starts_with("$ sluice")).collect();
    assert!(lines.len() > 100, "only {} mistakes", lines.len());

    let said: Vec<_> = lines.iter().map(|line| type_line(&daemon, &place, line)).collect();
    let history = daemon.json(&["history"]).unwrap();
    assert_eq!(
        history["changes"].as_array().map(Vec::len),
        Some(0),
        "a mistake changed something: {history:#}"
    );
    let now = said.join("\n");
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        fs::write(KEPT, now).unwrap();
        return;
    }
    let before: Vec<_> = kept.split("\n\n$ ").collect();
    for (said, before) in now.split("\n\n$ ").zip(&before) {
        assert_eq!(said.trim_end(), before.trim_end(), "SLUICE_WRITE_DOCS=1 writes {KEPT} again");
    }
    assert_eq!(now.trim_end(), kept.trim_end());
}
