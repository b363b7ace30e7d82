//! What conversations promise: canonical keys, outcomes, bursts, and failures told by ICMP.

use super::{
    Conversation, Record,
    embedded::failure,
    note, outcome, record_kind, report, state,
    tracking::{Entering, MILLISECOND, OnWire, SECOND, Sight, entering, key_of},
};
use crate::{
    flow::{mapped, mapped_halves, protocol, tcp},
    parse::{Fragment, Frame, Parsed, parse},
    plain::Plain,
};

const CLIENT: [u8; 4] = [10, 0, 0, 9];
const SERVER: [u8; 4] = [10, 0, 0, 5];

fn frame(
    source: [u8; 4],
    destination: [u8; 4],
    upper: u8,
    ports: (u16, u16),
    flags: u8,
    payload: u32,
) -> Frame {
    Frame {
        source: mapped_halves(source),
        destination: mapped_halves(destination),
        is_v4: true,
        protocol: upper,
        fragment: Fragment::Whole,
        tcp_flags: flags,
        source_port: ports.0,
        destination_port: ports.1,
        vlans: [0; 2],
        length: 54 + payload,
        network_offset: 14,
        transport_offset: 34,
        payload,
        ..Frame::EMPTY
    }
}

fn out(flags: u8, payload: u32) -> Frame {
    frame(CLIENT, SERVER, protocol::TCP, (40_000, 443), flags, payload)
}

fn back(flags: u8, payload: u32) -> Frame {
    frame(SERVER, CLIENT, protocol::TCP, (443, 40_000), flags, payload)
}

/// A table of one conversation.
struct Follower(Option<Conversation>);

impl Follower {
    fn see(&mut self, frame: &Frame, now: u64) -> u32 {
        self.see_cut(frame, OnWire::whole(frame), now)
    }

    fn see_cut(&mut self, frame: &Frame, wire: OnWire, now: u64) -> u32 {
        let (_, higher) = key_of(frame).expect("a conversation");
        if let Some(conversation) = &mut self.0 {
            return conversation.update(frame, wire, higher, now, 5 * SECOND);
        }
        let sight = Sight { source_inside: true, destination_inside: true, track_all: false };
        let by_source = match entering(frame, sight) {
            Entering::BySource => true,
            Entering::ByDestination => false,
            Entering::Observe(_) => return record_kind::OBSERVED,
        };
        let mut conversation = Conversation::zeroed();
        conversation.begin(frame, wire, higher, by_source, now);
        self.0 = Some(conversation);
        record_kind::STARTED
    }

    fn value(&self) -> &Conversation {
        self.0.as_ref().expect("an entry")
    }
}

#[test]
fn both_directions_meet_in_one_key() {
    let (one, sender_is_higher) = key_of(&out(tcp::SYN, 0)).expect("key");
    let (other, answer_is_higher) = key_of(&back(tcp::SYN | tcp::ACK, 0)).expect("key");
    assert_eq!(one, other);
    assert!(sender_is_higher && !answer_is_higher);
}

#[test]
fn a_connection_is_reported_at_its_start_its_answer_and_its_end() {
    let mut table = Follower(None);
    let mut seen = Vec::new();
    for (at, packet) in [
        (1, out(tcp::SYN, 0)),
        (2, back(tcp::SYN | tcp::ACK, 0)),
        (3, out(tcp::ACK, 100)),
        (4, back(tcp::ACK, 1000)),
        (6000, back(tcp::ACK, 1000)),
        (6001, out(tcp::FIN | tcp::ACK, 0)),
        (6002, back(tcp::FIN | tcp::ACK, 0)),
        (6003, out(tcp::ACK, 0)),
    ] {
        seen.push(table.see(&packet, at * MILLISECOND));
    }
    let (started, active, ended) = (record_kind::STARTED, record_kind::ACTIVE, record_kind::ENDED);
    assert_eq!(seen, [started, 0, active, 0, active, 0, ended, 0]);
    let value = table.value();
    assert_eq!(
        (value.outcome, value.forward.payload, value.backward.payload),
        (outcome::ESTABLISHED, 100, 2000)
    );
    assert_eq!((value.opens, value.records), (1, 4));
    assert_eq!(
        table.see(&out(tcp::SYN, 0), 7000 * MILLISECOND),
        record_kind::STARTED,
        "ports are used again"
    );
    assert_eq!(table.value().forward.packets, 1);
}

#[test]
fn a_reset_as_the_first_answer_is_a_refusal() {
    let mut table = Follower(None);
    table.see(&out(tcp::SYN | tcp::ECE | tcp::CWR, 0), 1);
    assert_eq!(table.see(&back(tcp::RST | tcp::ACK, 0), 2), record_kind::ENDED);
    assert_eq!(table.value().outcome, outcome::REFUSED);
}

