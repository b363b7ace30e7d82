use std::fmt::{Debug, Display};
use std::str::FromStr;

use proptest::prelude::*;

use super::{ByteRate, Bytes, Duration, PacketRate, Period};

fn check<T: FromStr + Display + PartialEq + Debug>(text: &str, value: &T, shown: &str)
where
    T::Err: Debug,
{
    assert_eq!(text.parse::<T>().expect("it parses"), *value, "{text}");
    assert_eq!(value.to_string(), shown);
}

fn check_wrong<T: FromStr + Debug>(text: &str, part: &str)
where
    T::Err: Display,
{
    let error = text.parse::<T>().expect_err("it is wrong").to_string();
    assert!(error.contains(part), "{text}: {error}");
}

#[test]
fn packet_rates_read_and_print() {
    check("2k/s", &PacketRate::per_second(2000), "2k/s");
    check("1.5M/s", &PacketRate::per_second(1_500_000), "1500k/s");
    check(" 7 / s ", &PacketRate::per_second(7), "7/s");
    check("100/min", &PacketRate { count: 100, period: Period::Minute }, "100/min");
    check("3/h", &PacketRate { count: 3, period: Period::Hour }, "3/h");
}

#[test]
fn byte_rates_read_in_bits_and_bytes() {
    check("50 Mbit/s", &ByteRate(6_250_000), "50 Mbit/s");
    check("10 MB/s", &ByteRate(10_000_000), "80 Mbit/s");
    check("1Gbps", &ByteRate(125_000_000), "1 Gbit/s");
    check("1.5 Gbit/s", &ByteRate(187_500_000), "1500 Mbit/s");
    check("3 B/s", &ByteRate(3), "3 B/s");
}

#[test]
fn a_bare_bit_prefix_is_refused_rather_than_guessed() {
    check_wrong::<ByteRate>("50 Mb/s", "no rate of bytes");
    check_wrong::<ByteRate>("50M/s", "no rate of bytes");
    check_wrong::<ByteRate>("1 bit/s", "whole number of bytes");
}

#[test]
fn amounts_of_bytes_know_both_thousands() {
    check("64 KiB", &Bytes(65_536), "64 KiB");
    check("1 MB", &Bytes(1_000_000), "1 MB");
    check("9216", &Bytes(9216), "9 KiB");
}

#[test]
fn times_add_their_parts() {
    check("1h30m", &Duration::from_secs(5400), "1h30m");
    check("250ms", &Duration(std::time::Duration::from_millis(250)), "250ms");
    check("1.5s", &Duration(std::time::Duration::from_millis(1500)), "1s500ms");
    check("2d", &Duration::from_secs(172_800), "2d");
}

#[test]
fn nonsense_is_refused() {
    check_wrong::<PacketRate>("", "no rate");
    check_wrong::<PacketRate>("-1/s", "no rate");
    check_wrong::<PacketRate>("1.2.3/s", "no number");
    check_wrong::<PacketRate>("0.5/s", "finer than its unit");
    check_wrong::<PacketRate>("99999999999999999999/s", "too large");
    check_wrong::<Duration>("", "no length of time");
    check_wrong::<Duration>("5", "no length of time");
    check_wrong::<Duration>("99999999999999d", "too large");
    check_wrong::<Bytes>("1 XB", "no amount of bytes");
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(count in 0u64..1 << 60, which in 0..3usize) {
        let period = [Period::Second, Period::Minute, Period::Hour][which];
        let rate = PacketRate { count, period };
        prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        prop_assert_eq!(ByteRate(count / 8).to_string().parse(), Ok(ByteRate(count / 8)));
        prop_assert_eq!(Bytes(count).to_string().parse(), Ok(Bytes(count)));
        let time = Duration(std::time::Duration::from_nanos(count));
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn no_text_makes_them_panic(text in "(?s).{0,40}") {
        let _ = (text.parse::<PacketRate>(), text.parse::<ByteRate>(), text.parse::<Bytes>(), text.parse::<Duration>());
    }
}
