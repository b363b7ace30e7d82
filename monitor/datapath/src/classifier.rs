//! The egress hook of kernels without tcx (before Linux 6.6): a filter of the `clsact` queueing discipline, over netlink.
//!
//! In: an interface's index and a loaded program. Out: our filter in its place, replaced in one step, or removed. A filter
//! belongs to the interface and needs no process and no pin to stay; one that is not ours is never touched.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result, bail};
use monitor_common::names::program;
use rustix::net::{RecvFlags, SendFlags};

use super::interfaces::{Attributes, HEADER, NLMSG_ERROR, half, open, word};
use super::syscall;

// Numbers of linux/rtnetlink.h, linux/pkt_sched.h and linux/pkt_cls.h.
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const DUMP: u16 = 0x300;
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const DIRECT_ACTION: u32 = 1;
/// `struct tcmsg`.
const MESSAGE: usize = 20;

/// First in the chain, for every protocol.
const PRIORITY: u32 = 1 << 16 | (3_u16.to_be() as u32);
/// Ours among the filters of this priority.
const HANDLE: u32 = 0x736c_7563;

/// What [`install`] found and made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// There was no `clsact` before.
    pub made_qdisc: bool,
    /// A filter of an earlier run gave its place.
    pub replaced: bool,
}

/// Puts `program` on the egress of an interface, in one step where a filter of ours is already.
pub fn install(interface: u32, program: BorrowedFd<'_>) -> Result<Installed> {
    let socket = open().context("open a netlink socket")?;
    let made_qdisc = match exchange(
        &socket,
        &request(
            RTM_NEWQDISC,
            CREATE | EXCLUSIVE,
            [interface, CLSACT_HANDLE, CLSACT, 0],
            &attribute(TCA_KIND, b"clsact\0"),
        ),
    ) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => false,
        Err(error) => return Err(error).context("add a clsact queueing discipline (Linux 4.5 or newer)"),
    };
    let replaced = match holder(&socket, interface)? {
        Some(id) if is_ours(id) => true,
        Some(id) => {
            bail!("the place of sluice's egress filter is held by program {id}, which is not ours to replace")
        }
        None => false,
    };
    let options = [
        attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes()),
        attribute(TCA_BPF_NAME, format!("{}\0", program::EGRESS).as_bytes()),
        attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes()),
    ]
    .concat();
    let body = [attribute(TCA_KIND, b"bpf\0"), attribute(TCA_OPTIONS, &options)].concat();
    let place = [interface, HANDLE, EGRESS, PRIORITY];
    exchange(&socket, &request(RTM_NEWTFILTER, CREATE | REPLACE, place, &body))
        .context("add the clsact filter")?;
    Ok(Installed { made_qdisc, replaced })
}

/// Takes our filter off an interface, and its `clsact` too when that is said to be ours and nobody else uses it.
pub fn remove(interface: u32, with_qdisc: bool) -> Result<()> {
    let socket = open().context("open a netlink socket")?;
    if holder(&socket, interface)?.is_some_and(is_ours) {
        let body = attribute(TCA_KIND, b"bpf\0");
        exchange(&socket, &request(RTM_DELTFILTER, 0, [interface, HANDLE, EGRESS, PRIORITY], &body))
            .context("remove the clsact filter")?;
        if with_qdisc && !is_used(&socket, interface)? {
            let body = attribute(TCA_KIND, b"clsact\0");
            exchange(&socket, &request(RTM_DELQDISC, 0, [interface, CLSACT_HANDLE, CLSACT, 0], &body))
                .context("remove the clsact queueing discipline")?;
        }
    }
    Ok(())
}

/// The program in our place on the egress of an interface.
fn holder(socket: &OwnedFd, interface: u32) -> Result<Option<u32>> {
    let place = [interface, HANDLE, EGRESS, PRIORITY];
    match exchange(socket, &request(RTM_GETTFILTER, 0, place, &attribute(TCA_KIND, b"bpf\0"))) {
        Ok(answers) => Ok(answers.iter().find_map(|filter| program_of(filter))),
        Err(error)
            if [libc::ENOENT, libc::EINVAL, libc::ENODEV]
                .iter()
                .any(|number| error.raw_os_error() == Some(*number)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).context("ask for the clsact filter"),
    }
}

