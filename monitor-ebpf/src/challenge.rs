//! The challenge: who is refused by a limit without having proved its address is asked for a proof, where its service is so
//! configured. Its SYN is answered in the host's place with one of the kernel's SYN cookies, and the packet that returns the cookie
//! proves its source and passes to the listener, which checks it again. Its question of DNS over UDP is sent to TCP ([`question`]).
//!
//! In: packets that a limit refuses; on egress, SYN-ACKs and resets of listeners. Out: the answer in place of the packet, or another
//! verdict. Packets within their limits never come here.

mod question;

use aya_ebpf::{
    bindings::{__sk_buff, iphdr, ipv6hdr, tcphdr, xdp_md},
    helpers::generated::{
        bpf_ktime_get_ns, bpf_skb_load_bytes, bpf_tcp_raw_check_syncookie_ipv4,
        bpf_tcp_raw_check_syncookie_ipv6, bpf_tcp_raw_gen_syncookie_ipv4, bpf_tcp_raw_gen_syncookie_ipv6,
        bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
};
use monitor_common::{
    challenge::{self, Abilities, Answer, BARE, Heard, IP, Listener, MOST_TURNS, Options},
    flow::{protocol, tcp},
    parse::{Fragment, end},
    record::{Incident, OWNED, SourceEntry, entry},
    rule::{DIMENSIONS, Settings, setting},
    verdict::Reason,
};

use crate::{
    context::{PacketContext, fresh, hook},
    maps,
    scratch::Reply,
    source_table::{self, Entering},
    totals::incident,
};

const NS_PER_MS: u64 = 1_000_000;
const IPV4_BYTES: u32 = 20;
const IPV6_BYTES: u32 = 40;
/// The longest TCP header.
const LONGEST: u64 = 60;
/// The shortest frame that an answer is cut to, unless the question was shorter: Ethernet's least, without its checksum.
const SHORTEST: u32 = 60;
/// The port of DNS.
const DNS: u16 = 53;
/// Where a header may begin: behind all tags that are walked.
const FARTHEST: u32 = 14 + 4 * 16;

/// 0 where this kernel knows no SYN cookies. Set at load, so the verifier removes what calls their helpers.
#[unsafe(no_mangle)]
static COOKIES: u32 = 1;

#[inline(always)]
fn is_supported() -> bool {
    // SAFETY: a static of this object; volatile, because the loader writes it.
    unsafe { core::ptr::read_volatile(&raw const COOKIES) != 0 }
}

/// Challenges the source of a packet that a limit refuses, or takes its proof.
///
/// Not inlined: only what is dropped comes here. What becomes of it is in the context.
#[inline(never)]
pub fn judge(ctx: *mut xdp_md, settings: &Settings, packet: &mut PacketContext) {
    if !is_supported() || fresh(&packet.challenges) == 0 || settings.flags & setting::COOKIES == 0 {
        return;
    }
    if fresh(&packet.kind) != end::IP {
        return;
    }
    if is_plain(packet, protocol::UDP) && packet.frame.destination_port == DNS {
        question::ask(ctx, packet);
        return;
    }
    if !is_plain(packet, protocol::TCP) {
        return;
    }
    match packet.frame.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) {
        tcp::SYN => ask(ctx, settings, packet),
        tcp::ACK => redeem(ctx, packet),
        _ => {}
    }
}

/// A protocol behind nothing but Ethernet, tags and one IP header without options.
#[inline(always)]
fn is_plain(packet: &PacketContext, protocol: u8) -> bool {
    let frame = &packet.frame;
    let header = if frame.is_v4 { IPV4_BYTES } else { IPV6_BYTES };
    frame.protocol == protocol
        && fresh(&packet.piece) == Fragment::Whole as u32
        && fresh(&frame.network_offset) <= FARTHEST
        && fresh(&frame.transport_offset) == fresh(&frame.network_offset) + header
}

