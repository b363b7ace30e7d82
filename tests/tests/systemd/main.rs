//! The package on a host of its own, under a real systemd: installed, started, reloaded, killed, hung, upgraded, rebooted,
//! removed and purged, with the unit and the configuration as they are shipped.

mod service;

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use monitor_tests::{
    harness::{
        host::{Host, Prepared},
        network::Network,
    },
    or_skip,
};
use service::Service;

/// From the installation to a guarded interface.
const OBSERVING_WITHIN: Duration = Duration::from_mins(1);

/// The exposure that `systemd-analyze security` may give the unit, in tenths.
const MOST_EXPOSED: u32 = 16;

/// The versions of the two packages, in the order they are installed.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.1"];

type Step = (&'static str, fn(&mut Host) -> Result<()>);

const STEPS: [Step; 13] = [
    ("install: observing on the default route's interface, without an edit", installs),
    ("the daemon is user sluice and holds no capability", holds_nothing),
    ("exposure of the unit", is_not_exposed),
    ("reload, and a reload of a file that is wrong", reloads),
    ("warnings have their priority in the journal", logs_priorities),
    ("kill -9: started again, protected meanwhile", survives_kill),
    ("the watchdog ends a daemon that hangs", survives_a_hang),
    ("stop and start: limits stay in force", stops_and_starts),
    ("upgrade: configuration and protection stay", upgrades),
    ("reboot: started before the network", reboots),
    ("remove: detached, nothing asked, state kept", removes),
    ("install again: what was saved applies", returns),
    ("purge: nothing is left", purges),
];

#[test]
fn the_package_lives_under_systemd() {
    let prepared = or_skip!("the_package_lives_under_systemd", Prepared::find());
    let mut network = Network::new().unwrap();
    let (space, peer) = (network.space().unwrap(), network.space().unwrap());
    let ends: [(&str, &[&str]); 2] = [("eth0", &["10.88.0.1/24"]), ("eth0", &["10.88.0.2/24"])];
    network.link(&space, &peer, ends).unwrap();
    space.ip(&["route", "add", "default", "via", "10.88.0.2"]).unwrap();
    let mut host = Host::boot(&prepared, &space).unwrap();
    let version = host.ok("systemctl --version | head -n 1").unwrap();
    let mut report = format!("{version}\n");
    for (name, step) in STEPS {
        let start = Instant::now();
        if let Err(error) = step(&mut host) {
            let log = host.ok("journalctl --no-pager -n 60 -u sluice -u sluice-pins").unwrap_or_default();
            panic!("{name}: {error:#}\n{log}");
        }
        let row = format!("| {name} | {:.1} s |\n", start.elapsed().as_secs_f64());
        report.push_str(&row);
    }
    // Past libtest, which hides what a passing test prints.
    let _ = std::io::stderr().write_all(report.as_bytes());
    if let Some(file) = std::env::var_os("SLUICE_SYSTEMD_REPORT") {
        fs::write(Path::new(&file), report).unwrap();
    }
}

fn install(host: &Host, version: &str) -> Result<()> {
    let line =
        format!("DEBIAN_FRONTEND=noninteractive apt-get install --yes /packages/sluice_{version}_amd64.deb");
    host.ok(&line).map(drop)
}

fn installs(host: &mut Host) -> Result<()> {
    let start = Instant::now();
    install(host, VERSIONS[0])?;
    host.until("eth0 is guarded", OBSERVING_WITHIN, |host| host.guards("eth0"))?;
    ensure!(start.elapsed() < OBSERVING_WITHIN, "that took {:?}", start.elapsed());
    ensure!(host.enabled() && host.active(), "the unit is not enabled and active");
    let limits = host.ok("sluice limit list")?;
    ensure!(limits.contains("observe") && !limits.contains("enforce"), "it does not observe: {limits}");
    // What the next steps must find again: one for now, one for good.
    host.ok("sluice access ban 203.0.113.7 --for 2h && sluice access deny 203.0.113.8 --save")?;
    Ok(())
}

fn holds_nothing(host: &mut Host) -> Result<()> {
    let status = host.ok(&format!("cat /proc/{}/status", host.main_pid()?))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let user = host.ok("id --user sluice")?;
    ensure!(user != "0" && field("Uid:").iter().all(|id| *id == user), "its user is {:?}", field("Uid:"));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        ensure!(field(set) == ["0000000000000000"], "{set} {:?}", field(set));
    }
    // CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39.
    ensure!(field("CapBnd:") == ["000000c000001000"], "it may have more than three: {:?}", field("CapBnd:"));
    let owner = host.ok("stat --format='%U %a' /sys/fs/bpf/sluice /var/lib/sluice")?;
    ensure!(owner == "sluice 700\nsluice 700", "the folders are {owner:?}");
    Ok(())
}

