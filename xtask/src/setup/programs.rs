//! The programs that tests and checks call: real tools of the network, the lints, and cargo-deny.
//!
//! In: `PATH` and the folders only root has in it. Out: installed programs. A version is pinned only where its output
//! decides a check.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Apt, Item, Scope};
use crate::process::{cargo, find_program, privileged, run};

const CARGO_DENY_VERSION: &str = "0.20.2";

/// The program, Debian's package of it, and the least that needs it.
const TOOLS: &[(&str, &str, Scope)] = &[
    ("ip", "iproute2", Scope::Demo),
    ("busybox", "busybox-static", Scope::Test),
    ("bpftool", "bpftool", Scope::Test),
    ("chromedriver", "chromium-driver", Scope::Test),
    ("cpio", "cpio", Scope::Test),
    ("curl", "curl", Scope::Demo),
    ("debootstrap", "debootstrap", Scope::Test),
    ("dpkg-deb", "dpkg", Scope::Test),
    ("depmod", "kmod", Scope::Test),
    ("ethtool", "ethtool", Scope::Test),
    ("h2load", "nghttp2-client", Scope::Test),
    ("hping3", "hping3", Scope::Test),
    ("iperf3", "iperf3", Scope::Test),
    ("nft", "nftables", Scope::Test),
    ("nginx", "nginx-light", Scope::Test),
    ("nmap", "nmap", Scope::Test),
    ("openssl", "openssl", Scope::Test),
    ("ping", "iputils-ping", Scope::Demo),
    ("prometheus-alertmanager", "prometheus-alertmanager", Scope::Test),
    ("promtool", "prometheus", Scope::Test),
    ("rsyslogd", "rsyslog", Scope::Test),
    ("systemd-analyze", "systemd", Scope::Test),
    ("systemd-nspawn", "systemd-container", Scope::Test),
    ("qemu-system-x86_64", "qemu-system-x86", Scope::Test),
    ("tcpdump", "tcpdump", Scope::Test),
    ("tmux", "tmux", Scope::Test),
    ("tshark", "tshark", Scope::Test),
    ("lintian", "lintian", Scope::Package),
    ("rpm", "rpm", Scope::Package),
];

fn missing_tools(scope: Scope) -> Vec<(&'static str, &'static str)> {
    let wanted = TOOLS.iter().filter(|(_, _, needed)| *needed <= scope);
    wanted
        .filter(|(program, ..)| find_program(program).is_none())
        .map(|(program, package, _)| (*program, *package))
        .collect()
}

pub fn tools(scope: Scope) -> Item {
    let missing: Vec<&str> = missing_tools(scope).into_iter().map(|(program, _)| program).collect();
    let state = if missing.is_empty() {
        let wanted = TOOLS.iter().filter(|(_, _, needed)| *needed <= scope);
        Ok(wanted.map(|(program, ..)| *program).collect::<Vec<_>>().join(" "))
    } else {
        Err(missing.join(" "))
    };
    Item { name: "tools", state }
}

pub fn install_tools(apt: &mut Apt, scope: Scope) -> Result<()> {
    let mut packages: Vec<&str> = missing_tools(scope).into_iter().map(|(_, package)| package).collect();
    if packages.contains(&"rsyslog") {
        // Its TLS is a package of its own, without a program.
        packages.push("rsyslog-gnutls");
    }
    eprintln!("xtask: installing {}", packages.join(" "));
    apt.install(&packages)?;
    // A package for a test must not leave a server behind.
    for server in ["prometheus", "prometheus-alertmanager", "rsyslog"] {
        if packages.contains(&server) && Path::new("/run/systemd/system").exists() {
            run(privileged("systemctl", &[]).args(["disable", "--now", server]))?;
        }
    }
    Ok(())
}

/// rustfmt and clippy, as cargo sees them.
pub fn lints() -> Item {
    let missing: Vec<&str> = ["fmt", "clippy"].into_iter().filter(|name| version(name).is_none()).collect();
    let state = if missing.is_empty() { Ok("rustfmt clippy".to_owned()) } else { Err(missing.join(" ")) };
    Item { name: "lints", state }
}

pub fn install_lints() -> Result<()> {
    let by_hand =
        "`cargo fmt` and `cargo clippy` must work; with rustup: `rustup component add rustfmt clippy`";
    run(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"])).context(by_hand)
}

pub fn cargo_deny() -> Item {
    let state = match version("deny") {
        Some(version) if version.ends_with(CARGO_DENY_VERSION) => Ok(version),
        Some(version) => Err(format!("{version}, not {CARGO_DENY_VERSION}")),
        None => Err("not installed".to_owned()),
    };
    Item { name: "cargo-deny", state }
}

/// Unoptimised: it runs for a second and would take minutes more to build.
pub fn install_cargo_deny() -> Result<()> {
    eprintln!("xtask: building cargo-deny {CARGO_DENY_VERSION}, about two minutes");
    let mut install =
        cargo(["install", "cargo-deny", "--version", CARGO_DENY_VERSION, "--locked", "--force"]);
    run(install.args(["--no-default-features", "--debug"]))
}

/// What `cargo NAME --version` says, if it runs.
pub fn version(name: &str) -> Option<String> {
    let output = cargo([name, "--version"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