/// Not inlined, here and below: each has a stack of its own.
#[inline(never)]
fn ask(ctx: *mut xdp_md, settings: &Settings, packet: &mut PacketContext) {
    let Some(listener) = heard(packet) else {
        return;
    };
    if is_proven(packet) {
        return;
    }
    let Some(reply) = maps::REPLY.get_ptr_mut(hook::INGRESS) else {
        return;
    };
    // SAFETY: the value is this CPU's own.
    let reply = unsafe { &mut *reply };
    if !read(Wire::In(ctx), packet, reply) || !cookie(packet, reply) {
        return;
    }
    read_options(reply);
    let with = Answer {
        cookie: fresh(&reply.cookie),
        // SAFETY: the helper takes nothing.
        now: (unsafe { bpf_ktime_get_ns() } / NS_PER_MS) as u32,
        listener: Listener(listener),
        abilities: Abilities(settings.flags),
    };
    let asked = fresh(&reply.length);
    reply.length = write(reply, &with, packet.frame.is_v4);
    if fresh(&reply.length) <= asked && send(ctx, packet, reply) {
        packet.verdict = Reason::Challenged as u32;
    }
}

/// What the listener at the packet's destination last said; none when it was silent for long.
#[inline(always)]
fn heard(packet: &PacketContext) -> Option<u64> {
    let (port, is_v4) = (packet.frame.destination_port, packet.frame.is_v4);
    let heard = maps::LISTENERS.get(challenge::place(packet.interface, port, is_v4))?;
    if heard.speaks_for(port, packet.interface, is_v4, packet.now) { Some(heard.word) } else { None }
}

/// Whether the source proved its address at this service: then its limits are the last word.
#[inline(never)]
fn is_proven(packet: &PacketContext) -> bool {
    // SAFETY: the pointer is to a map value.
    source_table::find(packet).is_some_and(|found| unsafe { (*found).flags } & entry::PROVEN != 0)
}

/// Which way the packet goes.
#[derive(Clone, Copy)]
enum Wire {
    In(*mut xdp_md),
    Out(*mut __sk_buff),
}

/// Reads the headers; false when the packet ends before they do.
#[inline(always)]
fn read(wire: Wire, packet: &PacketContext, reply: &mut Reply) -> bool {
    let data = &raw mut reply.headers.tcp;
    let from = packet.frame.transport_offset;
    if !load(wire, from, data.cast(), u64::from(BARE)) {
        return false;
    }
    // Two comparisons with a register that nobody knows anything of between them: joined to one, the verifier would not follow.
    let length = anchor(u64::from(reply.headers.tcp[12] >> 4) * 4);
    if length > LONGEST {
        return false;
    }
    let length = anchor(length);
    if length < u64::from(BARE) {
        return false;
    }
    reply.length = length as u32;
    let ip = &raw mut reply.headers.ip;
    load(wire, from, data.cast(), length)
        && if packet.frame.is_v4 {
            // SAFETY: its second half.
            load(wire, from - IPV4_BYTES, unsafe { ip.cast::<u8>().add(IP / 2) }, u64::from(IPV4_BYTES))
        } else {
            load(wire, from - IPV6_BYTES, ip.cast(), u64::from(IPV6_BYTES))
        }
}

#[inline(always)]
fn load(wire: Wire, from: u32, to: *mut u8, count: u64) -> bool {
    // SAFETY: the helpers check offset and length against the whole packet, and the verifier checks the room.
    0 == unsafe {
        match wire {
            Wire::In(ctx) => bpf_xdp_load_bytes(ctx, from, to.cast(), count as u32),
            Wire::Out(ctx) => bpf_skb_load_bytes(ctx.cast(), from, to.cast(), count as u32),
        }
    }
}

/// The same number, of which the compiler knows nothing any more.
#[inline(always)]
fn anchor(mut number: u64) -> u64 {
    // SAFETY: moves a register onto itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nostack, preserves_flags)) };
    number
}

/// The kernel's cookie for the SYN whose headers were read.
#[inline(never)]
fn cookie(packet: &PacketContext, reply: &mut Reply) -> bool {
    let length = anchor(u64::from(fresh(&reply.length)));
    if length > LONGEST {
        return false;
    }
    let length = anchor(length);
    // The verifier of Linux 6.1 has to see that it is not zero, and learns nothing of that from a comparison with zero.
    if length < u64::from(BARE) {
        return false;
    }
    let header = (&raw mut reply.headers.tcp).cast::<tcphdr>();
    let ip = (&raw mut reply.headers.ip).cast::<u8>();
    // SAFETY: the helpers read the headers, which lie in a map value; the verifier checks the lengths.
    let made = unsafe {
        if packet.frame.is_v4 {
            bpf_tcp_raw_gen_syncookie_ipv4(ip.add(IP / 2).cast::<iphdr>(), header, length as u32)
        } else {
            bpf_tcp_raw_gen_syncookie_ipv6(ip.cast::<ipv6hdr>(), header, length as u32)
        }
    };
    reply.cookie = made as u32;
    made >= 0
}