fn is_not_exposed(host: &mut Host) -> Result<()> {
    for unit in ["sluice", "sluice-pins"] {
        let file = format!("/usr/lib/systemd/system/{unit}.service");
        let said = host.ok(&format!("systemd-analyze security --no-pager --offline=true {file}"))?;
        let score =
            said.rsplit("service: ").next().and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let tenths = score.replace('.', "").parse::<u32>()?;
        ensure!(tenths <= MOST_EXPOSED + u32::from(unit != "sluice") * 2, "{unit} scores {score}");
    }
    Ok(())
}

fn reloads(host: &mut Host) -> Result<()> {
    host.ok("printf '\n[[service]]\nname = \"mark\"\nprotocol = \"tcp\"\nports = [4711]\n' >> /etc/sluice/sluice.toml")?;
    host.ok("systemctl reload sluice")?;
    ensure!(host.ok("sluice limit list")?.contains("mark"), "the new service is not there");
    host.ok("cp /etc/sluice/sluice.toml /tmp/good && echo 'nonsense = 1' >> /etc/sluice/sluice.toml")?;
    ensure!(!host.succeeds("systemctl reload sluice"), "a wrong file was taken");
    host.ok("cp /tmp/good /etc/sluice/sluice.toml")?;
    ensure!(host.active() && host.ok("sluice limit list")?.contains("mark"), "the rules before are gone");
    host.ok("systemctl reload sluice").map(drop)
}

/// The step before gave the daemon something to warn of.
fn logs_priorities(host: &mut Host) -> Result<()> {
    let lines = |priority: &str| {
        host.ok(&format!("journalctl -u sluice -o cat --no-pager _COMM=sluice -p {priority}"))
    };
    let (warnings, all) = (lines("warning")?, lines("info")?);
    ensure!(warnings.contains("nonsense") && !warnings.contains("INFO"), "warnings are {warnings:?}");
    ensure!(all.contains("ready") && !all.contains("<6>"), "everything is {all:?}");
    Ok(())
}

fn survives_kill(host: &mut Host) -> Result<()> {
    let before = host.main_pid()?;
    let watch = host.watch_program()?;
    host.ok(&format!("kill -KILL {before}"))?;
    host.until("another daemon runs", Duration::from_secs(30), |host| {
        host.active() && host.main_pid().is_ok_and(|now| now != before && now != "0")
    })?;
    host.until("it guards", OBSERVING_WITHIN, |host| host.guards("eth0"))?;
    host.never_bare(watch)?;
    host.bans("203.0.113.7")
}

