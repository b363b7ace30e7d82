//! Quantities with their units, as people write them: `"2k/s"`, `"50 Mbit/s"`, `"64 KiB"`, `"1h30m"`.
//!
//! Each type parses, prints what it would parse to the same value, and (de)serializes as that text.

use std::{fmt, str::FromStr, time};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The time to which a [`PacketRate`] counts.
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

    const fn unit(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }
}

/// Packets, connections, fragments or sources per time: `"2k/s"`, `"1.5M/s"`, `"100/min"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketRate {
    pub count: u64,
    pub period: Period,
}

impl PacketRate {
    pub const fn per_second(count: u64) -> Self {
        Self { count, period: Period::Second }
    }
}

/// Bytes per second: `"50 Mbit/s"`, `"10 MB/s"`, `"1 Gbit/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(pub u64);

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

impl fmt::Display for PacketRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SCALES: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
        let unit = self.period.unit();
        match SCALES.iter().find(|(scale, _)| self.count > 0 && self.count.is_multiple_of(*scale)) {
            Some((scale, prefix)) => write!(f, "{}{prefix}/{unit}", self.count / scale),
            None => write!(f, "{}/{unit}", self.count),
        }
    }
}

impl FromStr for PacketRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no rate: say a count per time, as in \"500/s\", \"2k/s\", \"1.5M/s\" or \"100/min\""
            )
        };
        let (amount, unit) = text.split_once('/').ok_or_else(wrong)?;
        let period = match unit.trim() {
            "s" | "sec" | "second" => Period::Second,
            "m" | "min" | "minute" => Period::Minute,
            "h" | "hour" => Period::Hour,
            _ => return Err(wrong()),
        };
        let (number, prefix) = split_unit(amount).ok_or_else(wrong)?;
        let scale = match prefix {
            "" => 1,
            "k" | "K" => 1000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        Ok(Self { count: scaled(number, scale, text)?, period })
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SCALES: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
        // Bits where they are round (what networks are sold by), else bytes.
        if let Some(bits) = self.0.checked_mul(8)
            && let Some((scale, prefix)) =
                SCALES.iter().find(|(scale, _)| bits > 0 && bits.is_multiple_of(*scale))
        {
            return write!(f, "{} {prefix}bit/s", bits / scale);
        }
        write!(f, "{} B/s", self.0)
    }
}

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no rate of bytes: say it as in \"50 Mbit/s\", \"10 MB/s\" or \"1 Gbit/s\"")
        };
        // "Mbps" always means bits; "Mb/s" could mean either, so it is not guessed.
        let amount = match text.trim().strip_suffix("bps") {
            Some(amount) => format!("{amount}bit"),
            None => text.trim().strip_suffix("/s").ok_or_else(wrong)?.to_owned(),
        };
        let (number, unit) = split_unit(&amount).ok_or_else(wrong)?;
        let (scale, bits) = match unit {
            "bit" => (1, true),
            "kbit" | "Kbit" => (1000, true),
            "Mbit" => (1_000_000, true),
            "Gbit" => (1_000_000_000, true),
            "Tbit" => (1_000_000_000_000, true),
            unit => (byte_scale(unit).ok_or_else(wrong)?, false),
        };
        let value = scaled(number, scale, text)?;
        if !bits {
            return Ok(Self(value));
        }
        if !value.is_multiple_of(8) {
            return Err(format!("`{text}` is not a whole number of bytes per second"));
        }
        Ok(Self(value / 8))
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
    PacketRate, "a rate as in \"2k/s\" or \"100/min\"", |_| None;
    ByteRate, "a rate of bytes as in \"50 Mbit/s\" or \"10 MB/s\"", |_| None;
    Bytes, "an amount of bytes as in \"64 KiB\"", |number| Some(Bytes(number));
    Duration, "a length of time as in \"30s\" or \"5m\"", |_| None;
}

#[cfg(test)]
mod tests;