#[inline(never)]
fn read_options(reply: &mut Reply) {
    reply.options = Options::NONE;
    let mut turn = 0;
    while turn < MOST_TURNS && challenge::step(&reply.headers.tcp, fresh(&reply.length), &mut reply.options) {
        turn += 1;
    }
}

#[inline(never)]
fn write(reply: &mut Reply, with: &Answer, is_v4: bool) -> u32 {
    challenge::answer(&mut reply.headers, &reply.options, with, is_v4)
}

/// Puts the answer into the packet's place, no longer than that was.
#[inline(never)]
fn send(ctx: *mut xdp_md, packet: &PacketContext, reply: &mut Reply) -> bool {
    let length = anchor(u64::from(fresh(&reply.length)));
    // At most forty bytes are written; the verifier wants to be told.
    if length > LONGEST {
        return false;
    }
    let (network, transport) = (packet.frame.network_offset, packet.frame.transport_offset);
    let ip = (&raw mut reply.headers.ip).cast::<u8>();
    if !turn_hardware(ctx, reply) {
        return false;
    }
    // SAFETY: the helpers check offsets and lengths against the whole packet, and the verifier checks the room.
    let stored = unsafe {
        if packet.frame.is_v4 {
            bpf_xdp_store_bytes(ctx, network, ip.add(IP / 2).cast(), IPV4_BYTES + length as u32)
        } else {
            bpf_xdp_store_bytes(ctx, network, ip.cast(), IPV6_BYTES + length as u32)
        }
    };
    stored == 0 && cut(ctx, packet, transport + length as u32)
}

/// Swaps the hardware addresses.
#[inline(always)]
fn turn_hardware(ctx: *mut xdp_md, reply: &mut Reply) -> bool {
    let hardware = (&raw mut reply.hardware).cast::<u8>();
    // SAFETY: the helpers check offsets and lengths against the whole packet, and the verifier checks the room.
    unsafe {
        bpf_xdp_load_bytes(ctx, 0, hardware.add(6).cast(), 6) == 0
            && bpf_xdp_load_bytes(ctx, 6, hardware.cast(), 6) == 0
            && bpf_xdp_store_bytes(ctx, 0, hardware.cast(), 12) == 0
    }
}

/// Cuts the packet to the bytes that an answer needs, and not below what Ethernet sends.
#[inline(always)]
fn cut(ctx: *mut xdp_md, packet: &PacketContext, needed: u32) -> bool {
    let frame = fresh(&packet.frame.length);
    let least = if frame < SHORTEST { frame } else { SHORTEST };
    let wanted = if needed < least { least } else { needed };
    // SAFETY: the helper checks the length against the packet.
    wanted >= frame || unsafe { bpf_xdp_adjust_tail(ctx, wanted as i32 - frame as i32) == 0 }
}

/// Takes the proof of a packet that returns a cookie. A source proves itself once: afterwards its limits are the last word, so
/// nobody lives on one cookie.
#[inline(never)]
fn redeem(ctx: *mut xdp_md, packet: &mut PacketContext) {
    let Some(reply) = maps::REPLY.get_ptr_mut(hook::INGRESS) else {
        return;
    };
    // SAFETY: the value is this CPU's own.
    if is_proven(packet) || !returns(ctx, packet, unsafe { &mut *reply }) {
        return;
    }
    let mut found = source_table::find(packet);
    if found.is_none() {
        match source_table::enter(packet, 0, entry::FROM_FLOOD) {
            Entering::Entered => incident(Incident::SourceEntered),
            Entering::Full => incident(Incident::SourceTableFull),
            Entering::Present | Entering::Contended => {}
        }
        found = source_table::find(packet);
    }
    if let Some(found) = found {
        acquit(packet, found);
        packet.verdict = Reason::CookieReturned as u32;
    }
}

