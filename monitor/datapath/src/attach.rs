//! Hooks: the ingress program in XDP, the egress program in tcx, each by a link that is pinned at once. Where the kernel
//! has no tcx, the egress program is in a filter instead.
//!
//! In: an interface's name and loaded programs. Out: a guarded interface, with the mode read back from the kernel. A foreign
//! program is never replaced, an unpinnable attachment is never made, and links of earlier runs are updated in place.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::classifier;
use super::interfaces::{self, Interface, Mode};
use super::offloads::{Offloads, offloads};
use super::pins::{self, Hook, LinkPin, Pins};
use super::syscall::{self, SyscallError};

// Numbers of linux/bpf.h and linux/if_link.h.
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_EGRESS: u32 = 47;
const XDP_GENERIC: u32 = 1 << 1;
const XDP_NATIVE: u32 = 1 << 2;
const ORDER_BEFORE: u32 = 1 << 3;

/// Which modes of XDP may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// The driver's, and nothing else.
    #[default]
    Native,
    /// The driver's, or the network stack's where the driver has none.
    NativeOrGeneric,
    /// The network stack's only.
    Generic,
}

/// How an interface came under guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By a new link.
    Attached,
    /// By swapping the program in the link of an earlier run, without a gap.
    TakenOver,
}

/// The links that guard an interface.
#[derive(Debug)]
pub struct Links {
    pub mode: Mode,
    pub how: How,
    ingress: OwnedFd,
    egress: Egress,
}

/// How egress is followed.
#[derive(Debug)]
enum Egress {
    Not,
    Link(OwnedFd),
    /// Before tcx: a filter has no link that could be asked.
    Filter,
}

impl Links {
    pub fn has_egress(&self) -> bool {
        !matches!(self.egress, Egress::Not)
    }

    /// Whether somebody detached the egress link.
    pub fn egress_is_lost(&self) -> Result<bool> {
        match &self.egress {
            Egress::Link(link) => Ok(LinkState::of(link.as_fd())?.ifindex().is_none()),
            Egress::Not | Egress::Filter => Ok(false),
        }
    }

    /// The index of the interface that the ingress link is bound to; `None` once that interface is gone.
    pub fn bound_to(&self) -> Result<Option<u32>> {
        Ok(LinkState::of(self.ingress.as_fd())?.ifindex())
    }
}

/// What the kernel says about a link (`struct bpf_link_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    program: u32,
    /// 0 when the interface is gone.
    ifindex: u32,
}

impl LinkState {
    pub fn of(link: BorrowedFd<'_>) -> Result<Self, SyscallError> {
        // type, id, prog_id, padding, then the index for XDP and tcx.
        let mut info = [0_u8; 24];
        syscall::object_info(link, &mut info)?;
        let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        Ok(Self { program: word(8), ifindex: word(16) })
    }

    /// The id of the program in it.
    pub fn program(self) -> u32 {
        self.program
    }

    pub fn ifindex(self) -> Option<u32> {
        (self.ifindex != 0).then_some(self.ifindex)
    }
}

/// The programs that are to be in the hooks.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    pub ingress: BorrowedFd<'a>,
    pub egress: Option<BorrowedFd<'a>>,
}

/// Puts the programs into the hooks of `interface`: through the pinned links of an earlier run, or through new ones.
pub fn attach(
    pins: &Pins,
    slot: u32,
    interface: &Interface,
    programs: Programs<'_>,
    allowed: Allowed,
) -> Result<Links> {
    let name = &interface.name;
    // Judging nothing while it says "guarded" would be worse than not to guard.
    ensure!(
        interface.ethernet,
        "{name} is a layer-3 interface (tun, WireGuard, PPP or an IP tunnel): its packets have no Ethernet header, and the \
         program cannot read them; guard the interface that carries the tunnel instead"
    );
    let ours = |hook| pins.links().map(|links| links.into_iter().filter(move |link| link.hook == hook));
    let taken = take_over(pins, ours(Hook::Ingress)?, Hook::Ingress, slot, interface, programs.ingress)?;
    let (ingress, how) = if let Some(link) = taken {
        (link, How::TakenOver)
    } else {
        let link = create_ingress(interface, programs.ingress, allowed)?;
        pin(pins, &link, Hook::Ingress, slot, name)?;
        (link, How::Attached)
    };
    let egress = if let Some(program) = programs.egress {
        let taken = take_over(pins, ours(Hook::Egress)?, Hook::Egress, slot, interface, program)?;
        match taken {
            Some(link) => Egress::Link(link),
            None => create_egress(pins, slot, interface, program)?,
        }
    } else {
        // An earlier run may have followed egress.
        for link in pins.links()?.iter().filter(|link| link.hook != Hook::Ingress && link.interface == *name)
        {
            pins::detach(link)?;
        }
        Egress::Not
    };
    // Read back: what the kernel says, not what we asked for.
    let xdp = interfaces::find(name)?.xdp;
    let mode = xdp.with_context(|| format!("{name} holds no XDP program right after attaching"))?.mode;
    Ok(Links { mode, how, ingress, egress })
}