#[test]
fn an_answer_that_goes_another_way_shows_in_the_acknowledgement() {
    let mut table = Follower(None);
    table.see(&out(tcp::SYN, 0), 1);
    assert_eq!(table.see(&out(tcp::SYN, 0), 2), 0, "a retransmission is no news");
    assert_eq!(table.see(&out(tcp::ACK, 0), 3), record_kind::ACTIVE);
    assert_eq!((table.value().outcome, table.value().opens), (outcome::ESTABLISHED, 2));
}

#[test]
fn a_forgeable_packet_from_outside_never_enters() {
    let sight =
        |source_inside, destination_inside, track_all| Sight { source_inside, destination_inside, track_all };
    let check = |packet: &Frame, sight, expected| assert_eq!(entering(packet, sight), expected, "{packet:?}");
    for track_all in [false, true] {
        check(&out(tcp::SYN, 0), sight(false, true, track_all), Entering::Observe(note::SYN));
        check(&out(tcp::ACK, 99), sight(false, true, track_all), Entering::Observe(note::STRAY));
        let datagram = frame(CLIENT, SERVER, protocol::UDP, (40_000, 53), 0, 30);
        check(&datagram, sight(false, true, track_all), Entering::Observe(note::UDP));
    }
    check(&out(tcp::SYN, 0), sight(false, false, false), Entering::Observe(note::SYN));
    check(&out(tcp::SYN, 0), sight(false, false, true), Entering::BySource);
    check(&back(tcp::SYN | tcp::ACK, 0), sight(true, false, false), Entering::Observe(note::SYN_ACK));
    check(&back(tcp::RST, 0), sight(true, false, false), Entering::Observe(note::RESET));
    check(&back(tcp::ACK, 10), sight(true, false, false), Entering::ByDestination);
    check(&out(tcp::ACK, 10), sight(true, false, false), Entering::BySource);
    check(&out(0, 0), sight(true, false, false), Entering::Observe(note::STRAY));
    check(&out(tcp::SYN | tcp::FIN, 0), sight(true, false, false), Entering::Observe(note::STRAY));
}

#[test]
fn the_answer_of_an_inside_service_names_the_outside_end_as_initiator() {
    let mut conversation = Conversation::zeroed();
    let packet = back(tcp::ACK | tcp::PSH, 500);
    let (key, higher) = key_of(&packet).expect("key");
    conversation.begin(&packet, OnWire::whole(&packet), higher, false, 9);
    let mut record = Record::zeroed();
    report::conversation(&mut record, &key, &conversation, record_kind::STARTED, 9);
    assert_eq!((record.initiator, record.initiator_port), (mapped(CLIENT), 40_000));
    assert_eq!((record.responder, record.responder_port), (mapped(SERVER), 443));
    assert_eq!((record.backward.payload, record.outcome), (500, outcome::MIDSTREAM));
}

#[test]
fn bursts_are_counted_and_keep_alives_are_not() {
    let mut table = Follower(None);
    table.see(&out(tcp::SYN, 0), 0);
    for beat in 0..12 {
        let at = (1000 + beat * 10_000) * MILLISECOND;
        table.see(&out(tcp::ACK, 64), at);
        table.see(&back(tcp::ACK, 32), at + 20 * MILLISECOND);
        table.see(&out(tcp::ACK, 1), at + 5000 * MILLISECOND);
    }
    let bursts = table.value().bursts;
    assert_eq!((bursts.count, bursts.last_gap_ms, bursts.jitter_sum_ms), (12, 10_000, 0));
    assert_eq!((bursts.gap_sum_ms, bursts.gap_square_sum), (110_000, 1_100_000_000));
}

#[test]
fn a_clock_that_runs_backwards_changes_no_time() {
    let mut table = Follower(None);
    table.see(&out(tcp::SYN, 0), 100 * SECOND);
    assert_eq!(table.see(&out(tcp::ACK, 10), 10 * SECOND), record_kind::ACTIVE);
    assert_eq!((table.value().last_seen, table.value().bursts.count), (100 * SECOND, 1));
}

