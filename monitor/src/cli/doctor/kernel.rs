//! What the kernel and this process's privileges allow.

use rustix::param::clock_ticks_per_second;

use super::{Check, read};

/// The oldest kernel on which the programs are tested.
const FLOOR: (u32, u32) = (6, 1);
/// The first kernel with tcx; before it, egress uses clsact.
const TCX: (u32, u32) = (6, 6);
const BPF_FS: u64 = 0xcafe_4a11;

pub fn checks() -> Vec<Check> {
    vec![version(), btf(), bpffs(), jit(), lockdown(), capabilities(), tick()]
}

fn version() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match parsed(&release) {
        Some(version) if version >= TCX => Check::ok("kernel", format!("Linux {release}")),
        Some(version) if version >= FLOOR => {
            Check::ok("kernel", format!("Linux {release}: egress uses clsact, because tcx is part of Linux 6.6"))
        }
        Some(_) => Check::failed("kernel", format!("Linux {release} is older than 6.1, the oldest that is supported"))
            .mend("install a kernel of 6.1 or newer"),
        None => Check::unknown("kernel", format!("{release} is not a version that can be read")),
    }
}

/// `6.1.0-44-amd64` is 6.1.
fn parsed(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Check {
    if std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Check::ok("btf", "the kernel describes its types");
    }
    Check::failed("btf", "the kernel has no BTF (/sys/kernel/btf/vmlinux)")
        .mend("use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
}

fn bpffs() -> Check {
    let mounted = rustix::fs::statfs("/sys/fs/bpf").is_ok_and(|fs| fs.f_type.cast_unsigned() == BPF_FS);
    if mounted {
        return Check::ok("bpf filesystem", "mounted on /sys/fs/bpf");
    }
    Check::failed("bpf filesystem", "not mounted on /sys/fs/bpf, so nothing can outlive the daemon")
        .mend("mount -t bpf bpf /sys/fs/bpf")
}

fn jit() -> Check {
    match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("1" | "2") => Check::ok("jit", "programs run as machine code"),
        Some(_) => Check::warning("jit", "programs are interpreted, which costs ten times as much for each packet")
            .mend("sysctl -w net.core.bpf_jit_enable=1"),
        // Kernels without the interpreter do not offer the switch to all.
        None => Check::unknown("jit", "/proc/sys/net/core/bpf_jit_enable cannot be read"),
    }
}

fn lockdown() -> Check {
    let chosen = read("/sys/kernel/security/lockdown").unwrap_or_default();
    if chosen.contains("[confidentiality]") {
        return Check::failed("lockdown", "the kernel is locked down for confidentiality, which forbids BPF")
            .mend("boot with lockdown=integrity");
    }
    Check::ok("lockdown", "BPF is allowed")
}

fn capabilities() -> Check {
    const NEEDED: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38)];
    let status = read("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = held.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Check::unknown("capabilities", "/proc/self/status cannot be read");
    };
    let missing: Vec<_> = NEEDED.iter().filter(|(_, bit)| held & (1 << bit) == 0).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Check::ok("capabilities", "this user may load and attach programs");
    }
    Check::warning("capabilities", format!("this user lacks {}, which the daemon needs to start", missing.join(", ")))
        .mend("run as root, or grant these capabilities")
}

fn tick() -> Check {
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    let ms = resolution.tv_nsec / 1_000_000;
    let finding = format!("the kernel's clock ticks every {ms} ms; user space counts {} a second", clock_ticks_per_second());
    if ms > 10 { Check::warning("clock", finding) } else { Check::ok("clock", finding) }
}

#[cfg(test)]
mod tests {
    use super::{checks, parsed};
    use crate::cli::doctor::State;

    #[test]
    fn releases_of_distributions_are_read() {
        for (release, wanted) in [
            ("6.1.0-44-amd64", Some((6, 1))),
            ("5.14.0-503.el9.x86_64", Some((5, 14))),
            ("6.12", Some((6, 12))),
            ("custom", None),
        ] {
            assert_eq!(parsed(release), wanted, "{release}");
        }
    }

    #[test]
    fn every_failure_says_what_mends_it() {
        for check in checks().iter().filter(|check| check.state == State::Failed) {
            assert!(check.command.is_some(), "{check:?}");
        }
    }
}
