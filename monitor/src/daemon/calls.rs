//! The system calls that the process may make, by seccomp.
//!
//! In: nothing. Out: two filters over every thread. The first answers EPERM to uses that are never needed: other families
//! of sockets, loading programs, memory that can be written and executed, new processes. The second lists what a daemon
//! with files, sockets, threads and maps calls, and answers ENOSYS to the rest, so that a newer C library takes its older
//! way. Nothing is killed: a call that is refused is an error like any other.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Calls of every architecture.
const ALLOWED: &[i64] = &[
    // Files and directories.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_membarrier,
    // Sockets.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    // Memory and threads.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_prctl,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals of our own.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    // What it asks about itself and the machine.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_capget,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_times,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    // Maps and links.
    libc::SYS_bpf,
];

/// Older forms that only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_getdents,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getrlimit,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// Families of sockets: local, IPv4, IPv6, netlink.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// Commands of bpf(2) that bring new maps and code into the kernel: `MAP_CREATE`, `PROG_LOAD`, `RAW_TRACEPOINT_OPEN`,
/// `BTF_LOAD`, `TOKEN_CREATE`.
const LOADING: [u64; 5] = [0, 5, 17, 18, 36];
/// Puts characters into a terminal's input.
const TIOCSTI: u64 = 0x5412;

/// Filters every thread of the process, for good.
pub fn filter() -> Result<()> {
    for program in programs()? {
        seccompiler::apply_filter_all_threads(&program).context("filter the system calls")?;
    }
    Ok(())
}

/// In the order in which they are put in force: the second one no longer allows a third.
fn programs() -> Result<[BpfProgram; 2]> {
    let arch = std::env::consts::ARCH.try_into().context("filters are not made for this processor")?;
    let compiled = |rules, otherwise, then| -> Result<BpfProgram> {
        Ok(SeccompFilter::new(rules, otherwise, then, arch)?.try_into()?)
    };
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let allowed = ALLOWED.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    Ok([compiled(refused()?, SeccompAction::Allow, eperm)?, compiled(allowed, enosys, SeccompAction::Allow)?])
}

/// Uses of allowed calls that are refused; each call with rules of which one must fit.
fn refused() -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let when = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(anyhow::Error::from)
    };
    let one = |condition| SeccompRule::new(vec![condition]).map_err(anyhow::Error::from);
    let families = FAMILIES.iter().map(|family| when(0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs())));
    let loading = LOADING.iter().map(|command| one(when(0, SeccompCmpOp::Eq, *command)?));
    let bits = |argument, mask: libc::c_int, set: bool| {
        let mask = u64::from(mask.unsigned_abs());
        one(when(argument, SeccompCmpOp::MaskedEq(mask), if set { mask } else { 0 })?)
    };
    Ok([
        (libc::SYS_socket, vec![SeccompRule::new(families.collect::<Result<_>>()?)?]),
        (libc::SYS_bpf, loading.collect::<Result<_>>()?),
        (libc::SYS_mmap, vec![bits(2, libc::PROT_WRITE | libc::PROT_EXEC, true)?]),
        (libc::SYS_mprotect, vec![bits(2, libc::PROT_EXEC, true)?]),
        // Threads only.
        (libc::SYS_clone, vec![bits(0, libc::CLONE_THREAD, false)?]),
        (
            libc::SYS_prctl,
            vec![one(when(0, SeccompCmpOp::Eq, u64::from(libc::PR_SET_DUMPABLE.unsigned_abs()))?)?],
        ),
        (libc::SYS_ioctl, vec![one(when(1, SeccompCmpOp::Eq, TIOCSTI)?)?]),
    ]
    .into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use rustix::net::{AddressFamily, SocketType, socket};
    use rustix::process::DumpableBehavior;

    use super::*;

    #[test]
    fn files_sockets_and_threads_work_and_programs_other_sockets_and_new_processes_do_not() {
        // Only this thread and those that it starts are filtered.
        let filtered = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let place = tempfile::tempdir().unwrap();
            for program in programs().unwrap() {
                seccompiler::apply_filter(&program).unwrap();
            }
            let store = rusqlite::Connection::open(place.path().join("store")).unwrap();
            store.pragma_update(None, "journal_mode", "WAL").unwrap();
            store.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)").unwrap();
            fs::copy(place.path().join("store"), place.path().join("copy")).unwrap();
            assert!(fs::read_dir(place.path()).unwrap().count() >= 2);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let sender =
                std::thread::spawn(move || TcpStream::connect(address).unwrap().write_all(b"x").unwrap());
            let mut got = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
            sender.join().unwrap();
            assert_eq!(got, b"x");
            socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
            let packet = socket(AddressFamily::PACKET, SocketType::RAW, None);
            assert_eq!(packet.unwrap_err(), rustix::io::Errno::PERM);
            assert!(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).is_err());
            assert_eq!(rustix::process::chroot("/").unwrap_err(), rustix::io::Errno::NOSYS);
        });
        filtered.join().unwrap();
    }

    #[test]
    fn no_call_that_gives_power_is_allowed() {
        let dangerous = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_clone3,
            libc::SYS_kill,
            libc::SYS_setuid,
            libc::SYS_io_uring_setup,
            libc::SYS_perf_event_open,
            libc::SYS_init_module,
            libc::SYS_clock_settime,
            libc::SYS_process_vm_writev,
            libc::SYS_seccomp,
            libc::SYS_keyctl,
            libc::SYS_memfd_create,
        ];
        assert!(dangerous.iter().all(|call| !ALLOWED.contains(call) && !OLDER.contains(call)));
        let mut all: Vec<_> = ALLOWED.iter().chain(OLDER).collect();
        let listed = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), listed, "a call is listed twice");
    }
}
