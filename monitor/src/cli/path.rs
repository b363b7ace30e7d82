//! Paths of requests: names and prefixes become parts of a path or a query that nothing can break out of.

use std::fmt::Write;

/// `path` with `pairs` as its query.
pub fn with_query(path: &str, pairs: &[(&str, String)]) -> String {
    let mut whole = path.to_owned();
    for (position, (key, value)) in pairs.iter().enumerate() {
        whole.push(if position == 0 { '?' } else { '&' });
        whole.push_str(key);
        whole.push('=');
        whole.push_str(&escape(value));
    }
    whole
}

/// Percent-encodes one part of a path or query (RFC 3986, 2.3: what is unreserved stays, and `:` which paths permit).
pub fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::{escape, with_query};

    #[test]
    fn names_cannot_break_out_of_their_place() {
        assert_eq!(escape("2001:db8::1"), "2001:db8::1");
        assert_eq!(escape("a/b?c&d e"), "a%2Fb%3Fc%26d%20e");
        assert_eq!(with_query("/v1/sources", &[]), "/v1/sources");
        let pairs = [("service", "a&sort=bytes".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(with_query("/v1/sources", &pairs), "/v1/sources?service=a%26sort%3Dbytes&limit=5");
    }
}
