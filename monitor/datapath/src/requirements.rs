//! What the kernel and the process must have, and the one sentence that names what is missing.
//!
//! In: what `/proc` and `/sys` say, and an error of loading. Out: an error for the operator. The verifier's own text goes
//! into the debug log only.

use std::error::Error;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::ProgramError;

/// The oldest kernel that the programs are tested on.
pub const FLOOR: (u32, u32) = (6, 1);

/// The oldest kernel that has all that the programs ask for, the newest part of which this is.
const OLDEST: (u32, u32) = (5, 18);
const NEWEST_PART: &str = "multi-buffer XDP";

// Numbers of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Whether the kernel is built with SYN cookies, which programs make and check since Linux 6.0.
pub fn has_cookies() -> bool {
    Path::new("/proc/sys/net/ipv4/tcp_syncookies").exists()
        && Machine::here().version().is_none_or(|found| found >= (6, 0))
}

/// What is known of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// As in `6.1.0-50-amd64`.
    pub release: String,
    /// The effective capabilities, a bit each.
    pub capabilities: u64,
    /// The process is in a user namespace of its own, where capabilities do not reach the kernel.
    pub contained: bool,
    /// The active choice of the kernel's lockdown: `none`, `integrity` or `confidentiality`.
    pub lockdown: String,
    pub has_btf: bool,
}

impl Machine {
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let users = read("/proc/self/uid_map");
        Self {
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            capabilities: effective(&read("/proc/self/status")),
            contained: !users.is_empty() && users.split_whitespace().ne(["0", "0", "4294967295"]),
            lockdown: chosen(&read("/sys/kernel/security/lockdown")),
            has_btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or_default(),
        }
    }

    /// Major and minor number of the release, if it has them.
    pub fn version(&self) -> Option<(u32, u32)> {
        version(&self.release)
    }

    /// Refuses what is sure to make loading fail, before it is tried.
    pub fn check(&self) -> Result<()> {
        let release = &self.release;
        ensure!(
            self.version().is_none_or(|found| found >= OLDEST),
            "Linux {release} is too old: {NEWEST_PART} is from {}.{} on, and sluice is tested on {}.{} and newer",
            OLDEST.0,
            OLDEST.1,
            FLOOR.0,
            FLOOR.1
        );
        let missing = self.missing_capabilities();
        if missing.is_empty() {
            return Ok(());
        }
        let verb = if missing.len() == 1 { "is" } else { "are" };
        Err(io::Error::from_raw_os_error(libc::EPERM)).context(format!(
            "{} {verb} missing: loading needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (or root)",
            missing.join(" and ")
        ))
    }

    /// Which of the capabilities that loading needs are not there.
    pub fn missing_capabilities(&self) -> Vec<&'static str> {
        let has = |number: u32| self.capabilities >> number & 1 == 1;
        let wanted = [("CAP_BPF", CAP_BPF), ("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_PERFMON", CAP_PERFMON)];
        wanted
            .into_iter()
            // CAP_SYS_ADMIN holds what was split from it in Linux 5.8.
            .filter(|(_, number)| !has(*number) && (*number == CAP_NET_ADMIN || !has(CAP_SYS_ADMIN)))
            .map(|(name, _)| name)
            .collect()
    }

    /// Why the kernel said EPERM to a process with every capability that is asked for.
    fn denial(&self) -> String {
        if self.contained {
            return "this process is root in a user namespace only: start it in the machine's own".to_owned();
        }
        if self.lockdown == "confidentiality" {
            return "the kernel is locked down (lockdown=confidentiality), which keeps BPF programs out: boot with \
                    lockdown=integrity or without lockdown"
                .to_owned();
        }
        "a security module or a seccomp filter forbids bpf(2): permit it for sluice".to_owned()
    }

    /// What the verifier's refusal comes from, as far as the machine shows it.
    fn refusal(&self, program: &str) -> String {
        let release = &self.release;
        if self.version().is_some_and(|found| found < FLOOR) {
            return format!(
                "the verifier of Linux {release} does not take {program}: sluice is tested on {}.{} and newer",
                FLOOR.0, FLOOR.1
            );
        }
        if !self.has_btf {
            return format!(
                "the verifier of Linux {release} does not take {program}, and this kernel has no BTF \
                 (CONFIG_DEBUG_INFO_BTF, from 5.2 on)"
            );
        }
        format!(
            "the verifier of Linux {release} does not take {program}: the debug log has its reason, please report it"
        )
    }
}