/// Whether `clsact` holds any filter, in either direction.
fn is_used(socket: &OwnedFd, interface: u32) -> Result<bool> {
    for parent in [INGRESS, EGRESS] {
        let found = exchange(socket, &request(RTM_GETTFILTER, DUMP, [interface, 0, parent, 0], &[]))
            .context("list the clsact filters")?;
        if !found.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The id of the program in a filter's description.
fn program_of(filter: &[u8]) -> Option<u32> {
    let (_, options) = Attributes(filter.get(MESSAGE..)?).find(|(kind, _)| *kind == TCA_OPTIONS)?;
    let (_, id) = Attributes(options).find(|(kind, _)| *kind == TCA_BPF_ID)?;
    Some(word(id, 0))
}

/// The kernel keeps the first 15 bytes of a program's name.
fn is_ours(id: u32) -> bool {
    let name = syscall::program_by_id(id).and_then(|fd| syscall::program_name(fd.as_fd()));
    name.is_ok_and(|name| name == program::EGRESS)
}

/// `place` is the interface, the handle, the parent and the priority with the protocol.
fn request(kind: u16, flags: u16, place: [u32; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + MESSAGE + body.len()).unwrap_or_default();
    // A dump ends by itself, and an answer follows what is asked for; only changes are acknowledged.
    let acknowledge = if kind == RTM_GETTFILTER { 0 } else { ACKNOWLEDGE };
    let mut request = Vec::new();
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(REQUEST | acknowledge | flags).to_ne_bytes());
    request.extend_from_slice(&[0; 8 + 4]);
    for number in place {
        request.extend_from_slice(&number.to_ne_bytes());
    }
    request.extend_from_slice(body);
    request
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend_from_slice(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Sends a request and gives the descriptions that come back; an error is the kernel's own.
fn exchange(socket: &OwnedFd, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    const NLMSG_DONE: u16 = 3;
    rustix::net::send(socket, request, SendFlags::empty())?;
    let is_dump = half(request, 6) & DUMP == DUMP && half(request, 4) == RTM_GETTFILTER;
    let mut answers = Vec::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let (length, _) = rustix::net::recv(socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut datagram = buffer.get(..length).unwrap_or_default();
        while datagram.len() >= HEADER {
            let length = word(datagram, 0) as usize;
            let Some(body) = datagram.get(HEADER..length) else {
                return Err(io::Error::other("a netlink message is cut short"));
            };
            match half(datagram, 4) {
                NLMSG_DONE => return Ok(answers),
                NLMSG_ERROR => {
                    let number = word(body, 0).cast_signed();
                    return if number == 0 {
                        Ok(answers)
                    } else {
                        Err(io::Error::from_raw_os_error(-number))
                    };
                }
                RTM_NEWTFILTER => {
                    answers.push(body.to_vec());
                    if !is_dump {
                        return Ok(answers);
                    }
                }
                _ => {}
            }
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EGRESS, HEADER, MESSAGE, PRIORITY, RTM_NEWTFILTER, TCA_BPF_ID, TCA_OPTIONS};
    use super::{attribute, program_of, request};

    #[test]
    fn a_filter_is_asked_for_as_the_kernel_reads_it() {
        let message = request(RTM_NEWTFILTER, 0x500, [7, 0x10, EGRESS, PRIORITY], &attribute(1, b"bpf\0"));
        assert_eq!(message.len(), HEADER + MESSAGE + 8);
        assert_eq!(message[..4], 44_u32.to_ne_bytes(), "the length");
        assert_eq!(message[4..8], [44, 0, 5, 5], "the kind and the flags");
        assert_eq!(message[20..24], 7_u32.to_ne_bytes(), "the interface");
        assert_eq!(message[32..36], [0, 3, 1, 0], "every protocol in network order, then the priority");
        assert_eq!(message[36..], [8, 0, 1, 0, b'b', b'p', b'f', 0]);
    }

    #[test]
    fn the_program_of_a_filter_is_read_back() {
        let options = attribute(TCA_OPTIONS, &attribute(TCA_BPF_ID, &77_u32.to_ne_bytes()));
        let filter = [vec![0; MESSAGE], options].concat();
        assert_eq!(program_of(&filter), Some(77));
        assert_eq!(program_of(&filter[..MESSAGE]), None);
        assert_eq!(program_of(&[]), None);
    }
}
