//! The few calls of bpf(2) that the tests make, on descriptors that somebody else opened.
//!
//! In: descriptors, keys, values and frames as bytes. Out: the kernel's answer, or its error. It loads nothing.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use datapath::TestRun;
use libc::{c_long, c_uint};

const MAP_LOOKUP: c_uint = 1;
const MAP_UPDATE: c_uint = 2;
const MAP_DELETE: c_uint = 3;
const MAP_NEXT_KEY: c_uint = 4;
const OBJECT_PIN: c_uint = 6;

#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map: u32,
    pad: u32,
    key: u64,
    /// The value, or the next key.
    value: u64,
    flags: u64,
}

fn call<T>(command: c_uint, attr: &mut T) -> io::Result<c_long> {
    // SAFETY: every attribute struct here is laid out as the kernel's union for its command, and its pointers are to
    // buffers that the caller keeps alive and whose sizes fit the map.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn element(map: BorrowedFd, key: &[u8], value: *const u8, flags: u64) -> ElementAttr {
    ElementAttr {
        map: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: key.as_ptr() as u64,
        value: value as u64,
        flags,
    }
}

/// Reads the value at `key` into `value`, which must have the map's value size (times the CPUs); false when there is none.
pub fn lookup(map: BorrowedFd, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    match call(MAP_LOOKUP, &mut element(map, key, value.as_mut_ptr(), 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn update(map: BorrowedFd, key: &[u8], value: &[u8]) -> io::Result<()> {
    call(MAP_UPDATE, &mut element(map, key, value.as_ptr(), 0)).map(drop)
}

pub fn delete(map: BorrowedFd, key: &[u8]) -> io::Result<()> {
    call(MAP_DELETE, &mut element(map, key, std::ptr::null(), 0)).map(drop)
}

/// The key behind `key` (or the first one) into `next`; false at the end.
pub fn next_key(map: BorrowedFd, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attr = element(map, key.unwrap_or_default(), next.as_mut_ptr(), 0);
    if key.is_none() {
        attr.key = 0;
    }
    match call(MAP_NEXT_KEY, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[repr(C)]
#[derive(Default)]
struct PinAttr {
    path: u64,
    object: u32,
    flags: u32,
}

/// Pins an object at a path on a bpffs.
pub fn pin(object: BorrowedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let object = object.as_raw_fd().cast_unsigned();
    call(OBJECT_PIN, &mut PinAttr { path: path.as_ptr() as u64, object, flags: 0 }).map(drop)
}

/// How a program is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub repeat: u32,
    /// Bytes of the frame that are linear; the rest goes into fragments of a multi-buffer frame. 0: as the kernel likes.
    pub linear: u32,
}

/// What a run gave: the verdict of the last repetition and the mean time of one.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    pub verdict: u32,
    pub duration: Duration,
}

/// Runs an XDP program over `frame`.
pub fn run(program: BorrowedFd, frame: &[u8], how: Run) -> io::Result<Ran> {
    let mut run = TestRun::new(program).repeated(how.repeat.max(1)).linear(how.linear);
    let verdict = run.run(frame).map_err(|failed| failed.error)?;
    Ok(Ran { verdict, duration: run.took() })
}

#[repr(C)]
#[derive(Default)]
struct RunAttr {
    program: u32,
    verdict: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// Runs a program over `frame` once: its verdict, and what the frame is then.
pub fn changed(program: BorrowedFd, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
    const RUN: c_uint = 10;
    let mut out = vec![0; frame.len() + 256];
    let size = |length: usize| u32::try_from(length).expect("a frame");
    let mut attr = RunAttr {
        program: program.as_raw_fd().cast_unsigned(),
        data_size_in: size(frame.len()),
        data_size_out: size(out.len()),
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        ..RunAttr::default()
    };
    call(RUN, &mut attr)?;
    out.truncate(attr.data_size_out as usize);
    Ok((attr.verdict, out))
}

/// Sends `count` copies of `frame` as live frames through an XDP program that redirects or transmits them, as if they
/// had come in through `interface`.
pub fn send(program: BorrowedFd, frame: &[u8], interface: u32, count: u32, batch: u32) -> io::Result<()> {
    let mut run = TestRun::new(program).repeated(count).live(interface, batch);
    run.run(frame).map(drop).map_err(|failed| failed.error)
}
