//! Open connections of services that have them followed: how many a source holds, and whether their first data is encrypted.
//!
//! In: a packet that all rates let pass, of such a service; on the way out, whatever leaves. Out: a verdict, or go on. What counts
//! and when it ends is in [`monitor_common::connection`].

use aya_ebpf::bindings::xdp_md;
use monitor_common::{
    connection::{Cell, Holder, Open, State, WAYS, Word, first, is_encrypted, is_free},
    flow::{protocol, tcp},
    parse::Fragment,
    proof::{self, Way},
    record::Incident,
    rule::{ENCRYPTION_SHIFT, FOLLOWS_CONNECTIONS, Limit, Settings, followed_port, mode},
    verdict::{Reason, Verdict},
};

use super::{aggregate, is_known, requests::GO_ON, violation};
use crate::{
    atomic,
    context::{PacketContext, fresh, hook},
    maps, reader,
    rules::Rules,
    scratch::Followed,
    source_table, totals,
};

const NOWHERE: u32 = u32::MAX;

/// Judges a packet that all rates let pass; what it may not goes into the context as the verdict.
///
/// Not inlined: rare, with a stack of its own, and the caller's state is one after it.
#[inline(never)]
pub fn judge(ctx: *mut xdp_md, rules: Rules, packet: &mut PacketContext) {
    let rules = &rules;
    let is_whole = fresh(&packet.piece) == Fragment::Whole as u32;
    if fresh(&packet.further) & FOLLOWS_CONNECTIONS == 0
        || packet.frame.protocol != protocol::TCP
        || !is_whole
    {
        return;
    }
    let (Some(limit), Some(followed)) =
        (super::further(rules, packet), maps::FOLLOWED.get_ptr_mut(hook::INGRESS))
    else {
        return;
    };
    // SAFETY: the value is this CPU's own at this hook.
    let followed = unsafe { &mut *followed };
    let hash = proof::hash(rules.settings.hash_key, &packet.frame, Way::In);
    followed.verdict = GO_ON;
    find(followed, hash, packet.now);
    let flags = packet.frame.tcp_flags;
    if flags & (tcp::SYN | tcp::ACK) == tcp::SYN {
        ask(rules, limit, packet, followed);
    } else if flags & tcp::RST != 0 {
        reset(followed, hash, packet);
    } else if flags & (tcp::SYN | tcp::ACK) == tcp::ACK {
        follow(rules, limit, packet, followed, hash);
        if fresh(&followed.verdict) == GO_ON && packet.frame.payload != 0 {
            look(ctx, limit, packet, followed, hash);
        }
    }
    let verdict = fresh(&followed.verdict);
    if verdict != GO_ON {
        packet.verdict = verdict;
    }
}

/// Sees what leaves: the server's answers, and how it ends a connection.
#[inline(always)]
pub fn leave(settings: &Settings, packet: &PacketContext, hook: u32) {
    let may_be_followed = settings.followed_ports & followed_port(packet.frame.source_port) != 0;
    if may_be_followed && packet.frame.protocol == protocol::TCP && packet.frame.tcp_flags & tcp::SYN == 0 {
        answer(settings, packet, hook);
    }
}

#[inline(never)]
fn answer(settings: &Settings, packet: &PacketContext, hook: u32) {
    let Some(followed) = maps::FOLLOWED.get_ptr_mut(hook) else {
        return;
    };
    // SAFETY: as above.
    let followed = unsafe { &mut *followed };
    let hash = proof::hash(settings.hash_key, &packet.frame, Way::Out);
    find(followed, hash, packet.now);
    let Some(cell) = cell(hash, fresh(&followed.own)) else {
        return;
    };
    if packet.frame.tcp_flags & (tcp::FIN | tcp::RST) != 0 {
        end(cell, hash);
        return;
    }
    // SAFETY: the pointer is to a map value.
    unsafe {
        (*cell).state = State::new(packet.frame.acknowledged, packet.now).0;
        let word = Word(atomic::load(&raw const (*cell).word));
        if !word.has(Word::COUNTED | Word::ANSWERED) && word.is_of(hash) {
            atomic::replace(&raw mut (*cell).word, word.0, word.0 | Word::ANSWERED);
        }
    }
}

