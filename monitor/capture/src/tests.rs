use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

const FRAME: [u8; 18] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, 2, 3, 4];

/// Words in one order, and bytes.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| if self.0 { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }

    fn halves(self, halves: &[u16]) -> Vec<u8> {
        halves.iter().flat_map(|half| if self.0 { half.to_be_bytes() } else { half.to_le_bytes() }).collect()
    }

    fn pcap(self, magic: u32, link: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = self.words(&[magic, 0, 0, 0, 65_535, link]);
        if self.0 {
            file[4..8].copy_from_slice(&[0, 2, 0, 4]);
        }
        for (seconds, fraction, length, data) in packets {
            let captured = u32::try_from(data.len()).unwrap();
            file.extend(self.words(&[*seconds, *fraction, captured, *length]));
            file.extend(*data);
        }
        file
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = u32::try_from(padded + 12).unwrap();
        let mut block = self.words(&[kind, length]);
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(self.words(&[length]));
        block
    }

    fn section(self) -> Vec<u8> {
        self.block(0x0a0d_0d0a, &self.words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]))
    }

    /// An interface with options of the form (code, value).
    fn interface(self, link: u16, options: Options<'_>) -> Vec<u8> {
        let mut body = self.halves(&[link, 0]);
        body.extend(self.words(&[0]));
        for (code, value) in options {
            body.extend(self.halves(&[*code, u16::try_from(value.len()).unwrap()]));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(1, &body)
    }

    fn enhanced(self, interface: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap();
        let (high, low) = (u32::try_from(ticks >> 32).unwrap(), u32::try_from(ticks & 0xffff_ffff).unwrap());
        let mut body = self.words(&[interface, high, low, length, length]);
        body.extend(data);
        self.block(6, &body)
    }
}

const ORDERS: [Order; 2] = [Order(false), Order(true)];

