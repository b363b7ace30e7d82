use std::fmt::{Debug, Display};
use std::str::FromStr;

use proptest::prelude::*;

use super::{Bytes, Duration, Period, Rate, Unit};

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
fn counted_rates_read_and_print() {
    check("2k/s", &Rate::per_second(2000), "2k/s");
    check("1.5M/s", &Rate::per_second(1_500_000), "1500k/s");
    check(" 7 / s ", &Rate::per_second(7), "7/s");
    check("100/min", &Rate { period: Period::Minute, ..Rate::per_second(100) }, "100/min");
    check("3/h", &Rate { period: Period::Hour, ..Rate::per_second(3) }, "3/h");
}

#[test]
fn rates_of_bytes_print_in_the_unit_they_were_written_in() {
    let bits = Rate::bytes_per_second;
    let bytes = |amount| Rate { unit: Unit::Bytes, ..bits(amount) };
    check("50 Mbit/s", &bits(6_250_000), "50 Mbit/s");
    check("10 MB/s", &bytes(10_000_000), "10 MB/s");
    check("64 KiB/min", &Rate { period: Period::Minute, ..bytes(65_536) }, "64 KiB/min");
    check("1Gbps", &bits(125_000_000), "1 Gbit/s");
    check("1.5 Gbit/s", &bits(187_500_000), "1500 Mbit/s");
    check("3 B/s", &bytes(3), "3 B/s");
}

#[test]
fn a_bare_bit_prefix_is_refused_rather_than_guessed() {
    for (text, part) in [
        ("50 Mb/s", "not a rate of bytes"),
        ("50M/s", "not a rate of bytes"),
        ("1 bit/s", "whole number of bytes"),
    ] {
        let error = Rate::of_bytes(text).expect_err("it is wrong");
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_key_of_one_kind_refuses_a_rate_of_the_other() {
    let wrong =
        |text: &str| toml::from_str::<super::super::Limits>(text).expect_err("it is wrong").to_string();
    assert!(wrong("packets = \"10 MB/s\"").contains("not a rate"));
    assert!(wrong("bytes = \"10k/s\"").contains("not a rate of bytes"));
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
    check_wrong::<Rate>("", "not a rate");
    check_wrong::<Rate>("-1/s", "not a rate");
    check_wrong::<Rate>("1.2.3/s", "no number");
    check_wrong::<Rate>("0.5/s", "finer than its unit");
    check_wrong::<Rate>("99999999999999999999/s", "too large");
    check_wrong::<Duration>("", "no length of time");
    check_wrong::<Duration>("5", "no length of time");
    check_wrong::<Duration>("99999999999999d", "too large");
    check_wrong::<Bytes>("1 XB", "no amount of bytes");
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(count in 0u64..1 << 60, which in 0..3usize) {
        let period = [Period::Second, Period::Minute, Period::Hour][which];
        let rate = Rate { period, ..Rate::per_second(count) };
        prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        for unit in [Unit::Bits, Unit::Bytes] {
            let rate = Rate { amount: count / 8, period, unit };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        prop_assert_eq!(Bytes(count).to_string().parse(), Ok(Bytes(count)));
        let time = Duration(std::time::Duration::from_nanos(count));
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn no_text_makes_them_panic(text in "(?s).{0,40}") {
        let _ = (text.parse::<Rate>(), Rate::of_bytes(&text), text.parse::<Bytes>(), text.parse::<Duration>());
    }
}