/// Looks for the cell of a connection, or one that it may have.
#[inline(never)]
fn find(followed: &mut Followed, hash: u64, now: u64) {
    (followed.own, followed.free) = (NOWHERE, NOWHERE);
    let mut way = 0;
    while way < WAYS {
        let Some(cell) = cell(hash, way) else {
            return;
        };
        // SAFETY: the pointer is to a map value.
        let (word, state) = unsafe { (atomic::load(&raw const (*cell).word), (*cell).state) };
        if Word(word).is_of(hash) {
            followed.own = way;
        } else if is_free(word, state, now) {
            followed.free = way;
        }
        way += 1;
    }
}

/// A cell of the set of a connection with this hash.
#[inline(always)]
fn cell(hash: u64, way: u32) -> Option<*mut Cell> {
    if way == NOWHERE {
        return None;
    }
    let set = maps::OPEN_CONNECTIONS.get_ptr_mut(first(hash, maps::open_cells()) / WAYS)?;
    Some(set.cast::<Cell>().wrapping_add((way & (WAYS - 1)) as usize))
}

/// A packet that opens a connection, or completes its handshake: refused when its source, or all together, hold as many as they
/// may. What only observes is noted of the first of both.
#[inline(never)]
fn ask(rules: &Rules, limit: &Limit, packet: &mut PacketContext, followed: &mut Followed) {
    let held = held(packet, followed);
    if limit.candidate_concurrent != 0 && held >= limit.candidate_concurrent {
        packet.candidate |= u32::from(opens(packet));
    }
    if limit.concurrent != 0 && held >= limit.concurrent && limit.force.mode != mode::OFF {
        refuse(packet, followed, Reason::OpenConnections, limit.force.mode);
        let dropped = fresh(&followed.verdict) != GO_ON;
        if (dropped || opens(packet))
            && let Some(entry) = source_table::find(packet)
        {
            // SAFETY: the pointer is to a map value.
            unsafe {
                violation::count(packet, dropped, entry);
                violation::note(packet, entry, Reason::OpenConnections.into());
            }
        }
    }
    if fresh(&followed.verdict) == GO_ON && fresh(&packet.has_aggregate) != 0 {
        ask_for_all(rules, packet, followed);
    }
}

/// The same of all sources together.
#[inline(never)]
fn ask_for_all(rules: &Rules, packet: &mut PacketContext, followed: &mut Followed) {
    let (Some((together, _)), Some(totals)) =
        (aggregate::of_service(rules, packet), maps::OPEN_TOTALS.get_ptr_mut(packet.service))
    else {
        return;
    };
    if together.mode == mode::OFF || together.concurrent == 0 {
        return;
    }
    let known = is_known(rules, packet, source_table::find(packet));
    let most = if known { together.concurrent } else { together.strangers_concurrent };
    // SAFETY: the pointer is to a map value.
    if unsafe { atomic::load(&raw const (*totals).open) } >= u64::from(most) {
        refuse(packet, followed, Reason::AggregateOpenConnections, together.mode);
    }
}

/// The verdict of a limit that enforces, or a note of one that observes.
#[inline(always)]
fn refuse(packet: &mut PacketContext, followed: &mut Followed, reason: Reason, its_mode: u32) {
    if its_mode == mode::ENFORCE && fresh(&packet.enforce) != 0 {
        followed.verdict = reason as u32;
    } else if its_mode != mode::OFF && (opens(packet) || reason as u32 == Reason::NotEncrypted as u32) {
        packet.note_would_drop(Verdict::from(reason));
    }
}

#[inline(always)]
fn opens(packet: &PacketContext) -> bool {
    packet.frame.tcp_flags & tcp::SYN != 0
}

/// A RST of the client.
#[inline(never)]
fn reset(followed: &Followed, hash: u64, packet: &PacketContext) {
    let Some(cell) = cell(hash, fresh(&followed.own)) else {
        return;
    };
    // SAFETY: the pointer is to a map value; a plain store, of which the last one may win.
    unsafe {
        let next = State((*cell).state).reset(packet.frame.sequence, packet.now);
        if next == 0 {
            end(cell, hash);
        } else {
            (*cell).state = next;
        }
    }
}

