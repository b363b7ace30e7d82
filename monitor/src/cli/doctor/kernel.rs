//! What the kernel and this process's privileges allow.

use rustix::param::clock_ticks_per_second;

use datapath::{FLOOR, Machine};

use super::{Check, read};

/// The first kernel with tcx; before it, egress uses clsact.
const TCX: (u32, u32) = (6, 6);
const BPF_FS: u64 = 0xcafe_4a11;

pub fn checks() -> Vec<Check> {
    let machine = Machine::here();
    vec![
        version(&machine),
        btf(&machine),
        bpffs(),
        jit(),
        lockdown(&machine),
        capabilities(&machine),
        memlock(&machine),
        tick(),
    ]
}

fn version(machine: &Machine) -> Check {
    let release = &machine.release;
    match machine.version() {
        Some(version) if version >= TCX => Check::ok("kernel", format!("Linux {release}")),
        Some(version) if version >= FLOOR => {
            Check::ok("kernel", format!("Linux {release}: egress uses clsact, because tcx is part of Linux 6.6"))
        }
        Some(_) => Check::failed("kernel", format!("Linux {release} is older than 6.1, the oldest that is supported"))
            .mend("install a kernel of 6.1 or newer"),
        None => Check::unknown("kernel", format!("{release} is not a version that can be read")),
    }
}

fn btf(machine: &Machine) -> Check {
    if machine.has_btf {
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

fn lockdown(machine: &Machine) -> Check {
    if machine.lockdown == "confidentiality" {
        return Check::failed("lockdown", "the kernel is locked down for confidentiality, which forbids BPF")
            .mend("boot with lockdown=integrity");
    }
    Check::ok("lockdown", "BPF is allowed")
}

fn capabilities(machine: &Machine) -> Check {
    let missing = machine.missing_capabilities();
    if missing.is_empty() {
        return Check::ok("capabilities", "this user may load and attach programs");
    }
    Check::warning("capabilities", format!("this user lacks {}, which the daemon needs to start", missing.join(", ")))
        .mend("run as root, or grant these capabilities")
}

/// Before Linux 5.11 maps counted against the limit of locked memory.
fn memlock(machine: &Machine) -> Check {
    if machine.version().is_some_and(|version| version >= (5, 11)) {
        return Check::ok("memlock", "maps are charged to the memory control group, not to the limit of locked memory");
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    match limit {
        None => Check::ok("memlock", "no limit of locked memory"),
        Some(bytes) => Check::warning("memlock", format!("locked memory is limited to {bytes} bytes, and maps count against it"))
            .mend("ulimit -l unlimited"),
    }
}

fn tick() -> Check {
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    let ms = resolution.tv_nsec / 1_000_000;
    let finding = format!("the kernel's clock ticks every {ms} ms; user space counts {} a second", clock_ticks_per_second());
    if ms > 10 { Check::warning("clock", finding) } else { Check::ok("clock", finding) }
}

#[cfg(test)]
mod tests {
    use super::checks;
    use crate::cli::doctor::State;

    #[test]
    fn every_failure_says_what_mends_it() {
        for check in checks().iter().filter(|check| check.state == State::Failed) {
            assert!(check.command.is_some(), "{check:?}");
        }
    }
}