/// Removes the hooks of `interface` and their pins.
pub fn detach(pins: &Pins, interface: &str) -> Result<bool> {
    let mut found = false;
    for link in pins.links()?.iter().filter(|link| link.interface == interface) {
        pins::detach(link)?;
        found = true;
    }
    Ok(found)
}

/// Swaps the program in the link that already holds this interface's hook, and removes pins whose interface is gone.
fn take_over(
    pins: &Pins,
    links: impl Iterator<Item = LinkPin>,
    hook: Hook,
    slot: u32,
    interface: &Interface,
    program: BorrowedFd<'_>,
) -> Result<Option<OwnedFd>> {
    let mut taken = None;
    for pin in links {
        let shown = pin.path.display();
        let link = syscall::open_pin(&pin.path).with_context(|| format!("open the pinned link {shown}"))?;
        let state =
            LinkState::of(link.as_fd()).with_context(|| format!("ask for the pinned link {shown}"))?;
        if state.ifindex == 0 {
            if pin.interface == interface.name {
                pins::remove_if_there(&pin.path)?;
            }
            continue;
        }
        if state.ifindex != interface.index {
            continue;
        }
        // Indexes repeat in other network namespaces; program ids do not.
        let holds = hook == Hook::Egress || interface.xdp.is_some_and(|xdp| xdp.program == state.program);
        if !holds {
            bail!(
                "{shown} belongs to an interface with index {} in another network namespace: use another pin directory \
                 there or here",
                state.ifindex
            );
        }
        syscall::update_link(link.as_fd(), program)
            .with_context(|| format!("swap the program of {} through its pinned link", interface.name))?;
        let wanted = pins.link(hook, slot, &interface.name);
        if pin.path != wanted {
            std::fs::rename(&pin.path, &wanted)
                .with_context(|| format!("rename {shown} to {}", wanted.display()))?;
        }
        taken = Some(link);
    }
    Ok(taken)
}

fn pin(pins: &Pins, link: &OwnedFd, hook: Hook, slot: u32, interface: &str) -> Result<()> {
    // Without a pin the guard would end with the process; then it is better to say so now. Dropping the link detaches.
    pins::replace(link.as_fd(), &pins.link(hook, slot, interface))
        .with_context(|| format!("pin the link of {interface}, so nothing was attached"))
}

fn create_ingress(interface: &Interface, program: BorrowedFd<'_>, allowed: Allowed) -> Result<OwnedFd> {
    let create = |flags| syscall::create_link(program, interface.index, ATTACH_XDP, flags);
    if allowed == Allowed::Generic {
        return create(XDP_GENERIC).map_err(|error| refusal(interface, "generic", error));
    }
    let error = match create(XDP_NATIVE) {
        Ok(link) => return Ok(link),
        Err(error) => error,
    };
    let unable = [libc::EOPNOTSUPP, libc::ERANGE, libc::EINVAL].iter().any(|number| error.is(*number));
    if unable && allowed == Allowed::NativeOrGeneric {
        tracing::warn!(
            interface = interface.name,
            %error,
            "no native XDP here, so packets are judged after their socket buffer is made"
        );
        return create(XDP_GENERIC).map_err(|error| refusal(interface, "generic", error));
    }
    Err(refusal(interface, "native", error))
}

/// First in the chain, so that what others drop or redirect is seen as well. Says how egress is followed.
fn create_egress(pins: &Pins, slot: u32, interface: &Interface, program: BorrowedFd<'_>) -> Result<Egress> {
    let name = &interface.name;
    let error = match syscall::create_link(program, interface.index, ATTACH_TCX_EGRESS, ORDER_BEFORE) {
        Ok(link) => {
            pin(pins, &link, Hook::Egress, slot, name)?;
            return Ok(Egress::Link(link));
        }
        Err(error) => error,
    };
    // The kernel does not know this type of attachment.
    if !error.is(libc::EINVAL) {
        return Err(error).with_context(|| format!("attach to the egress of {name}"));
    }
    match filter_egress(pins, slot, interface, program) {
        // A daemon that gave up its capabilities can still guard an interface that appears, but not add a filter to it.
        Err(refused) if is_denied(&refused) => {
            tracing::warn!(
                interface = name,
                "egress is not followed until sluice is started again: before Linux 6.6 that takes CAP_NET_ADMIN"
            );
            Ok(Egress::Not)
        }
        other => other
            .map(|()| Egress::Filter)
            .with_context(|| format!("attach to the egress of {name} (tcx is from Linux 6.6 on: {error})")),
    }
}