/// A packet within a connection, or the one that completes its handshake.
#[inline(never)]
fn follow(rules: &Rules, limit: &Limit, packet: &mut PacketContext, followed: &mut Followed, hash: u64) {
    if let Some(cell) = cell(hash, fresh(&followed.own)) {
        // SAFETY: the pointer is to a map value; a plain store, of which the last one may win.
        let word = unsafe {
            let state = State((*cell).state);
            let seen = state.seen(packet.now);
            if seen != state {
                (*cell).state = seen.0;
            }
            Word(atomic::load(&raw const (*cell).word))
        };
        let is_unseen = word.has(Word::ANSWERED) && !word.has(Word::COUNTED);
        if is_unseen && packet.frame.tcp_flags & tcp::FIN == 0 {
            count(packet, followed, hash, 0);
        }
    } else if let Some(expected) = maps::PROOFS.get_ptr_mut(proof::place(hash)) {
        // SAFETY: the pointer is to a map value; a plain store, of which the last one may win.
        unsafe {
            if !proof::Word(*expected).is_proved_by(hash, packet.frame.acknowledged) {
                // It began before it was followed, or its proof was lost, or it is forged: it counts once the server answers.
                enter(packet, followed, hash, Word::new(hash, 0, 0));
                return;
            }
            // Of handshakes side by side, no SYN was refused.
            ask(rules, limit, packet, followed);
            if fresh(&followed.verdict) == GO_ON {
                *expected = 0;
                count(packet, followed, hash, Word::FRESH);
            }
        }
    }
}

/// Puts a connection that does not count yet into a cell.
#[inline(always)]
fn enter(packet: &PacketContext, followed: &Followed, hash: u64, word: Word) -> bool {
    let own = fresh(&followed.own);
    let Some(cell) = cell(hash, if own == NOWHERE { fresh(&followed.free) } else { own }) else {
        totals::incident(Incident::ConnectionTableFull);
        return false;
    };
    // SAFETY: the pointer is to a map value; plain stores of the state, of which the last one may win.
    unsafe {
        let before = Word(atomic::load(&raw const (*cell).word));
        if !atomic::replace(&raw mut (*cell).word, before.0, word.0) {
            return false;
        }
        if own == NOWHERE {
            (*cell).state = State::new(packet.frame.sequence, packet.now).0;
        }
        if before.has(Word::COUNTED) {
            take_off(before.place());
        }
    }
    true
}

/// Counts a connection.
#[inline(never)]
fn count(packet: &PacketContext, followed: &mut Followed, hash: u64, flags: u64) {
    let key = packet.hash | 1;
    seek(followed, key);
    let way = fresh(&followed.way);
    let place = Holder::first(key, maps::holder_count()) + (way & (Holder::WAYS - 1));
    let Some(holder) = maps::HOLDERS.get_ptr_mut(place).filter(|_| way != NOWHERE) else {
        totals::incident(Incident::ConnectionTableFull);
        return;
    };
    // SAFETY: the pointer is to a map value, whose words are changed by atomic instructions.
    unsafe {
        let before = atomic::load(&raw const (*holder).key);
        if before != key && !atomic::replace(&raw mut (*holder).key, before, key) {
            return;
        }
        let open = atomic::load(&raw const (*holder).open);
        if Holder::service(open) != packet.service
            && !atomic::replace(&raw mut (*holder).open, open, Holder::none(packet.service))
        {
            return;
        }
        // It counts before it can end.
        atomic::add(&raw mut (*holder).open, 1);
        if let Some(totals) = maps::OPEN_TOTALS.get_ptr_mut(packet.service) {
            atomic::add(&raw mut (*totals).open, 1);
        }
        if !enter(packet, followed, hash, Word::new(hash, place, flags | Word::COUNTED)) {
            take_off(place);
        }
    }
}

