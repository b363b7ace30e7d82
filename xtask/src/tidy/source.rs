//! One file as the rules see it: its path, its text, and its code without comments and literals.
//!
//! In: a path below the workspace and the file's text. Out: lines of text beside lines of code, of the same number,
//! so that a word in a comment or a string is never taken for code. It lexes just enough of Rust for that.

/// One file.
#[derive(Debug)]
pub struct Source {
    /// Relative to the workspace, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments, strings and characters blanked out; empty for what is not Rust.
    pub code: String,
    /// A module that only tests compile.
    pub is_test: bool,
}

impl Source {
    pub fn new(path: String, text: String) -> Self {
        let code = if is_rust(&path) { without_comments_and_literals(&text) } else { String::new() };
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        Self { path, text, code, is_test }
    }

    /// The paths, without their ending, of the modules that this file declares for tests only.
    pub fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let folder = stem.strip_suffix("/lib").or_else(|| stem.strip_suffix("/main")).unwrap_or(stem);
        let mut lines = self.code.lines().map(str::trim);
        let mut modules = Vec::new();
        while lines.any(|line| line == "#[cfg(test)]") {
            let declared = lines.next().and_then(|line| line.strip_suffix(';')?.split_once("mod "));
            modules.extend(declared.map(|(_, name)| format!("{folder}/{name}")));
        }
        modules
    }

    /// What is code in the lines before the tests of the same file.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.is_test;
        self.code_lines().take_while(move |(_, code)| !is_test && !code.contains("#[cfg(test)]"))
    }

    pub fn is_rust(&self) -> bool {
        is_rust(&self.path)
    }

    pub fn is_below(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// Line numbers from one, with the line.
    pub fn text_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Line numbers from one, with what is code in the line.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn is_rust(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// The places in a line where `word` stands by itself.
pub fn find_words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    line.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at.checked_sub(1).and_then(|at| line.as_bytes().get(at));
        let after = line.as_bytes().get(at + word.len());
        !before.is_some_and(part_of_a_name) && !after.is_some_and(part_of_a_name)
    })
}

fn without_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let blank = match byte {
            b'/' if rest.starts_with(b"//") => {
                rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
            }
            b'/' if rest.starts_with(b"/*") => block_comment(rest),
            b'"' => string(rest),
            b'r' if !code.last().is_some_and(|&last| is_name(last) && last != b'b' && last != b'c') => {
                raw_string(rest)
            }
            b'\'' => character(rest),
            _ => 0,
        };
        if blank == 0 {
            code.push(byte);
            at += 1;
        } else {
            let hidden = rest.iter().take(blank);
            code.extend(hidden.map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
            at += blank;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of a block comment, with the ones inside it.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(pair) = rest.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        at += match byte {
            b'\\' => 2,
            b'"' => return at + 1,
            _ => 1,
        };
    }
    rest.len()
}

/// The length of `r"..."` or `r#"..."#`, or zero where it is only a name that begins so.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest.iter().skip(1).take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = rest.get(hashes + 2..).unwrap_or_default();
    let found = body.windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| hashes + 2 + at + end.len())
}

/// The length of `'x'` or `'\n'`, or zero where the quote begins a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&byte| byte == b'\'');
        return close.map_or(0, |at| at + 4);
    }
    let text = String::from_utf8_lossy(rest.get(1..rest.len().min(6)).unwrap_or_default()).into_owned();
    let length = text.chars().next().map_or(1, char::len_utf8);
    if rest.get(1 + length) == Some(&b'\'') { length + 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str) {
        assert_eq!(without_comments_and_literals(text), code);
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        check("a // unsafe\nb", "a          \nb");
        check("a /* x /* y */ z */ b", &format!("a{}b", " ".repeat(19)));
        check(r#"f("un\"safe", 1)"#, "f(          , 1)");
        check(r##"r#"a "quoted" b"# + r"c""##, "                  +     ");
        check(r"'\'' '\u{1f}' 'x' '/' c", "                      c");
    }

    #[test]
    fn lifetimes_and_names_stay_code() {
        check("fn f<'a>(x: &'a str, r: u8)", "fn f<'a>(x: &'a str, r: u8)");
        check("for r in bar", "for r in bar");
    }

    #[test]
    fn line_numbers_survive() {
        let code = without_comments_and_literals("let a = \"one\ntwo\n\";\nunsafe {}\n");
        assert_eq!(code.lines().nth(3), Some("unsafe {}"));
    }

    #[test]
    fn a_module_for_tests_is_known_by_its_declaration() {
        let check = |path: &str, text: &str| Source::new(path.to_owned(), text.to_owned()).test_modules();
        let text = "mod scan;\n#[cfg(test)]\nmod captures;\n#[cfg(test)]\npub(crate) mod samples;\n";
        let modules = ["monitor/src/detection/captures", "monitor/src/detection/samples"];
        assert_eq!(check("monitor/src/detection.rs", text), modules);
        assert_eq!(check("monitor/src/lib.rs", "#[cfg(test)]\nmod tests;"), ["monitor/src/tests"]);
        assert!(check("monitor/src/policy.rs", "#[cfg(test)]\nmod tests {\n}\nmod list;").is_empty());
    }

    #[test]
    fn a_word_stands_by_itself() {
        assert_eq!(find_words("aya aya_obj xaya aya::Ebpf", "aya").collect::<Vec<_>>(), [0, 17]);
    }
}
