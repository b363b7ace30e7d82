//! Values that people type: what is wrong with one is said in words, with an example.

use std::str::FromStr;

use policy::config::Duration;

/// A number, as of a change or a finding.
pub fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number that fits here"))
}

/// How many: none would be no answer.
pub fn count(text: &str) -> Result<usize, String> {
    match number(text)? {
        0 => Err("at least 1, or nothing would be shown".to_owned()),
        count => Ok(count),
    }
}

/// A port by its number.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is no port: name its number, from 0 to 65535"))
}

/// A length of time that is one.
pub fn time(text: &str) -> Result<Duration, String> {
    let time: Duration = text.parse()?;
    if time.0.is_zero() { Err(format!("`{text}` is no time at all: name a longer one")) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::{count, number, port, time};

    #[test]
    fn what_is_no_value_is_said_in_words() {
        assert_eq!((number::<u64>("7"), count("1"), port("443")), (Ok(7), Ok(1), Ok(443)));
        assert!(time("250ms").is_ok());
        let wrong = [
            number::<u64>("last").unwrap_err(),
            number::<u64>("-1").unwrap_err(),
            count("0").unwrap_err(),
            count("lots").unwrap_err(),
            port("http").unwrap_err(),
            port("99999").unwrap_err(),
            time("0s").unwrap_err(),
            time("5").unwrap_err(),
        ];
        assert!(wrong.iter().all(|said| !said.contains("invalid digit") && said.len() > 20), "{wrong:?}");
    }
}