/// How many connections the packet's source holds.
#[inline(always)]
fn held(packet: &PacketContext, followed: &mut Followed) -> u32 {
    let key = packet.hash | 1;
    seek(followed, key);
    let way = fresh(&followed.way);
    match maps::HOLDERS.get_ptr_mut(Holder::first(key, maps::holder_count()) + (way & (Holder::WAYS - 1))) {
        // SAFETY: the pointer is to a map value.
        Some(holder) if way != NOWHERE => unsafe {
            let is_its = atomic::load(&raw const (*holder).key) == key;
            if is_its { Holder::count(atomic::load(&raw const (*holder).open)) } else { 0 }
        },
        _ => 0,
    }
}

/// Looks for the place of a source, or one that it may have.
#[inline(never)]
fn seek(followed: &mut Followed, key: u64) {
    followed.way = NOWHERE;
    let mut way = 0;
    while way < Holder::WAYS {
        let Some(holder) = maps::HOLDERS.get_ptr_mut(Holder::first(key, maps::holder_count()) + way) else {
            return;
        };
        // SAFETY: the pointer is to a map value.
        unsafe {
            if atomic::load(&raw const (*holder).key) == key {
                followed.way = way;
                return;
            }
            if Holder::count(atomic::load(&raw const (*holder).open)) == 0 {
                followed.way = way;
            }
        }
        way += 1;
    }
}

/// Ends a connection, once.
#[inline(never)]
fn end(cell: *mut Cell, hash: u64) {
    // SAFETY: the callers pass a map value.
    unsafe {
        let word = Word(atomic::load(&raw const (*cell).word));
        if word.is_of(hash) && atomic::replace(&raw mut (*cell).word, word.0, 0) && word.has(Word::COUNTED) {
            take_off(word.place());
        }
    }
}

/// Takes a connection that ended off its holder and off its service.
#[inline(never)]
fn take_off(place: u32) {
    let Some(holder) = maps::HOLDERS.get_ptr_mut(place) else {
        return;
    };
    // SAFETY: the pointers are to map values. Nothing is below 0, whatever the daemon corrected meanwhile.
    unsafe {
        let open = atomic::load(&raw const (*holder).open);
        if Holder::count(open) != 0 {
            atomic::add(&raw mut (*holder).open, u64::MAX);
        }
        if let Some(totals) = maps::OPEN_TOTALS.get_ptr_mut(Holder::service(open))
            && atomic::load(&raw const (*totals).open) != 0
        {
            atomic::add(&raw mut (*totals).open, u64::MAX);
        }
    }
}

/// Looks at the first data of a connection, and refuses what follows data in clear.
#[inline(never)]
fn look(ctx: *mut xdp_md, limit: &Limit, packet: &mut PacketContext, followed: &mut Followed, hash: u64) {
    let its_mode = limit.force.dimensions >> ENCRYPTION_SHIFT & 3;
    if its_mode == mode::OFF {
        return;
    }
    // The cell that it had before it was counted just now, or has since.
    find(followed, hash, packet.now);
    let Some(cell) = cell(hash, fresh(&followed.own)) else {
        return;
    };
    // SAFETY: the pointer is to a map value.
    let (word, state) = unsafe { (Word(atomic::load(&raw const (*cell).word)), State((*cell).state)) };
    if word.has(Word::FRESH) && packet.frame.sequence == state.number() {
        let is_clear = !is_encrypted(reader::first_data(ctx, packet), packet.frame.payload);
        tally(packet.service, is_clear);
        let flags = if is_clear { Word::CLEAR } else { 0 };
        // SAFETY: as above. Nothing else changes the word of a connection that is counted and goes on.
        unsafe { atomic::replace(&raw mut (*cell).word, word.0, word.0 & !Word::FRESH | flags) };
        if is_clear {
            refuse(packet, followed, Reason::NotEncrypted, its_mode);
        }
    } else if word.has(Word::CLEAR) && its_mode == mode::ENFORCE {
        // The server never saw how it began.
        refuse(packet, followed, Reason::NotEncrypted, its_mode);
    }
}

#[inline(never)]
fn tally(service: u32, is_clear: bool) {
    let Some(totals) = maps::OPEN_TOTALS.get_ptr_mut(service) else {
        return;
    };
    // SAFETY: the pointer is to a map value.
    unsafe {
        let Open { encrypted, clear, .. } = &mut *totals;
        atomic::add(if is_clear { clear } else { encrypted }, 1);
    }
}
