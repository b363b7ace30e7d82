//! Patterns in names of interfaces: `*` matches any letters, `?` one.

/// Whether a name in `interfaces.names` is a pattern.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether the whole `name` matches.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where to go on when letters do not match: behind the last `*`, which takes one letter more.
    let mut back = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                back = Some((at + 1, of));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[of] => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((behind, taken)) = back else { return false };
                back = Some((behind, taken + 1));
                (at, of) = (behind, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::{is_pattern, matches};

    #[test]
    fn stars_and_question_marks_stand_for_letters() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        for (pattern, name) in [
            ("veth*", "veth1"),
            ("veth*", "veth"),
            ("enp*s0", "enp3s0"),
            ("eth?", "eth7"),
            ("*", "x"),
            ("*.7", "eth0.7"),
        ] {
            check(pattern, name, true);
        }
        check("a*b*c", "aXbYbZc", true);
        for (pattern, name) in [
            ("veth*", "eth0"),
            ("eth?", "eth"),
            ("eth?", "eth10"),
            ("enp*s0", "enp3s1"),
            ("eth0", "eth00"),
            ("*a", "ab"),
        ] {
            check(pattern, name, false);
        }
        assert!(is_pattern("veth*") && is_pattern("eth?") && !is_pattern("eth0"));
    }
}
