//! Which processor a thread runs on, and how eagerly: so that what is measured does not wander.

use std::{fs, io, time::Duration};

/// Keeps a thread on one processor; 0 is the caller. On a machine with fewer processors it may run anywhere.
pub fn pin(thread: i32, processor: usize) -> io::Result<()> {
    if std::thread::available_parallelism()?.get() <= processor {
        return Ok(());
    }
    // SAFETY: a set is plain data, zero is an empty one, and the calls read it by the length that they are told.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of an ordinary task: how long it runs at a time, in nanoseconds.
    slice: u64,
    deadline: u64,
    period: u64,
}

/// Sets how eagerly a thread runs, and for how long at a time; 0 is the caller. What runs briefly is let in at once.
pub fn eager(thread: i32, nice: i32, slice: Duration) -> io::Result<()> {
    let size = u32::try_from(size_of::<Attributes>()).map_err(io::Error::other)?;
    let slice = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    let attributes = Attributes { size, nice, slice, ..Attributes::default() };
    // SAFETY: the kernel reads a structure of the size that stands in it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets a thread run before all ordinary ones, as interrupts do; the kernel leaves those a twentieth of the time.
pub fn first(thread: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter is read during the call.
    let result = unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A session of its own for this process, which the scheduler prefers to all others: what else the machine does then disturbs
/// less. Best effort.
pub fn prefer_this_session() {
    // SAFETY: a plain system call; it fails where this process leads a group already.
    unsafe { libc::setsid() };
    let _ = fs::write("/proc/self/autogroup", "-20");
}

/// Every thread of a process onto one processor.
pub fn pin_process(process: i32, processor: usize) -> io::Result<()> {
    threads(process)?.into_iter().try_for_each(|thread| pin(thread, processor))
}

/// How long all threads of a process that are there have run, in nanoseconds.
pub fn process_run_time(process: i32) -> io::Result<u64> {
    threads(process)?.into_iter().map(run_time).sum()
}

fn threads(process: i32) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir(format!("/proc/{process}/task"))?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// The kernel's threads whose name begins so.
pub fn kernel_threads(prefix: &str) -> Vec<i32> {
    let named = |process: &i32| {
        fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.starts_with(prefix))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(named).collect()
}

/// How long a thread has run, in nanoseconds.
pub fn run_time(thread: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    text.split(' ').next().and_then(|run| run.parse().ok()).ok_or_else(|| io::Error::other("no run time"))
}
