//! The service on a host, as its operator sees it: guarded interfaces, bans, its process, its state in systemd.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use monitor_tests::harness::{host::Host, network::eventually};

/// Prints a line whenever the interface has no program, until a file appears.
const WATCH: &str = "rm -f /run/enough; while [ ! -e /run/enough ]; do \
    ip -details link show eth0 | grep -q 'prog/xdp' || echo bare; sleep 0.02; done";

pub trait Service {
    /// Waits until `ready`, for at most `limit`.
    fn until(&self, what: &str, limit: Duration, ready: impl FnMut(&Host) -> bool) -> Result<()>;
    fn active(&self) -> bool;
    fn enabled(&self) -> bool;
    fn main_pid(&self) -> Result<String>;
    /// The daemon answers, and lists this interface as guarded.
    fn guards(&self, interface: &str) -> bool;
    /// A program is on the interface, whoever runs.
    fn attached(&self) -> bool;
    /// This address is banned or denied.
    fn bans(&self, address: &str) -> Result<()>;
    /// Looks at the interface again and again from now on.
    fn watch_program(&self) -> Result<Child>;
    /// Ends the watch: the interface had a program each time.
    fn never_bare(&self, watch: Child) -> Result<()>;
}

impl Service for Host {
    fn until(&self, what: &str, limit: Duration, mut ready: impl FnMut(&Host) -> bool) -> Result<()> {
        eventually(what, limit, || ready(self).then_some(()))
    }

    fn active(&self) -> bool {
        self.succeeds("systemctl is-active --quiet sluice")
    }

    fn enabled(&self) -> bool {
        self.succeeds("systemctl is-enabled --quiet sluice")
    }

    fn main_pid(&self) -> Result<String> {
        self.ok("systemctl show --value -p MainPID sluice")
    }

    fn guards(&self, interface: &str) -> bool {
        let Ok(status) = self.ok("sluice status -o json") else { return false };
        let Ok(status) = serde_json::from_str::<serde_json::Value>(&status) else { return false };
        let guarded = status["interfaces"].as_array().into_iter().flatten();
        guarded.filter(|one| one["name"] == interface).count() == 1 && self.attached()
    }

    fn attached(&self) -> bool {
        self.succeeds("ip -details link show eth0 | grep -q 'prog/xdp'")
    }

    fn bans(&self, address: &str) -> Result<()> {
        let list = self.ok("sluice access list")?;
        ensure!(list.contains(address), "{address} is forgotten: {list}");
        Ok(())
    }

    fn watch_program(&self) -> Result<Child> {
        ensure!(self.attached(), "there is no program to watch");
        let mut command = self.command("sh", &["-c", WATCH]);
        command.stdout(Stdio::piped()).spawn().context("start to watch the interface")
    }

    fn never_bare(&self, watch: Child) -> Result<()> {
        self.ok("touch /run/enough")?;
        let output = watch.wait_with_output().context("hear the watch")?;
        ensure!(output.stdout.is_empty(), "the interface was bare {} times", output.stdout.len() / 5);
        Ok(())
    }
}