fn survives_a_hang(host: &mut Host) -> Result<()> {
    // The unit's own times would take three quarters of a minute.
    host.ok(
        "mkdir -p /run/systemd/system/sluice.service.d && \
         printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n' > /run/systemd/system/sluice.service.d/hang.conf && \
         systemctl daemon-reload && systemctl restart sluice",
    )?;
    // It tells the watchdog that it lives, for longer than the watchdog waits.
    let before = host.main_pid()?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(host.main_pid()? == before && host.active(), "the watchdog ended a daemon that is well");
    host.ok(&format!("kill -STOP {before}"))?;
    host.until("another daemon runs", Duration::from_secs(40), |host| {
        host.active() && host.main_pid().is_ok_and(|now| now != before && now != "0")
    })?;
    let log = host.ok("journalctl -u sluice --no-pager -o cat")?;
    ensure!(log.contains("Watchdog timeout"), "it was not the watchdog");
    host.ok(
        "rm -r /run/systemd/system/sluice.service.d && systemctl daemon-reload && systemctl restart sluice",
    )?;
    host.bans("203.0.113.7")
}

fn stops_and_starts(host: &mut Host) -> Result<()> {
    let watch = host.watch_program()?;
    host.ok("systemctl stop sluice")?;
    ensure!(!host.active() && host.attached(), "a stop must leave the program attached");
    host.ok("systemctl start sluice")?;
    host.until("it guards", OBSERVING_WITHIN, |host| host.guards("eth0"))?;
    host.never_bare(watch)?;
    host.bans("203.0.113.7")
}

fn upgrades(host: &mut Host) -> Result<()> {
    let before = host.main_pid()?;
    let watch = host.watch_program()?;
    install(host, VERSIONS[1])?;
    host.until("the new daemon guards", OBSERVING_WITHIN, |host| {
        host.main_pid().is_ok_and(|now| now != before) && host.guards("eth0")
    })?;
    host.never_bare(watch)?;
    let installed = host.ok("dpkg-query --show --showformat='${Version}' sluice")?;
    ensure!(installed == VERSIONS[1], "{installed} is installed");
    ensure!(host.ok("sluice limit list")?.contains("mark"), "the operator's configuration is gone");
    host.bans("203.0.113.7")?;
    host.bans("203.0.113.8")
}

fn reboots(host: &mut Host) -> Result<()> {
    host.reboot()?;
    host.until("it guards after a boot", OBSERVING_WITHIN, |host| host.guards("eth0"))?;
    let at = |unit: &str| -> Result<u64> {
        Ok(host.ok(&format!("systemctl show --value -p ActiveEnterTimestampMonotonic {unit}"))?.parse()?)
    };
    let (daemon, network) = (at("sluice.service")?, at("network-pre.target")?);
    ensure!(daemon > 0 && daemon <= network, "the daemon was up at {daemon} µs, the network at {network}");
    host.bans("203.0.113.8")
}

fn removes(host: &mut Host) -> Result<()> {
    host.ok("apt-get remove --yes sluice")?;
    ensure!(!host.attached(), "the program is still attached");
    ensure!(!host.succeeds("test -e /sys/fs/bpf/sluice"), "pins are left");
    host.ok("test -s /var/lib/sluice/sluice.db && test -s /etc/sluice/sluice.toml").map(drop)
}

fn returns(host: &mut Host) -> Result<()> {
    install(host, VERSIONS[1])?;
    host.until("it guards", OBSERVING_WITHIN, |host| host.guards("eth0"))?;
    ensure!(host.ok("sluice limit list")?.contains("mark"), "the operator's configuration is gone");
    host.bans("203.0.113.8")
}

fn purges(host: &mut Host) -> Result<()> {
    // Nobody answers at the socket: what is in the kernel is removed all the same.
    host.ok("systemctl stop sluice && apt-get purge --yes sluice")?;
    ensure!(!host.attached(), "the program is still attached");
    let left = "find / -xdev -name '*sluice*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/packages/*' \
                -not -path '/usr/share/doc/*' -not -path '/var/cache/*' -not -path '/var/lib/dpkg/*'";
    let left = host.ok(left)?;
    ensure!(left.is_empty(), "left: {left}");
    ensure!(!host.succeeds("systemctl cat sluice.service 2>/dev/null"), "the unit is left");
    ensure!(host.ok("ls /sys/fs/bpf | grep -v debug || true")?.is_empty(), "pins are left");
    Ok(())
}
