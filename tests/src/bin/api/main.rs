//! `cargo xtask api`: tries the control API of a running daemon, with traffic, with a tool that reads only its description.
//!
//! In: the tool's command line; what it needs to be called with is added. Out: its exit status. The daemon guards a
//! namespace of its own; the tool runs in another one, where a relay on its loopback leads to the daemon's socket.

mod relay;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use monitor_tests::harness::{
    daemon::{self, Daemon},
    network::Process,
    scene::{INTERFACE, Over, Scene},
};
use relay::Relay;

/// The whole run, after which the tool is ended.
const LONGEST: Duration = Duration::from_mins(10);

/// How long packets come while it runs.
const TRAFFIC: Duration = Duration::from_mins(1);

const RULES: &str = r#"
[access]
inside = ["10.77.0.0/24", "fd77::/64"]

[tuning]
mode = "propose"

[[service]]
name = "web"
protocol = "tcp"
ports = [80]
mode = "observe"
limit = { packets = "2k/s" }

[[service]]
name = "names"
protocol = "udp"
ports = [53]
mode = "observe"
limit = { packets = "1k/s" }
"#;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    daemon::possible()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((tool, rest)) = arguments.split_first() else { bail!("name the tool and its arguments") };
    let scene = Scene::new().context("make the namespaces")?;
    scene.warm_up(Over::Ipv4)?;
    let guard = Daemon::start(&scene.guarded, &[INTERFACE], RULES)?;
    let flood = scene.flood(500, TRAFFIC)?;
    // Many ports of one host: a finding for the answers about findings.
    scene.attacker.run("nmap", &["-n", "-Pn", "--max-retries", "0", "-p", "1-200", "10.77.0.1"])?;
    let relay = Relay::start(&scene.client, guard.socket())?;
    let url = format!("http://{}", relay.address());
    let mut words: Vec<&str> = rest.iter().map(String::as_str).collect();
    let (description, base) = (format!("{url}{}", api::openapi::PATH), format!("--url={url}"));
    words.extend([description.as_str(), base.as_str()]);
    let mut command = scene.client.command(tool, &words);
    command.stdout(std::process::Stdio::inherit()).stderr(std::process::Stdio::inherit());
    let output = Process::start(&mut command).context("start the tool")?.wait(LONGEST)?;
    flood.stop()?;
    println!("requests relayed: {}", relay.connections());
    let status = guard.json(&["status"]).context("the daemon after the run")?;
    println!("the daemon still answers, up since {}", status["started"]);
    if let Some(line) = guard.logged().lines().find(|line| line.contains("panicked")) {
        bail!("the daemon panicked: {line}");
    }
    if !output.status.success() {
        bail!("the tool found something ({})", output.status);
    }
    Ok(())
}