/// Whether the packet acknowledges a cookie that this kernel made for its source.
#[inline(never)]
fn returns(ctx: *mut xdp_md, packet: &PacketContext, reply: &mut Reply) -> bool {
    let header = &raw mut reply.headers.tcp;
    let ip = (&raw mut reply.headers.ip).cast::<u8>();
    let (network, transport) = (packet.frame.network_offset, packet.frame.transport_offset);
    let wire = Wire::In(ctx);
    if !load(wire, transport, header.cast(), u64::from(BARE)) {
        return false;
    }
    // SAFETY: the helpers read the headers, which lie in a map value.
    unsafe {
        if packet.frame.is_v4 {
            let ip = ip.add(IP / 2);
            load(wire, network, ip, u64::from(IPV4_BYTES))
                && bpf_tcp_raw_check_syncookie_ipv4(ip.cast::<iphdr>(), header.cast::<tcphdr>()) == 0
        } else {
            load(wire, network, ip, u64::from(IPV6_BYTES))
                && bpf_tcp_raw_check_syncookie_ipv6(ip.cast::<ipv6hdr>(), header.cast::<tcphdr>()) == 0
        }
    }
}

/// Marks the source as proven. What it owes so far anybody may have spent in its name.
#[inline(always)]
fn acquit(packet: &PacketContext, found: *mut SourceEntry) {
    // SAFETY: the only caller passes a map value; plain stores, of which the last one may win.
    unsafe {
        (*found).flags = ((*found).flags & (entry::PROOF - 1) | entry::PROVEN) + entry::PROOF;
        (*found).owned = [packet.now; OWNED];
        (*found).force = [packet.now; DIMENSIONS];
    }
}

/// Hears what a listener of this host says, from what leaves.
#[inline(always)]
pub fn listen(ctx: *mut __sk_buff, settings: &Settings, packet: &PacketContext) {
    const OPENING: u8 = tcp::SYN | tcp::ACK;
    if !is_supported() || settings.flags & setting::COOKIES == 0 || packet.frame.protocol != protocol::TCP {
        return;
    }
    let flags = packet.frame.tcp_flags & (OPENING | tcp::RST);
    if flags == OPENING {
        hear(ctx, packet);
    } else if flags == tcp::RST | tcp::ACK && packet.frame.sequence == 0 {
        // The port is closed.
        forget(packet);
    }
}

#[inline(never)]
fn hear(ctx: *mut __sk_buff, packet: &PacketContext) {
    // SAFETY: the kernel calls a classifier with a valid context; volatile, as in `reader`. What is forwarded has an interface
    // that it came in through, and who forwards cannot take the cookie of another host's listener.
    if !is_plain(packet, protocol::TCP) || unsafe { (&raw const (*ctx).ingress_ifindex).read_volatile() } != 0
    {
        return;
    }
    let (port, is_v4) = (packet.frame.source_port, packet.frame.is_v4);
    let place = maps::LISTENERS.get_ptr_mut(challenge::place(packet.interface, port, is_v4));
    let (Some(reply), Some(place)) = (maps::REPLY.get_ptr_mut(hook::EGRESS), place) else {
        return;
    };
    // SAFETY: the value is this CPU's own.
    let reply = unsafe { &mut *reply };
    if !read(Wire::Out(ctx), packet, reply) {
        return;
    }
    read_options(reply);
    let headers = &reply.headers;
    let window = u16::from_be_bytes([headers.tcp[14], headers.tcp[15]]);
    let hops = if is_v4 { headers.ip[IP / 2 + 8] } else { headers.ip[7] };
    // SAFETY: the pointer is to a map value; plain stores, of which the last one may win.
    unsafe {
        let before = Listener((*place).word);
        let (segment, scale) = (fresh(&reply.options.segment), fresh(&reply.options.scale));
        let listener = Listener::heard(port, window, hops, segment, scale, before);
        *place = Heard::new(listener, packet.now, packet.interface, is_v4);
    }
}

#[inline(never)]
fn forget(packet: &PacketContext) {
    let (port, is_v4) = (packet.frame.source_port, packet.frame.is_v4);
    if let Some(place) = maps::LISTENERS.get_ptr_mut(challenge::place(packet.interface, port, is_v4)) {
        // SAFETY: as above.
        unsafe {
            if (*place).speaks_for(port, packet.interface, is_v4, packet.now) {
                (*place).at = 0;
            }
        }
    }
}
