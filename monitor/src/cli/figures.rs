//! Figures for people: three digits and a unit.

use jiff::Timestamp;

const SCALES: [(f64, &str); 4] = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];

/// `1250000` is `1.25 M`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn count(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { scaled(count as f64) }
}

/// Packets per second: `50.0 k`.
pub fn rate(per_second: f64) -> String {
    scaled(per_second)
}

/// Bytes per second, as the bits that networks are sold by: `25.6 Mbit`.
pub fn bits(bytes_per_second: f64) -> String {
    let text = scaled(bytes_per_second * 8.0);
    if text.contains(' ') { format!("{text}bit") } else { format!("{text} bit") }
}

/// `80000000` is `80.0 MB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(bytes: u64) -> String {
    if bytes < 1000 { format!("{bytes} B") } else { format!("{}B", scaled(bytes as f64)) }
}

/// A share as `37 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// How long before `now`: `just now`, `12 s ago`, `3 min ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    if seconds < 1 { "just now".to_owned() } else { format!("{} ago", span(seconds)) }
}

/// How long after `now`: `in 12 s`, or `over`.
pub fn until(then: Timestamp, now: Timestamp) -> String {
    let seconds = then.as_second().saturating_sub(now.as_second());
    if seconds < 1 { "over".to_owned() } else { format!("in {}", span(seconds)) }
}

/// A moment to the second, in UTC.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Seconds as the two largest units.
pub fn span(seconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds.max(0);
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        if rest >= length && parts.len() < 2 {
            parts.push(format!("{} {unit}", rest / length));
            rest %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

fn scaled(value: f64) -> String {
    // From 999.5 on, three digits would round up to the next unit.
    let scale = SCALES.iter().find(|(scale, _)| value >= 0.9995 * scale);
    let (value, prefix) = scale.map_or((value, ""), |(scale, prefix)| (value / scale, *prefix));
    let is_whole = prefix.is_empty() && value.fract() == 0.0;
    let digits = if is_whole || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::{bits, bytes, count, rate, span};

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (value, wanted) in
            [(0.0, "0"), (0.5, "0.50"), (12.0, "12"), (999.9, "1.00 k"), (50_000.0, "50.0 k")]
        {
            assert_eq!(rate(value), wanted);
        }
        assert_eq!(rate(1_234_567.0), "1.23 M");
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(1_250_000), "1.25 M");
        assert_eq!(bits(3_200_000.0), "25.6 Mbit");
        assert_eq!(bits(0.0), "0 bit");
        assert_eq!(bytes(80_000_000), "80.0 MB");
        assert_eq!(bytes(12), "12 B");
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3690, "1 h 1 min"),
            (3605, "1 h"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(span(seconds), wanted);
        }
    }
}
