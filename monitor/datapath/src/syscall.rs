//! The bpf(2) commands that aya has no call for, or hides a fallback behind: batches, links, test runs, pins.
//!
//! In: descriptors and byte slices. Out: errors that name the command. Nothing here knows what a map means. The layouts
//! are those of `union bpf_attr` in the kernel's `uapi/linux/bpf.h`; the kernel takes shorter forms than its own.

pub mod held;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A bpf(2) command that failed.
#[derive(Debug)]
pub struct SyscallError {
    pub command: Command,
    pub error: io::Error,
}

impl SyscallError {
    /// Whether the kernel answered with this error number.
    pub fn is(&self, number: i32) -> bool {
        self.error.raw_os_error() == Some(number)
    }
}

impl std::fmt::Display for SyscallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BPF_{:?}: {}", self.command, self.error)
    }
}

impl std::error::Error for SyscallError {}

/// The commands in use, by the kernel's numbers and names.
#[expect(non_camel_case_types, reason = "the kernel's own names, as strace prints them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Command {
    MAP_LOOKUP_ELEM = 1,
    MAP_UPDATE_ELEM = 2,
    MAP_DELETE_ELEM = 3,
    OBJ_PIN = 6,
    OBJ_GET = 7,
    PROG_TEST_RUN = 10,
    PROG_GET_FD_BY_ID = 13,
    MAP_GET_FD_BY_ID = 14,
    OBJ_GET_INFO_BY_FD = 15,
    MAP_LOOKUP_BATCH = 24,
    MAP_UPDATE_BATCH = 26,
    MAP_DELETE_BATCH = 27,
    LINK_CREATE = 28,
    LINK_UPDATE = 29,
    LINK_DETACH = 34,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Info {
    fd: u32,
    length: u32,
    buffer: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    expected_revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
#[derive(Debug, Default)]
struct Run {
    program: u32,
    verdict: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// Runs a command. `attributes` must be the `#[repr(C)]` form that the command expects.
fn bpf<T>(command: Command, attributes: &mut T) -> Result<i64, SyscallError> {
    // SAFETY: the attributes are an initialised repr(C) value of the given size; pointers inside it were made from slices that
    // outlive the call and whose sizes the callers below check against what the kernel reads or writes.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as i32, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if result < 0 { Err(SyscallError { command, error: io::Error::last_os_error() }) } else { Ok(result) }
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as u64
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Takes ownership of a descriptor that a command returned.
fn owned(result: i64, command: Command) -> Result<OwnedFd, SyscallError> {
    let fd = RawFd::try_from(result).map_err(|_| SyscallError {
        command,
        error: io::Error::other("the kernel returned no descriptor"),
    })?;
    // SAFETY: the kernel has just created this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads one element. `value` must have the map's value size (per-CPU maps: times the possible CPUs, rounded up to 8).
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> Result<bool, SyscallError> {
    let mut attributes =
        Element { map: number(map), key: address(key), value: address_mut(value), ..Element::default() };
    match bpf(Command::MAP_LOOKUP_ELEM, &mut attributes) {
        Ok(_) => Ok(true),
        Err(error) if error.is(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes one element, whether it exists or not.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> Result<(), SyscallError> {
    let mut attributes =
        Element { map: number(map), key: address(key), value: address(value), ..Element::default() };
    bpf(Command::MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Removes one element; false when there was none.
pub fn delete(map: BorrowedFd<'_>, key: &[u8]) -> Result<bool, SyscallError> {
    let mut attributes = Element { map: number(map), key: address(key), ..Element::default() };
    match bpf(Command::MAP_DELETE_ELEM, &mut attributes) {
        Ok(_) => Ok(true),
        Err(error) if error.is(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// One step of a walk: how many elements were read, and whether the walk is over.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub count: u32,
    pub last: bool,
}

/// Reads up to `count` elements after `cursor` (`None`: from the start) and moves the cursor.
///
/// ENOSPC means that `count` is smaller than one bucket of a hash.
pub fn lookup_batch(
    map: BorrowedFd<'_>,
    cursor: &mut Option<[u8; 64]>,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> Result<Step, SyscallError> {
    let mut next = [0_u8; 64];
    let mut attributes = Batch {
        from: cursor.as_ref().map_or(0, |cursor| address(cursor)),
        to: address_mut(&mut next),
        keys: address_mut(keys),
        values: address_mut(values),
        count,
        map: number(map),
        ..Batch::default()
    };
    let last = match bpf(Command::MAP_LOOKUP_BATCH, &mut attributes) {
        Ok(_) => false,
        Err(error) if error.is(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    *cursor = Some(next);
    Ok(Step { count: attributes.count, last })
}

/// Writes `count` elements; `Err` carries how many were written before the failure.
pub fn update_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> Result<(), (u32, SyscallError)> {
    let mut attributes =
        Batch { keys: address(keys), values: address(values), count, map: number(map), ..Batch::default() };
    bpf(Command::MAP_UPDATE_BATCH, &mut attributes)
        .map(drop)
        .map_err(|error| (attributes.count.min(count), error))
}

/// Removes `count` elements; `Err` carries how many were removed before the failure.
pub fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> Result<(), (u32, SyscallError)> {
    let mut attributes = Batch { keys: address(keys), count, map: number(map), ..Batch::default() };
    bpf(Command::MAP_DELETE_BATCH, &mut attributes)
        .map(drop)
        .map_err(|error| (attributes.count.min(count), error))
}

fn c_path(path: &Path, command: Command) -> Result<CString, SyscallError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| SyscallError { command, error: io::Error::from(io::ErrorKind::InvalidFilename) })
}

/// Pins an object to a path on a bpffs.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<(), SyscallError> {
    let path = c_path(path, Command::OBJ_PIN)?;
    let mut attributes = Object { path: path.as_ptr() as u64, fd: number(object), flags: 0 };
    bpf(Command::OBJ_PIN, &mut attributes).map(drop)
}

/// Opens a pinned object.
pub fn open_pin(path: &Path) -> Result<OwnedFd, SyscallError> {
    let path = c_path(path, Command::OBJ_GET)?;
    let mut attributes = Object { path: path.as_ptr() as u64, ..Object::default() };
    bpf(Command::OBJ_GET, &mut attributes).and_then(|fd| owned(fd, Command::OBJ_GET))
}

/// A descriptor for the program with this id.
pub fn program_by_id(id: u32) -> Result<OwnedFd, SyscallError> {
    by_id(Command::PROG_GET_FD_BY_ID, id)
}

fn by_id(command: Command, id: u32) -> Result<OwnedFd, SyscallError> {
    let mut attributes = ById { id, ..ById::default() };
    bpf(command, &mut attributes).and_then(|fd| owned(fd, command))
}

/// Fills `info` with as much of the object's `struct bpf_*_info` as fits, the rest zero.
pub fn object_info(object: BorrowedFd<'_>, info: &mut [u8]) -> Result<(), SyscallError> {
    info.fill(0);
    let length = u32::try_from(info.len()).unwrap_or(u32::MAX);
    let mut attributes = Info { fd: number(object), length, buffer: address_mut(info) };
    bpf(Command::OBJ_GET_INFO_BY_FD, &mut attributes).map(drop)
}

/// The name of a program, as the kernel keeps it: its first 15 bytes.
pub fn program_name(program: BorrowedFd<'_>) -> Result<String, SyscallError> {
    // struct bpf_prog_info: type, id, tag[8], four sizes and pointers, load_time, uid, nr_map_ids, map_ids, name[16].
    let mut info = [0_u8; 80];
    object_info(program, &mut info)?;
    let name = info.get(64..80).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Attaches a program to an interface by a link. `attach_type` and `flags` are the kernel's numbers.
pub fn create_link(
    program: BorrowedFd<'_>,
    interface: u32,
    attach_type: u32,
    flags: u32,
) -> Result<OwnedFd, SyscallError> {
    let mut attributes =
        LinkCreate { program: number(program), interface, attach_type, flags, ..LinkCreate::default() };
    bpf(Command::LINK_CREATE, &mut attributes).and_then(|fd| owned(fd, Command::LINK_CREATE))
}

/// Swaps the program of a link in one step.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), SyscallError> {
    let mut attributes = LinkUpdate { link: number(link), program: number(program), ..LinkUpdate::default() };
    bpf(Command::LINK_UPDATE, &mut attributes).map(drop)
}

/// Detaches a link now, whoever else holds it.
pub fn detach_link(link: BorrowedFd<'_>) -> Result<(), SyscallError> {
    let mut attributes = number(link);
    bpf(Command::LINK_DETACH, &mut attributes).map(drop)
}

/// `BPF_PROG_TEST_RUN` of an XDP program: prepared once, run many times.
#[derive(Debug, Default)]
pub struct TestRun {
    attributes: Run,
    context: Option<XdpContext>,
}

/// `struct xdp_md`, as far as a test run takes it.
#[repr(C)]
#[derive(Debug, Default)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// `BPF_F_TEST_XDP_LIVE_FRAMES`.
const LIVE_FRAMES: u32 = 1 << 1;

impl TestRun {
    /// A run of `program`; frames are given to [`TestRun::run`].
    pub fn new(program: BorrowedFd<'_>) -> Self {
        let attributes = Run { program: number(program), repeat: 1, ..Run::default() };
        Self { attributes, context: None }
    }

    /// Each frame so many times.
    #[must_use]
    pub const fn repeated(mut self, times: u32) -> Self {
        self.attributes.repeat = times;
        self
    }

    /// So many bytes of a frame are linear; the rest goes into fragments of a multi-buffer frame. 0: as the kernel likes.
    #[must_use]
    pub fn linear(mut self, bytes: u32) -> Self {
        self.context = (bytes != 0).then(|| XdpContext { data_end: bytes, ..XdpContext::default() });
        self
    }

    /// Frames are real ones, so many at a time, that seem to come in through `interface`; what the program redirects or
    /// transmits leaves.
    #[must_use]
    pub fn live(mut self, interface: u32, batch: u32) -> Self {
        self.context = Some(XdpContext { ingress_ifindex: interface, ..XdpContext::default() });
        (self.attributes.flags, self.attributes.batch_size) = (LIVE_FRAMES, batch);
        self
    }

    /// Runs the program over `frame` and returns its last verdict. The frame is not written back.
    pub fn run(&mut self, frame: &[u8]) -> Result<u32, SyscallError> {
        let attributes = &mut self.attributes;
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        (attributes.data_in, attributes.data_size_in, attributes.data_size_out) = (address(frame), length, 0);
        if let Some(context) = &mut self.context {
            if attributes.flags == LIVE_FRAMES {
                context.data_end = length;
            }
            attributes.context_in = address(std::slice::from_ref(context));
            attributes.context_size_in = u32::try_from(size_of::<XdpContext>()).unwrap_or_default();
        }
        bpf(Command::PROG_TEST_RUN, attributes)?;
        Ok(attributes.verdict)
    }

    /// The mean time of one repetition of the last run.
    pub fn took(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.attributes.duration.into())
    }
}

/// How long a packet is under way at most, where the kernel cannot be asked.
const UNDER_WAY: std::time::Duration = std::time::Duration::from_millis(50);

/// Returns when no program runs any more that began before the call.
///
/// The barrier for all of the machine is a grace period, which no running XDP program outlives. It is refused only where
/// CPUs are shielded from the kernel's ticks; there, time has to do.
pub fn wait_for_packets_under_way() {
    // SAFETY: membarrier takes three numbers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(UNDER_WAY);
    }
}
