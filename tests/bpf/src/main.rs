//! Programs that the benchmark measures sluice against, and the wrapper that varies the source of a test run's packet.
//!
//! `vary` rewrites the source address in place and calls the program under measurement; what it costs itself is the
//! floor, measured with `drop_at_once` behind it. None of this is loaded outside the benchmark.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "the BPF target has no atomics in core::sync")
)]

#[cfg(target_arch = "bpf")]
mod traffic;

#[cfg(target_arch = "bpf")]
mod programs {
    use core::intrinsics::{AtomicOrdering, atomic_cxchg};

    use aya_ebpf::{
        bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
        helpers::generated::bpf_jiffies64,
        macros::{map, xdp},
        maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
        programs::XdpContext,
    };
    use monitor_common::{
        bucket::admit,
        names::capacity,
        packet::Packet,
        parse::{Frame, end, parse_into},
        record::SourceEntry,
    };

    /// Place and number of the sources: offset of the address's varied word, mask of the random number, added base.
    #[map]
    static VARY: Array<[u64; 4]> = Array::with_max_entries(1, 0);
    #[map]
    static SEED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
    #[map]
    static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
    #[map]
    static LRU: LruHashMap<u32, [u64; 2]> = LruHashMap::with_max_entries(131_072, 0);
    #[map]
    static EXACT: HashMap<[u64; 3], SourceEntry> = HashMap::with_max_entries(capacity::SOURCES, 0);
    #[map]
    static EMPTY: Array<SourceEntry> = Array::with_max_entries(1, 0);
    /// Where the parser writes, as sluice's own does.
    #[map]
    static FRAME: PerCpuArray<Frame> = PerCpuArray::with_max_entries(1, 0);

    /// Writes the next source into the packet and hands over. `VARY` is [offset, mask, base, 1 for eight bytes].
    #[xdp(frags)]
    pub fn vary(ctx: XdpContext) -> u32 {
        let (Some(vary), Some(seed)) = (VARY.get(0), SEED.get_ptr_mut(0)) else {
            return XDP_ABORTED;
        };
        // SAFETY: the value is this CPU's own.
        let next = unsafe {
            *seed = (*seed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *seed >> 20
        };
        let offset = vary[0] as usize & 63;
        let start = ctx.data() + offset;
        if start + 8 > ctx.data_end() {
            return XDP_ABORTED;
        }
        let number = (next & vary[1]) + vary[2];
        // SAFETY: eight bytes from `start` were just held against the end of the packet.
        unsafe {
            if vary[3] == 0 {
                (start as *mut u32).write_unaligned((number as u32).to_be());
            } else {
                (start as *mut u64).write_unaligned(number.to_be());
            }
        }
        // SAFETY: a tail call does not return when it succeeds, and nothing is held here.
        let _ = unsafe { TARGET.tail_call(&ctx, 0) };
        XDP_ABORTED
    }

    #[xdp(frags)]
    pub fn drop_at_once(_ctx: XdpContext) -> u32 {
        XDP_DROP
    }

    struct Whole(usize, usize);

    impl Packet for Whole {
        #[inline(always)]
        fn length(&self) -> u32 {
            (self.1 - self.0) as u32
        }

        #[inline(always)]
        fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
            let start = self.0 + (offset & 0x7fff) as usize;
            if start + N > self.1 {
                return None;
            }
            // SAFETY: held against the end of the packet.
            Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
        }
    }

    /// sluice's parser and nothing else.
    #[xdp(frags)]
    pub fn parse_only(ctx: XdpContext) -> u32 {
        let Some(frame) = FRAME.get_ptr_mut(0) else {
            return XDP_ABORTED;
        };
        // SAFETY: the value is this CPU's own. What the parser leaves as it was, nobody reads here.
        let frame = unsafe { &mut *frame };
        let ended = parse_into(&Whole(ctx.data(), ctx.data_end()), frame);
        if ended.kind == end::IP && frame.source[1] != 0 { XDP_DROP } else { XDP_PASS }
    }

    #[inline(always)]
    fn source(ctx: &XdpContext) -> Option<u32> {
        let start = ctx.data() + 26;
        if start + 4 > ctx.data_end() {
            return None;
        }
        // SAFETY: held against the end of the packet.
        Some(unsafe { (start as *const u32).read_unaligned() })
    }

    /// The table that everybody uses: least recently used sources fall out.
    #[xdp(frags)]
    pub fn lru_count(ctx: XdpContext) -> u32 {
        let Some(source) = source(&ctx) else {
            return XDP_PASS;
        };
        match LRU.get_ptr_mut(&source) {
            // SAFETY: a map value is valid for the whole run.
            Some(entry) => unsafe { (*entry)[0] += 1 },
            None => drop(LRU.insert(&source, &[1, 0], 0)),
        }
        XDP_DROP
    }

    /// The same with a bucket in it.
    #[xdp(frags)]
    pub fn lru_gcra(ctx: XdpContext) -> u32 {
        let Some(source) = source(&ctx) else {
            return XDP_PASS;
        };
        // SAFETY: the helper takes nothing.
        let now = unsafe { bpf_jiffies64() } * 64_000_000;
        let Some(entry) = LRU.get_ptr_mut(&source) else {
            let _ = LRU.insert(&source, &[1, now], 0);
            return XDP_DROP;
        };
        // SAFETY: a map value is valid for the whole run.
        unsafe {
            (*entry)[0] += 1;
            let word = &raw mut (*entry)[1];
            let tat = word.read_volatile();
            if let Some(next) = admit(tat, now, 160_000, 1_600_000_000) {
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, tat, next);
            }
        }
        XDP_DROP
    }

    /// A bare lookup in the kernel's own hash table, with keys, entries and size of the exact table; it is filled by the
    /// warm-up.
    #[xdp(frags)]
    pub fn exact_lookup(ctx: XdpContext) -> u32 {
        let Some(source) = source(&ctx) else {
            return XDP_PASS;
        };
        let key = [0, 0xffff_0000_0000 | u64::from(u32::from_be(source)), 0];
        if EXACT.get_ptr_mut(&key).is_some() {
            return XDP_DROP;
        }
        if let Some(empty) = EMPTY.get(0) {
            let _ = EXACT.insert(&key, empty, 0);
        }
        XDP_PASS
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// The object is only meaningful for the BPF target; elsewhere this keeps the workspace's checks in one command.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
