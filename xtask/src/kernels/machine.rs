//! One emulated machine: started in a network namespace of its own with a tap, followed on its serial console, and
//! flooded over the tap when it asks.
//!
//! In: a kernel and an initial file system. Out: the checks that the machine reported, and whether its counts are those of
//! the tap. It ends with a deadline, and the namespace goes whatever happens.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Outcome, archive};
use crate::process;

/// Emulation shares the machine with whatever else runs there.
const DEADLINE: Duration = Duration::from_mins(30);
/// What is in the queues of the tap has this long to reach the machine.
const DRAINED: Duration = Duration::from_mins(1);
const TAP: &str = "tap0";
/// Frames of one flood from each of two networks.
const FRAMES: u64 = 20_000;
/// Denied and permitted sources, each a few, so that both queues get some.
const DENIED: [&str; 4] = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"];
const PERMITTED: [&str; 4] = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"];
const MAC: &str = "52:54:00:00:88:02";

/// The namespace and the machine in it.
struct Machine {
    space: String,
    qemu: Option<Child>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(qemu) = &mut self.qemu {
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
        let _ = process::privileged("ip", &[]).args(["netns", "delete", &self.space]).status();
    }
}

impl Machine {
    fn new() -> Result<Self> {
        let machine = Self { space: format!("slk{:x}", std::process::id()), qemu: None };
        process::run(process::privileged("ip", &[]).args(["netns", "add", &machine.space]))?;
        for setting in ["all", "default"] {
            let path = format!("net.ipv6.conf.{setting}.disable_ipv6=1");
            machine.inside(&["sysctl", "--quiet", "--write", &path])?;
        }
        machine.inside(&["ip", "tuntap", "add", TAP, "mode", "tap", "multi_queue"])?;
        machine.inside(&["ip", "address", "add", "10.88.0.1/24", "dev", TAP])?;
        machine.inside(&["ip", "link", "set", TAP, "txqueuelen", "10000", "up"])?;
        machine.inside(&[
            "ip",
            "neighbour",
            "add",
            "10.88.0.2",
            "lladdr",
            MAC,
            "nud",
            "permanent",
            "dev",
            TAP,
        ])?;
        Ok(machine)
    }

    fn command(&self) -> Command {
        let mut command = process::privileged("ip", &[]);
        command.args(["netns", "exec", &self.space]);
        command
    }

    fn inside(&self, words: &[&str]) -> Result<()> {
        process::run(self.command().args(words).stdout(Stdio::null()))
    }

    /// Frames that the machine has taken from the tap.
    fn delivered(&self) -> Result<u64> {
        let path = format!("/sys/class/net/{TAP}/statistics/tx_packets");
        let output = self.command().args(["cat", &path]).output().context("read the counts of the tap")?;
        String::from_utf8_lossy(&output.stdout).trim().parse().context("the tap has no counts")
    }

    /// Sends from each source its part and gives what went through the tap.
    fn flood(&self, sources: &[&str]) -> Result<u64> {
        let before = self.delivered()?;
        let each = (FRAMES / sources.len() as u64).to_string();
        for source in sources {
            let mut hping = self.command();
            hping.args(["hping3", "--udp", "--destport", "9999", "--spoof", source, "--count", &each]);
            hping.args(["--interval", "u50", "--quiet", "--interface", TAP, "10.88.0.2"]);
            // It ends with a failure, because nobody answers.
            hping.stdout(Stdio::null()).stderr(Stdio::null()).status().context("start hping3")?;
        }
        let (deadline, mut seen) = (Instant::now() + DRAINED, before);
        loop {
            thread::sleep(Duration::from_secs(1));
            let now = self.delivered()?;
            if now == seen || Instant::now() > deadline {
                return Ok(now - before);
            }
            seen = now;
        }
    }
}

/// `told` are the words of the kernel's command line that the machine's script reads.
pub fn run(unpacked: &Path, image: &Path, told: &str) -> Result<Outcome> {
    let mut machine = Machine::new()?;
    let release = archive::only(&unpacked.join("lib/modules"), "")?;
    let release = release.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut qemu = machine.command();
    qemu.args(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"]);
    qemu.args(["-nographic", "-no-reboot", "-kernel"]);
    qemu.arg(unpacked.join("boot").join(format!("vmlinuz-{release}"))).arg("-initrd").arg(image);
    qemu.arg("-append").arg(format!("console=ttyS0 quiet panic=-1 {told}"));
    qemu.args(["-netdev", &format!("tap,id=n0,ifname={TAP},script=no,downscript=no,queues=2")]);
    qemu.args(["-device", &format!("virtio-net-pci,netdev=n0,mac={MAC},mq=on,vectors=6")]);
    qemu.args(["-netdev", "user,id=n1,restrict=on", "-device", "e1000,netdev=n1"]);
    eprintln!("+ {}", process::shown(&qemu));
    let mut child = qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start qemu")?;
    let console = child.stdout.take().context("read the console")?;
    let mut keyboard = child.stdin.take().context("write to the console")?;
    machine.qemu = Some(child);
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let checks = follow(&machine, &lines, &mut keyboard)?;
    Ok(Outcome { release, checks, seconds: 0 })
}

/// Reads the console to its end.
fn follow(
    machine: &Machine,
    lines: &mpsc::Receiver<String>,
    keyboard: &mut ChildStdin,
) -> Result<Vec<(String, bool)>> {
    let start = Instant::now();
    let mut checks = Vec::new();
    // What went through the tap so far: denied, permitted.
    let mut sent = [0, 0];
    let mut ended = false;
    loop {
        let left = DEADLINE.saturating_sub(start.elapsed());
        let line = match lines.recv_timeout(left) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                checks.push(("the machine's script came to its end".to_owned(), ended));
                return Ok(checks);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("the machine did not end within {} s", DEADLINE.as_secs())
            }
        };
        let line = line.trim();
        eprintln!("{:>5} s  {line}", start.elapsed().as_secs());
        if let Some(check) = line.strip_prefix("CHECK ") {
            if let Some((name, result)) = check.rsplit_once(' ') {
                checks.push((name.to_owned(), result == "ok"));
            }
        } else if line == "END" {
            ended = true;
        } else if line.starts_with("READY ") {
            for (place, sources) in [DENIED, PERMITTED].iter().enumerate() {
                sent[place] += machine.flood(sources)?;
            }
            // The machine waits for a line: all of the flood has reached it.
            keyboard.write_all(b"\n").and_then(|()| keyboard.flush()).context("answer the machine")?;
        } else if let Some(counted) = line.strip_prefix("COUNT ") {
            let expected = format!("{} {}", sent[0], sent[1]);
            let (number, counted) = counted.split_once(' ').unwrap_or_default();
            eprintln!("  flood {number}: sent {expected}, dropped and passed {counted}");
            checks.push((format!("flood {number} is counted exactly"), sent[0] > 0 && counted == expected));
        }
    }
}
