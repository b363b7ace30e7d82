//! Quantities with their units, as people write them: `"2k/s"`, `"50 Mbit/s"`, `"64 KiB"`, `"1h30m"`.
//!
//! Each type parses, prints what it would parse to the same value, and (de)serializes as that text.

mod schema;

use std::{fmt, str::FromStr, time};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The time to which a [`Rate`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Second,
    Minute,
    Hour,
}

impl Period {
    pub const fn nanoseconds(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text.trim() {
            "s" | "sec" | "second" => Self::Second,
            "m" | "min" | "minute" => Self::Minute,
            "h" | "hour" => Self::Hour,
            _ => return None,
        })
    }
}

/// What a [`Rate`] counts, and in which unit a person wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Packets, connections, fragments or sources.
    Count,
    /// Bytes, written in bytes: `"10 MB/s"`.
    Bytes,
    /// Bytes, written in bits: `"80 Mbit/s"`.
    Bits,
}

/// An amount per time, kept as it was written: `"2k/s"`, `"100/min"`, `"50 Mbit/s"`, `"10 MB/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Packets, connections, fragments or sources; bytes where `unit` says so.
    pub amount: u64,
    pub period: Period,
    pub unit: Unit,
}

impl Rate {
    /// A rate of packets, connections, fragments or sources.
    pub const fn per_second(amount: u64) -> Self {
        Self { amount, period: Period::Second, unit: Unit::Count }
    }

    /// A rate of bytes, which prints in bits.
    pub const fn bytes_per_second(amount: u64) -> Self {
        Self { amount, period: Period::Second, unit: Unit::Bits }
    }

    /// The amount that goes into one second.
    pub fn amount_per_second(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for display and metrics")]
        let (amount, period) = (self.amount as f64, self.period.nanoseconds() as f64);
        amount * 1e9 / period
    }

    /// Reads a rate of packets, connections, fragments or sources.
    ///
    /// # Errors
    /// Says what such a rate looks like.
    pub fn counted(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a rate: write a count per time, as in \"500/s\", \"2k/s\", \"1.5M/s\" or \"100/min\""
            )
        };
        let (amount, period) = text.split_once('/').ok_or_else(wrong)?;
        let period = Period::parse(period).ok_or_else(wrong)?;
        let (number, prefix) = split_unit(amount).ok_or_else(wrong)?;
        let scale = match prefix {
            "" => 1,
            "k" | "K" => 1000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        Ok(Self { amount: scaled(number, scale, text)?, period, unit: Unit::Count })
    }

    /// Reads a rate of bytes.
    ///
    /// # Errors
    /// Says what such a rate looks like.
    pub fn of_bytes(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a rate of bytes: write it as in \"50 Mbit/s\", \"10 MB/s\" or \"1 Gbit/s\""
            )
        };
        // "Mbps" always means bits; "Mb/s" could mean either, so it is not guessed.
        let (amount, period) = if let Some(amount) = text.trim().strip_suffix("bps") {
            (format!("{amount}bit"), Period::Second)
        } else {
            let (amount, period) = text.split_once('/').ok_or_else(wrong)?;
            (amount.to_owned(), Period::parse(period).ok_or_else(wrong)?)
        };
        let (number, unit) = split_unit(&amount).ok_or_else(wrong)?;
        let (scale, unit) = match unit {
            "bit" => (1, Unit::Bits),
            "kbit" | "Kbit" => (1000, Unit::Bits),
            "Mbit" => (1_000_000, Unit::Bits),
            "Gbit" => (1_000_000_000, Unit::Bits),
            "Tbit" => (1_000_000_000_000, Unit::Bits),
            unit => (byte_scale(unit).ok_or_else(wrong)?, Unit::Bytes),
        };
        let mut amount = scaled(number, scale, text)?;
        if unit == Unit::Bits {
            if !amount.is_multiple_of(8) {
                return Err(format!("`{text}` is not a whole number of bytes"));
            }
            amount /= 8;
        }
        Ok(Self { amount, period, unit })
    }
}