fn is_denied(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

/// The filter of an earlier run is replaced in one step. The pin follows: between the two, the filter is known by its place.
fn filter_egress(pins: &Pins, slot: u32, interface: &Interface, program: BorrowedFd<'_>) -> Result<()> {
    let name = &interface.name;
    let earlier: Vec<LinkPin> = pins
        .links()?
        .into_iter()
        .filter(|link| matches!(link.hook, Hook::Filter { .. }))
        .filter(|link| link.interface == *name || link.slot == slot)
        .collect();
    let installed = classifier::install(interface.index, program)?;
    let kept =
        installed.replaced && earlier.iter().any(|link| link.hook == Hook::Filter { with_qdisc: true });
    let wanted = pins.link(Hook::Filter { with_qdisc: installed.made_qdisc || kept }, slot, name);
    pins::replace(program, &wanted)?;
    for link in earlier.iter().filter(|link| link.path != wanted) {
        pins::remove_if_there(&link.path)?;
    }
    if !installed.replaced {
        tracing::info!(
            interface = name,
            "egress is followed by a clsact filter: this kernel has no tcx (Linux 6.6)"
        );
    }
    Ok(())
}

/// What the kernel's refusal means, and what to do.
fn refusal(interface: &Interface, mode: &str, error: SyscallError) -> anyhow::Error {
    let Interface { name, mtu, .. } = interface;
    let number = error.error.raw_os_error().unwrap_or_default();
    let why = match number {
        libc::EBUSY | libc::EEXIST => occupied(name),
        libc::ERANGE => format!(
            "its MTU of {mtu} is too large for native XDP in this driver: lower the MTU (`ip link set dev {name} mtu 1500`), or \
             allow generic mode"
        ),
        libc::EOPNOTSUPP | libc::EINVAL | libc::ENOMEM if mode == "native" => {
            unable(name, *mtu, &offloads(name).unwrap_or_default())
        }
        libc::EPERM | libc::EACCES => "no permission: attaching needs CAP_NET_ADMIN (or root)".to_owned(),
        libc::ENODEV => "it has just gone".to_owned(),
        _ => "the kernel refuses".to_owned(),
    };
    anyhow!(error).context(format!("attach to {name} in {mode} mode: {why}"))
}

/// Why a driver has no native XDP now, as far as its settings show it.
fn unable(name: &str, mtu: u32, settings: &Offloads) -> String {
    if !settings.merges.is_empty() {
        let merges = settings.merges.join(", ");
        let off: Vec<_> = settings.merges.iter().map(|feature| format!("{feature} off")).collect();
        return format!(
            "it merges packets before XDP ({merges}), which most drivers refuse beside it: `ethtool -K {name} {}`, or allow \
             generic mode",
            off.join(" ")
        );
    }
    if let Some((queues, most)) = settings.queues.filter(|(queues, most)| *queues > 1 && queues == most) {
        return format!(
            "its driver has no native XDP with MTU {mtu} and {queues} of {most} queues in use: some drivers need half of them \
             for XDP (`ethtool -L {name} combined {}`); or allow generic mode",
            queues / 2
        );
    }
    format!("its driver has no native XDP (MTU {mtu}, multi-buffer): allow generic mode for {name}")
}

fn occupied(name: &str) -> String {
    let holder = interfaces::find(name).ok().and_then(|interface| interface.xdp);
    let Some(xdp) = holder else {
        return "its XDP hook is taken, and it is not ours to replace".to_owned();
    };
    let program = syscall::program_by_id(xdp.program).and_then(|fd| syscall::program_name(fd.as_fd()));
    let program = program.unwrap_or_else(|_| "unknown".to_owned());
    format!(
        "its XDP hook holds program {} ({program}) in {} mode, which is not ours to replace: detach that first",
        xdp.program,
        xdp.mode.label()
    )
}

#[cfg(test)]
mod tests {
    use super::{Offloads, unable};

    #[test]
    fn a_driver_that_cannot_is_told_with_the_command_that_helps() {
        let check = |settings: Offloads, wanted: &str| {
            let told = unable("eth0", 1500, &settings);
            assert!(told.contains(wanted) && told.contains("generic"), "{told}");
        };
        let merges = vec!["lro", "rx-gro-hw"];
        check(Offloads { merges, ..Offloads::default() }, "`ethtool -K eth0 lro off rx-gro-hw off`");
        check(Offloads { queues: Some((8, 8)), ..Offloads::default() }, "`ethtool -L eth0 combined 4`");
        check(Offloads { queues: Some((1, 1)), ..Offloads::default() }, "no native XDP (MTU 1500");
        check(Offloads::default(), "no native XDP (MTU 1500");
    }
}
