//! Control characters of others, made visible once: where they enter. A line of the log stays a line.

use std::borrow::Cow;

/// `text` with every control character, and every sign that turns the direction of writing, as `\\u{..}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if hidden(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_forged_line_stays_within_its_own() {
        assert_eq!(escaped("x\nERROR y\u{1b}[2J\u{202e}"), "x\\u{a}ERROR y\\u{1b}[2J\\u{202e}");
        assert_eq!(escaped("plain, with ü"), "plain, with ü");
    }
}
