//! `sluice capture` from outside: frames with what was decided of them, in a file that other tools read, within its bounds;
//! and nothing of it stays when it is killed.

use std::{path::Path, time::Duration};

use monitor_common::names::{LAYOUT, program};
use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE, Said},
        flood::Sources,
        network::{Process, eventually, run},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::Value;

use crate::insiders;

const RULES: &str = "
[default]
mode = \"off\"
[[service]]
name = \"trap\"
protocol = \"udp\"
ports = [9999]
mode = \"enforce\"
limit = { packets = \"100/s\", packets_burst = 50 }
[[service]]
name = \"watched\"
protocol = \"udp\"
ports = [9998]
mode = \"observe\"
limit = { packets = \"100/s\", packets_burst = 50 }
";

const DROPPED: [&str; 2] = ["service=\"trap\"", "verdict=\"drop\""];

/// Whether the programs capture, by the last word of their filter.
fn is_on(daemon: &Daemon) -> bool {
    let program =
        daemon.pins().join(format!("v{LAYOUT}/programs/{}", program::INGRESS)).display().to_string();
    let told = |arguments: &[&str]| -> Value {
        serde_json::from_str(&run("bpftool", &[&["-j"], arguments].concat()).unwrap()).unwrap()
    };
    let program = told(&["prog", "show", "pinned", &program]);
    let held = program["map_ids"].as_array().unwrap();
    let maps = told(&["map", "show"]);
    let is_ours = |map: &&Value| map["name"] == ".data.capture" && held.contains(&map["id"]);
    let id = maps.as_array().unwrap().iter().find(is_ours).unwrap()["id"].to_string();
    let dump = told(&["map", "dump", "id", &id]);
    let value = dump[0]["value"].as_array().unwrap();
    value[value.len() - 4..].iter().any(|byte| byte != "0x00")
}

/// Starts a capture and waits until it captures.
fn begin(daemon: &Daemon, arguments: &[&str]) -> Process {
    let whole = [&["-o", "json", "capture"], arguments].concat();
    let process = Process::start(&mut daemon.command(&whole).unwrap()).unwrap();
    eventually("it captures", PATIENCE, || is_on(daemon).then_some(())).unwrap();
    process
}

/// What it says at its end.
fn end(capture: Process) -> Value {
    let said = Said::of(&capture.wait(PATIENCE).unwrap()).ok().unwrap();
    serde_json::from_str(&said).unwrap()
}

/// The named fields of every frame of a file.
fn fields(file: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let file = file.display().to_string();
    let mut arguments = vec!["-r", &file, "-T", "fields"];
    for name in names {
        arguments.extend(["-e", name]);
    }
    let told = run("tshark", &arguments).unwrap();
    told.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn flood_for_a_moment(scene: &Scene) {
    scene.flood(2000, Duration::from_millis(500)).unwrap().wait().unwrap();
}

#[test]
fn dropped_frames_come_into_a_file_with_their_reasons_and_nothing_stays() {
    let scene = or_skip!("tap", insiders::scene(&["tshark", "bpftool"]));
    let mut daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    assert!(!is_on(&daemon));
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let text = |name: &str| file(name).display().to_string();

    // As many as the counters say, with any reader.
    let before = daemon.settles("sluice_packets_total", &DROPPED).unwrap();
    let only = ["--only", "dropped", "--service", "trap", "--rate", "100000", "--for", "4s", "--write"];
    let capture = begin(&daemon, &[&only[..], &[&text("all")]].concat());
    flood_for_a_moment(&scene);
    let summary = end(capture);
    assert!(!is_on(&daemon));
    let dropped = daemon.settles("sluice_packets_total", &DROPPED).unwrap() - before;
    assert!(dropped > 200.0 && summary["frames"].as_f64() == Some(dropped), "{dropped}: {summary}");
    let names = ["frame.interface_name", "frame.comment", "ip.src", "udp.dstport", "frame.len"];
    let frames = fields(&file("all"), &names);
    assert_eq!(Some(frames.len() as u64), summary["frames"].as_u64());
    let said = "dropped: packet_rate; service trap; interface eth0";
    let length = frames[0][4].clone();
    assert!(
        frames.iter().all(|frame| frame[..] == ["eth0", said, "10.77.0.3", "9999", &length]),
        "{frames:?}"
    );

    // Live into another program, with the other conditions; cut, of its whole length.
    let _flood = scene.flood_from(Sources::One, 9998, 1000, Duration::from_secs(20)).unwrap();
    let _other = scene.flood(1000, Duration::from_secs(20)).unwrap();
    let only =
        "--only would-drop --source 10.77.0.0/24 --reason packet_rate --interface eth0 --snap 20 -n 20";
    let live = format!(
        "exec \"$0\" capture {only} -w - | tshark -r - -T fields -e frame.comment -e frame.cap_len -e frame.len"
    );
    let binary = monitor_tests::harness::daemon::binary().unwrap().display().to_string();
    let mut command = scene.guarded.command("sh", &["-c", &live, &binary]);
    command.env("SLUICE_SOCKET", daemon.socket());
    let told = Said::of(
        &Process::start(command.stdout(std::process::Stdio::piped())).unwrap().wait(PATIENCE).unwrap(),
    );
    let wanted = format!("would drop: packet_rate; service watched; interface eth0\t20\t{length}");
    assert_eq!(told.out.lines().collect::<Vec<_>>(), [wanted.as_str(); 20], "{told:?}");

    // Bounds.
    let slow = end(begin(&daemon, &["--rate", "50", "--for", "2s", "--write", &text("slow")]));
    let figure = |name: &str| slow[name].as_u64().unwrap();
    assert!((50..=50 * 3 + 32).contains(&figure("frames")) && figure("over_rate") > 500, "{slow}");
    assert_eq!(figure("selected"), figure("frames") + figure("over_rate") + figure("lost"), "{slow}");
    let small = end(begin(&daemon, &["--size", "16 KiB", "--write", &text("small")]));
    assert_eq!(small["ended_by"], "size");
    assert!(std::fs::metadata(file("small")).unwrap().len() <= 16 << 10);
    let twice = daemon.say(&["capture", "--write", &text("small")]).unwrap();
    assert!(twice.code == 8 && twice.error.contains("there already"), "{twice:?}");
    let nobody = daemon.tell(&["capture", "--source", "10.77.0.2", "--for", "300ms"]).unwrap();
    assert_eq!(nobody, "");
    for (wrong, code, near) in [
        ("--service=tarp", 7, "`trap`"),
        ("--interface=eth1", 7, "`eth0`"),
        ("--reason=baned", 2, "`banned`"),
        ("--finding=99", 7, "99"),
    ] {
        let said = daemon.say(&["capture", wrong]).unwrap();
        assert!(said.code == code && said.error.contains(near), "{said:?}");
    }

    // Killed, it is off with the next frame; and another one may begin.
    let killed = begin(&daemon, &["--for", "60s", "--write", &text("killed")]);
    assert!(daemon.say(&["capture"]).unwrap().error.contains("another capture runs"));
    killed.signal(libc::SIGKILL);
    eventually("it is off", PATIENCE, || (!is_on(&daemon)).then_some(())).unwrap();

    // On the way out, and over a start of the daemon, whose programs are others.
    let capture =
        begin(&daemon, &["--reason", "contained", "--for", "15s", "-n", "5", "--write", &text("out")]);
    daemon.kill();
    daemon.run().unwrap();
    daemon.tell(&["contain", "10.77.0.1", "--packets", "1/s", "--for", "1m", "--yes"]).unwrap();
    // Those that a containment drops fail, and the shell goes on.
    let send = "for n in {1..50}; do echo x > /dev/udp/10.77.0.2/9; done";
    let _ = scene.guarded.run("bash", &["-c", send]);
    assert_eq!(end(capture)["frames"], 5);
    let frames = fields(&file("out"), &["frame.comment", "ip.src", "frame.packet_flags_direction"]);
    let out = "dropped: contained; service default; interface eth0; outbound";
    assert!(frames.iter().all(|frame| frame[0] == out && frame[1] == "10.77.0.1"), "{frames:?}");
    assert_eq!(daemon.terminate().unwrap(), 0, "{}", daemon.logged());
}