/// The error for the operator; a verifier's text in it goes into the debug log instead.
pub fn explained<E: Error + Send + Sync + 'static>(error: E, program: &str) -> anyhow::Error {
    let machine = Machine::here();
    let (mut number, mut verifier) = (None, false);
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(ProgramError::LoadError { io_error, verifier_log }) = inner.downcast_ref() {
            tracing::debug!(program, log = %verifier_log, "the verifier's reason");
            (number, verifier) = (io_error.raw_os_error(), true);
        }
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            number = error.raw_os_error().or(number);
        }
        cause = inner.source();
    }
    let said = io::Error::from_raw_os_error(number.unwrap_or_default());
    match (number, verifier) {
        (Some(libc::EPERM), _) => {
            machine.check().err().unwrap_or_else(|| anyhow!(said).context(machine.denial()))
        }
        (Some(libc::EACCES | libc::EINVAL | libc::E2BIG), true) => {
            anyhow!(said).context(machine.refusal(program))
        }
        (Some(_), true) => anyhow!(said).context(format!("load {program}")),
        _ => anyhow::Error::new(error),
    }
}

/// `CapEff` of `/proc/self/status`.
fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or_default()
}

/// The word in brackets.
fn chosen(choices: &str) -> String {
    choices
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("none", |(word, _)| word)
        .to_owned()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::programs::ProgramError;
    use aya_obj::VerifierLog;

    use super::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, Machine, chosen, effective, explained};

    fn machine(release: &str, capabilities: &[u32]) -> Machine {
        Machine {
            release: release.to_owned(),
            capabilities: capabilities.iter().map(|number| 1 << number).sum(),
            has_btf: true,
            lockdown: "none".to_owned(),
            ..Machine::default()
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |release, capabilities: &[u32], expected: Option<&str>| {
            let lack = machine(release, capabilities).check().err().map(|error| format!("{error:#}"));
            match expected {
                None => assert_eq!(lack, None, "{release} {capabilities:?}"),
                Some(word) => assert!(lack.clone().is_some_and(|said| said.contains(word)), "{lack:?}"),
            }
        };
        let all = [CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON];
        check("6.1.0-50-amd64", &all, None);
        check("5.18.0", &all, None);
        check("6.1.0", &[CAP_SYS_ADMIN, CAP_NET_ADMIN], None);
        check("5.15.0-91-generic", &all, Some("multi-buffer XDP is from 5.18 on"));
        check("4.19.0", &all, Some("6.1 and newer"));
        check("6.1.0", &[CAP_BPF, CAP_NET_ADMIN], Some("CAP_PERFMON is missing"));
        check("6.1.0", &[CAP_SYS_ADMIN], Some("CAP_NET_ADMIN is missing"));
        check("6.1.0", &[], Some("CAP_BPF and CAP_NET_ADMIN and CAP_PERFMON are missing"));
    }

    #[test]
    fn a_denial_in_spite_of_capabilities_is_explained() {
        let denied = |change: fn(&mut Machine)| {
            let mut machine = machine("6.1.0", &[CAP_BPF]);
            change(&mut machine);
            machine.denial()
        };
        assert!(denied(|machine| machine.contained = true).contains("user namespace"));
        assert!(denied(|machine| machine.lockdown = "confidentiality".to_owned()).contains("lockdown"));
        assert!(denied(|_| ()).contains("security module"));
        assert!(Machine { has_btf: false, ..machine("6.5.0", &[]) }.refusal("x").contains("BTF"));
        assert!(machine("5.19.0", &[]).refusal("x").contains("6.1 and newer"));
    }

    #[test]
    fn the_verifiers_text_stays_out_of_the_error() {
        let error = ProgramError::LoadError {
            io_error: io::Error::from_raw_os_error(libc::EACCES),
            verifier_log: VerifierLog::new("R2 offset is outside of the packet\n".repeat(1000)),
        };
        let said = format!("{:#}", explained(error, "sluice_ingress"));
        assert!(said.contains("sluice_ingress") && said.lines().count() == 1 && said.len() < 300, "{said}");
    }

    #[test]
    fn releases_of_distributions_are_read() {
        for (release, wanted) in [
            ("6.1.0-44-amd64", Some((6, 1))),
            ("5.14.0-503.el9.x86_64", Some((5, 14))),
            ("6.12", Some((6, 12))),
            ("custom", None),
        ] {
            assert_eq!(machine(release, &[]).version(), wanted, "{release}");
        }
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000000c000001000\n"), 0xc0_0000_1000);
        assert_eq!(effective(""), 0);
        assert_eq!(chosen("none [integrity] confidentiality\n"), "integrity");
        assert_eq!(chosen(""), "none");
        assert!(!Machine::here().release.is_empty());
    }
}