/// Ethernet, IPv4 and ICMP type 3 code 3, quoting a UDP packet from 10.0.0.9:40000 to 10.0.0.5:161.
fn unreachable(receiver: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend([8, 0]);
    bytes.extend([0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0]);
    bytes.extend([10, 0, 0, 1]);
    bytes.extend(receiver);
    bytes.extend([3, 3, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(CLIENT);
    bytes.extend(SERVER);
    bytes.extend(40_000u16.to_be_bytes());
    bytes.extend(161u16.to_be_bytes());
    bytes.extend([0, 8, 0, 0]);
    bytes
}

#[test]
fn a_large_segment_counts_as_the_packets_that_it_is_cut_into() {
    let large = out(tcp::ACK, 14_480);
    for (segments, size, packets, bytes) in
        [(10, 1448, 10, 14_480 + 540), (0, 1448, 10, 14_480 + 540), (0, 0, 1, 14_534), (1, 1448, 1, 14_534)]
    {
        assert_eq!(OnWire::cut(&large, segments, size), OnWire { packets, bytes }, "{segments} of {size}");
    }
    let mut table = Follower(None);
    table.see(&out(tcp::SYN, 0), 1);
    table.see(&back(tcp::SYN | tcp::ACK, 0), 2);
    table.see(&out(tcp::ACK, 0), 3);
    assert_eq!(table.see_cut(&large, OnWire::cut(&large, 10, 1448), 4), 0);
    let sent = table.value().forward;
    assert_eq!((sent.packets, sent.bytes, sent.payload), (12, 2 * 54 + 14_480 + 540, 14_480));
    assert_eq!(sent.payload_squares, 10 * 1448 * 1448, "as ten packets would have it");
}

#[test]
fn a_conversation_that_grows_reports_itself_once_per_power_of_four_however_large_its_segments() {
    for cut in [1, 7, 45] {
        let mut table = Follower(None);
        table.see(&out(tcp::SYN, 0), 1);
        table.see(&back(tcp::SYN | tcp::ACK, 0), 1);
        table.see(&out(tcp::ACK, 0), 1);
        let segment = out(tcp::ACK, cut * 1000);
        let wire = OnWire::cut(&segment, cut, 1000);
        let frames = 20_000 / cut;
        let due = (0..frames).filter(|_| table.see_cut(&segment, wire, 2) == record_kind::ACTIVE).count();
        assert_eq!(due, 3, "at 1024, 4096 and 16384 packets, in segments of {cut}");
    }
}

#[test]
fn an_icmp_error_belongs_to_the_conversation_that_it_quotes() {
    let datagram = frame(CLIENT, SERVER, protocol::UDP, (40_000, 161), 0, 0);
    let (key, higher) = key_of(&datagram).expect("key");
    let bytes = unreachable(CLIENT);
    let Parsed::Ip(error) = parse(&bytes[..]) else { panic!("an IP packet") };
    let failure = failure(&bytes[..], &error).expect("a failure");
    assert_eq!((failure.key, failure.sender_is_higher), (key, higher));
    assert_eq!(key_of(&error), None, "the error itself is no conversation");
    let mut conversation = Conversation::zeroed();
    conversation.begin(&datagram, OnWire::whole(&datagram), higher, true, 1);
    assert_eq!(conversation.fail(failure.outcome, 2), record_kind::ACTIVE);
    assert_eq!((conversation.outcome, conversation.fail(failure.outcome, 3)), (outcome::REFUSED, 0));
}

#[test]
fn an_icmp_error_that_quotes_a_packet_its_receiver_did_not_send_is_ignored() {
    let bytes = unreachable([10, 0, 0, 77]);
    let Parsed::Ip(error) = parse(&bytes[..]) else { panic!("an IP packet") };
    assert_eq!(failure(&bytes[..], &error), None);
}

#[test]
fn an_echo_session_is_one_conversation_of_requests_and_replies() {
    let mut table = Follower(None);
    let request = frame(SERVER, CLIENT, protocol::ICMP, (0, 8 << 8), 0, 56);
    let reply = frame(CLIENT, SERVER, protocol::ICMP, (0, 0), 0, 56);
    assert_eq!(table.see(&reply, 1), record_kind::OBSERVED, "backscatter begins nothing");
    assert_eq!(table.see(&request, 2), record_kind::STARTED);
    assert_eq!(table.see(&reply, 3), record_kind::ACTIVE);
    assert_eq!((table.value().outcome, table.value().backward.packets), (outcome::ESTABLISHED, 1));
    assert_eq!(table.value().state & state::CLOSED, 0);
}

#[test]
fn arp_requests_are_reported_and_announcements_are_not() {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 7, 8, 6]);
    bytes.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7]);
    bytes.extend(CLIENT);
    bytes.extend([0; 6]);
    bytes.extend(SERVER);
    let mut record = Record::zeroed();
    assert!(report::arp_request(&mut record, &bytes[..], 14, 3, 1, 42));
    assert_eq!((record.initiator, record.responder), (mapped(CLIENT), mapped(SERVER)));
    assert_eq!((record.note, record.weight, record.mac), (note::ARP_REQUEST, 3, 0x0200_0000_0007));
    bytes[38..42].copy_from_slice(&CLIENT);
    assert!(!report::arp_request(&mut record, &bytes[..], 14, 1, 1, 42));
}