/// Options of an interface.
type Options<'a> = &'a [(u16, &'a [u8])];
type Read = (u64, Option<u16>, u32, Vec<u8>);

/// All packets, and how reading ended.
fn read(file: &[u8]) -> (Vec<Read>, Option<Broken>) {
    let mut capture = Capture::new(file).unwrap();
    let mut packets = Vec::new();
    loop {
        match capture.read() {
            Ok(Some(packet)) => {
                packets.push((packet.at_ns, packet.link_type, packet.length, packet.data.to_vec()));
            }
            Ok(None) => return (packets, None),
            Err(broken) => {
                assert!(capture.read().is_ok_and(|packet| packet.is_none()), "nothing after an error");
                return (packets, Some(broken));
            }
        }
    }
}

fn check(file: &[u8], wanted: &[Read]) {
    let (packets, broken) = read(file);
    assert!(broken.is_none(), "{broken:?}");
    assert_eq!(packets, wanted);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = GzEncoder::new(Vec::new(), Compression::default());
    file.write_all(bytes).unwrap();
    file.finish().unwrap()
}

#[test]
fn pcap_is_read_in_both_orders_and_units() {
    let long: &[u8] = &[7; 100];
    for order in ORDERS {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let file = order.pcap(magic, 1, &[(5, 6, 18, &FRAME), (1, 0, 1500, long)]);
            let first = (5_000_000_000 + 6 * unit, Some(1), 18, FRAME.to_vec());
            let wanted = [first, (1_000_000_000, Some(1), 1500, long.to_vec())];
            check(&file, &wanted);
            check(&gzip(&file), &wanted);
        }
    }
}

#[test]
fn the_link_type_of_pcap_is_its_lower_half() {
    check(
        &ORDERS[0].pcap(0xa1b2_c3d4, 0x1400_0071, &[(0, 0, 4, &[1, 2, 3, 4])]),
        &[(0, Some(113), 4, vec![1, 2, 3, 4])],
    );
}

#[test]
fn pcapng_times_are_scaled_by_each_interfaces_clock() {
    for order in ORDERS {
        let offset = if order.0 { 100_i64.to_be_bytes() } else { 100_i64.to_le_bytes() };
        let before = if order.0 { (-100_i64).to_be_bytes() } else { (-100_i64).to_le_bytes() };
        let clocks: [(Options<'_>, u64, u64); 9] = [
            (&[], 7_000_001, 7_000_001_000),
            (&[(9, &[9])], 7_000_000_001, 7_000_000_001),
            (&[(9, &[3])], 7001, 7_001_000_000),
            (&[(9, &[12])], 7_000_000_000_999, 7_000_000_000),
            (&[(9, &[0x8a])], 7 * 1024 + 512, 7_500_000_000),
            (&[(9, &[0xff])], u64::MAX, 0),
            (&[(2, b"eth0"), (9, &[0]), (14, &offset)], 7, 107_000_000_000),
            (&[(14, &before)], 7, 0),
            (&[(0, &[]), (9, &[0])], 7_000_000, 7_000_000_000),
        ];
        let mut file = order.section();
        let mut wanted = Vec::new();
        for (number, (options, ticks, at)) in (0..).zip(clocks) {
            file.extend(order.interface(1, options));
            file.extend(order.enhanced(number, ticks, &FRAME));
            wanted.push((at, Some(1), 18, FRAME.to_vec()));
        }
        check(&file, &wanted);
        check(&gzip(&file), &wanted);
    }
}

#[test]
fn sections_of_both_orders_follow_each_other_with_their_own_interfaces() {
    let mut file = Vec::new();
    for (order, link) in ORDERS.into_iter().zip([1, 101]) {
        file.extend(order.section());
        // A block of no known type, and one that is longer than any packet.
        file.extend(order.block(0xbad, &[1; 9]));
        file.extend(order.block(0x0bad, &vec![1; 2 << 20]));
        file.extend(order.interface(link, &[]));
        file.extend(order.enhanced(0, 3, &FRAME));
        // An interface that was never described.
        file.extend(order.enhanced(1, 4, &FRAME));
    }
    let frame = || FRAME.to_vec();
    let section = |link| [(3000, Some(link), 18, frame()), (3000, None, 18, frame())];
    check(&file, &[section(1), section(101)].concat());
}

#[test]
fn simple_packets_are_cut_to_the_snap_length_and_come_when_the_last_one_did() {
    let order = ORDERS[0];
    let mut file = order.section();
    file.extend(order.block(1, &[order.halves(&[1, 0]), order.words(&[16])].concat()));
    file.extend(order.enhanced(0, 9, &FRAME));
    file.extend(order.block(3, &[order.words(&[60]), FRAME[..16].to_vec()].concat()));
    check(&file, &[(9000, Some(1), 18, FRAME.to_vec()), (9000, Some(1), 60, FRAME[..16].to_vec())]);
}

#[test]
fn the_packet_block_of_old_is_read() {
    let order = ORDERS[1];
    let mut body = order.halves(&[0, 3]);
    body.extend(order.words(&[0, 5, 18, 60]));
    body.extend(FRAME);
    let file = [order.section(), order.interface(1, &[]), order.block(2, &body)].concat();
    check(&file, &[(5000, Some(1), 60, FRAME.to_vec())]);
}

#[test]
fn a_packet_that_its_block_contradicts_has_no_data() {
    let order = ORDERS[0];
    let liar = order.block(6, &[order.words(&[0, 0, 5, 1000, 1000]), FRAME.to_vec()].concat());
    let file = [order.section(), order.interface(1, &[]), liar, order.enhanced(0, 6, &FRAME)].concat();
    check(&file, &[(5000, Some(1), 1000, Vec::new()), (6000, Some(1), 18, FRAME.to_vec())]);
}

#[test]
fn a_file_that_was_cut_says_so_behind_what_could_be_read() {
    let order = ORDERS[0];
    let pcap = order.pcap(0xa1b2_c3d4, 1, &[(1, 0, 18, &FRAME), (2, 0, 18, &FRAME)]);
    let section = [order.section(), order.interface(1, &[])].concat();
    let pcapng = [&section, &order.enhanced(0, 1, &FRAME)[..], &order.enhanced(0, 2, &FRAME)].concat();
    for (file, head) in [(pcap, 24), (pcapng, section.len())] {
        let packet = (file.len() - head) / 2;
        for length in head..=file.len() {
            let (packets, broken) = read(&file[..length]);
            assert_eq!(packets.len(), (length - head) / packet, "{length}");
            let whole = (length - head).is_multiple_of(packet);
            assert_eq!(broken.is_none(), whole, "{length}: {broken:?}");
            assert!(whole || matches!(broken, Some(Broken::Cut)));
        }
        let compressed = gzip(&file);
        let (_, broken) = read(&compressed[..compressed.len() - 9]);
        assert!(matches!(broken, Some(Broken::Cut)), "{broken:?}");
    }
}

#[test]
fn damage_ends_the_reading() {
    let order = ORDERS[0];
    let mut pcap = order.pcap(0xa1b2_c3d4, 1, &[(1, 0, 18, &FRAME), (2, 0, 18, &FRAME)]);
    let second = 24 + 16 + 18;
    pcap[second + 8..second + 12].fill(0xff);
    let (packets, broken) = read(&pcap);
    assert_eq!(packets.len(), 1);
    assert!(broken.unwrap().to_string().contains("4294967295 bytes"));
}

#[test]
fn what_is_no_capture_is_refused_by_what_it_is() {
    for (file, wanted) in [
        (&b""[..], "it is empty"),
        (b"abc", "too short"),
        (b"GET / HTTP/1.1\r\n", "neither pcap nor pcapng"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0, 0], "zstd"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0garbage?", "does not go on so"),
        (&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0], "within the head"),
    ] {
        let refused = Capture::new(file).unwrap_err().to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
    assert!(Capture::new(&gzip(b"")[..]).unwrap_err().to_string().contains("it is empty"));
}

fn frame_of(link_type: u16, length: u32, data: &[u8], big_endian: bool) -> Option<Vec<u8>> {
    let packet = Packet { at_ns: 0, link_type: Some(link_type), big_endian, length, data };
    let mut frames = vec![0xcc];
    let made = Link::of(link_type).unwrap().append(&packet, &mut frames);
    assert_eq!(frames[0], 0xcc, "what stood before stays");
    assert!(made || frames.len() == 1, "nothing is appended of what is refused");
    made.then(|| frames.split_off(1))
}

#[test]
fn every_link_type_becomes_ethernet() {
    let ip = [0x45, 0, 0, 20, 1, 2, 3, 4];
    let framed = |sender: [u8; 6], protocol: [u8; 2], body: &[u8]| {
        Some([&[0; 6][..], &sender, &protocol, body].concat())
    };
    let ipv4 = framed([0; 6], [8, 0], &ip);
    for link_type in [12, 14, 101, 228] {
        assert_eq!(frame_of(link_type, 8, &ip, false), ipv4);
    }
    assert_eq!(frame_of(229, 2, &[0x60, 1], false), framed([0; 6], [0x86, 0xdd], &[0x60, 1]));
    assert_eq!(frame_of(101, 2, &[0x10, 1], false), framed([0; 6], [0xff, 0xff], &[0x10, 1]));
    for family in [[2, 0, 0, 0], [0, 0, 0, 2]] {
        assert_eq!(frame_of(0, 12, &[&family[..], &ip].concat(), false), ipv4);
        assert_eq!(frame_of(108, 12, &[&family[..], &ip].concat(), true), ipv4);
    }
    assert_eq!(frame_of(0, 6, &[30, 0, 0, 0, 0x60, 1], false), framed([0; 6], [0x86, 0xdd], &[0x60, 1]));
    let sender = [2, 0, 0, 0, 0, 9];
    let cooked = [&[0, 0, 0, 1, 0, 6][..], &sender, &[0, 0, 8, 0], &ip].concat();
    assert_eq!(frame_of(113, 24, &cooked, false), framed(sender, [8, 0], &ip));
    let cooked = [&[8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6][..], &sender, &[0, 0], &ip].concat();
    assert_eq!(frame_of(276, 28, &cooked, false), framed(sender, [8, 0], &ip));
    let mark = [5, 0, 3, 0, 7, 0, 0, 0];
    let nflog = [&[2, 0, 0, 1][..], &mark, &[12, 0, 9, 0], &ip].concat();
    assert_eq!(frame_of(239, 24, &nflog, false), ipv4);
    let nflog = [&[2, 0, 0, 1, 0, 5, 0, 3, 7, 0, 0, 0, 0, 12, 0, 9][..], &ip].concat();
    assert_eq!(frame_of(239, 24, &nflog, true), ipv4);
}

#[test]
fn what_was_cut_off_is_filled_up_with_zeros_to_a_bound() {
    let filled = frame_of(1, 60, &FRAME, false).unwrap();
    assert_eq!((filled.len(), &filled[..18]), (60, &FRAME[..]));
    assert!(filled[18..].iter().all(|byte| *byte == 0));
    assert_eq!(frame_of(1, u32::MAX, &FRAME, false).unwrap().len(), LONGEST_FRAME);
    assert_eq!(frame_of(101, 40, &[0x45], false).unwrap().len(), 54);
    assert_eq!(frame_of(1, 3, &FRAME, false).unwrap().len(), 18);
}

#[test]
fn what_is_too_short_or_too_long_becomes_no_frame() {
    assert_eq!(frame_of(1, 60, &FRAME[..13], false), None);
    assert_eq!(frame_of(1, 0, &vec![0; LONGEST_FRAME + 1], false), None);
    for link_type in [101, 0, 113, 276, 239] {
        assert_eq!(frame_of(link_type, 60, &[], false), None, "{link_type}");
    }
    assert_eq!(frame_of(239, 60, &[2, 0, 0, 1, 0, 0, 3, 0, 1, 0, 3, 0], false), None);
}

#[test]
fn link_types_that_are_not_read_have_names() {
    assert_eq!(name_of(107), "frame relay (link type 107)");
    assert_eq!(name_of(113), "linux_sll (link type 113)");
    assert_eq!(name_of(4000), "link type 4000");
    assert_eq!(Link::of(107), None);
}

proptest! {
    #[test]
    fn whatever_follows_a_magic_is_read_within_its_bounds(
        magic in 0..3usize,
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let magic: &[u8] = [
            &[0xd4, 0xc3, 0xb2, 0xa1][..],
            &[0xa1, 0xb2, 0x3c, 0x4d],
            &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a],
        ][magic];
        let file = [magic, &rest].concat();
        if let Ok(mut capture) = Capture::new(&file[..]) {
            while let Ok(Some(packet)) = capture.read() {
                prop_assert!(packet.data.len() <= file.len() && packet.length as usize >= packet.data.len());
            }
        }
    }
}