/// An amount of bytes: `"1 MB"`, `"64 KiB"`, `9216`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A length of time: `"30s"`, `"5m"`, `"1h30m"`, `"250ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub time::Duration);

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SCALES: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
        let period = self.period.label();
        let largest = |value: u64| {
            let fits = |(scale, _): &&(u64, &str)| value > 0 && value.is_multiple_of(*scale);
            SCALES.iter().find(fits).map_or((value, ""), |(scale, prefix)| (value / scale, prefix))
        };
        match (self.unit, self.amount.checked_mul(8)) {
            (Unit::Count, _) => {
                let (value, prefix) = largest(self.amount);
                write!(f, "{value}{prefix}/{period}")
            }
            (Unit::Bits, Some(bits)) => {
                let (value, prefix) = largest(bits);
                write!(f, "{value} {prefix}bit/{period}")
            }
            (Unit::Bytes | Unit::Bits, _) => write!(f, "{}/{period}", Bytes(self.amount)),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    /// A rate of either kind; who knows which one is meant asks [`Rate::counted`] or [`Rate::of_bytes`].
    fn from_str(text: &str) -> Result<Self, String> {
        Self::of_bytes(text).or_else(|_| Self::counted(text))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SCALES: [(u64, &str); 6] = [
            (1 << 30, "GiB"),
            (1_000_000_000, "GB"),
            (1 << 20, "MiB"),
            (1_000_000, "MB"),
            (1 << 10, "KiB"),
            (1000, "kB"),
        ];
        match SCALES.iter().find(|(scale, _)| self.0 > 0 && self.0.is_multiple_of(*scale)) {
            Some((scale, unit)) => write!(f, "{} {unit}", self.0 / scale),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no amount of bytes: say it as in \"64 KiB\", \"1 MB\" or \"9216 B\"");
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let scale = if unit.is_empty() { 1 } else { byte_scale(unit).ok_or_else(wrong)? };
        Ok(Self(scaled(number, scale, text)?))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 7] = [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1000, "us"),
            (1, "ns"),
        ];
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (scale, unit) in UNITS {
            if rest >= scale {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no length of time: say it as in \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\""
            )
        };
        let mut rest = text.trim();
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let tail = tail.trim_start();
            let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let scale = match unit {
                "ns" => 1,
                "us" | "µs" => 1000,
                "ms" => 1_000_000,
                "s" | "sec" => 1_000_000_000,
                "m" | "min" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "d" => 86_400_000_000_000,
                _ => return Err(wrong()),
            };
            let part = scaled(number, scale, text)?;
            total = total.checked_add(part).ok_or_else(|| format!("`{text}` is too long a time"))?;
            rest = tail.trim_start();
        }
        Ok(Self(time::Duration::from_nanos(total)))
    }
}

fn byte_scale(unit: &str) -> Option<u64> {
    Some(match unit {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" | "kiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    })
}

/// `"1.5 MB"` to `("1.5", "MB")`.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then_some((number, unit.trim()))
}

/// A decimal number times `scale`, exactly: what is not a whole number in the end is an error, not rounded.
fn scaled(number: &str, scale: u64, text: &str) -> Result<u64, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let wrong = || format!("`{number}` in `{text}` is no number");
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(wrong());
    }
    let too_large = || format!("`{text}` is too large");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut value = u128::from(whole) * u128::from(scale);
    if !fraction.is_empty() {
        if fraction.len() > 18 {
            return Err(wrong());
        }
        let ten = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(u32::MAX));
        let part: u128 = fraction.parse().map_err(|_| wrong())?;
        if !(part * u128::from(scale)).is_multiple_of(ten) {
            return Err(format!("`{text}` is finer than its unit can be divided"));
        }
        value += part * u128::from(scale) / ten;
    }
    u64::try_from(value).map_err(|_| too_large())
}

/// Text in files and on the wire; [`Bytes`] may also be a bare number.
macro_rules! as_text {
    ($($type:ty, $expecting:literal, $number:expr;)+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, value: &str) -> Result<$type, E> {
                        value.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, value: i64) -> Result<$type, E> {
                        let from_number: fn(u64) -> Option<$type> = $number;
                        u64::try_from(value).ok().and_then(from_number).ok_or_else(|| {
                            E::custom(format!("{value} needs a unit: write {}", $expecting))
                        })
                    }

                    fn visit_u64<E: de::Error>(self, value: u64) -> Result<$type, E> {
                        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    )+};
}

as_text! {
    Rate, "a rate as in \"2k/s\", \"100/min\" or \"50 Mbit/s\"", |_| None;
    Bytes, "an amount of bytes as in \"64 KiB\"", |number| Some(Bytes(number));
    Duration, "a length of time as in \"30s\" or \"5m\"", |_| None;
}

/// A rate under a key that counts packets, connections, fragments or sources.
struct Counted(Rate);

/// A rate under a key that counts bytes.
struct OfBytes(Rate);

macro_rules! rate_of_one_kind {
    ($type:ident, $parse:path) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                $parse(text).map(Self)
            }
        }
    };
}

rate_of_one_kind!(Counted, Rate::counted);
rate_of_one_kind!(OfBytes, Rate::of_bytes);

as_text! {
    Counted, "a rate as in \"2k/s\" or \"100/min\"", |_| None;
    OfBytes, "a rate of bytes as in \"50 Mbit/s\" or \"10 MB/s\"", |_| None;
}

/// For keys that count packets, connections, fragments or sources.
pub(super) mod counted {
    use super::{Counted, Deserialize, Deserializer, Rate};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        Counted::deserialize(deserializer).map(|Counted(rate)| rate)
    }

    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
        Ok(Option::<Counted>::deserialize(deserializer)?.map(|Counted(rate)| rate))
    }
}

/// For keys that count bytes.
pub(super) mod of_bytes {
    use super::{Deserialize, Deserializer, OfBytes, Rate};

    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
        Ok(Option::<OfBytes>::deserialize(deserializer)?.map(|OfBytes(rate)| rate))
    }
}

#[cfg(test)]
mod tests;
