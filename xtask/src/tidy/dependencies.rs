//! What a crate depends on, it names: a dependency that no code of the crate mentions is taken out.
//!
//! In: every file. Out: one line for each entry of a manifest's dependencies that no Rust file of the same crate names.

use super::source::{Source, find_words};

/// One line for each dependency that nothing uses.
pub fn unused(sources: &[Source]) -> Vec<String> {
    let manifests: Vec<&Source> = sources
        .iter()
        .filter(|source| folder(source).is_some() && source.text.contains("[package]"))
        .collect();
    let mut unused = Vec::new();
    for manifest in &manifests {
        let Some(crate_folder) = folder(manifest) else { continue };
        let code: Vec<&Source> =
            sources.iter().filter(|source| owner(source, &manifests) == Some(crate_folder)).collect();
        for (line, name) in declared(&manifest.text) {
            let word = name.replace('-', "_");
            let is_named = |source: &&Source| {
                source.code_lines().any(|(_, line)| find_words(line, &word).next().is_some())
            };
            if !code.iter().any(is_named) {
                unused.push(format!("{}:{line}: nothing of the crate uses {name}", manifest.path));
            }
        }
    }
    unused
}

/// The folder of a manifest, with its slash.
fn folder(source: &Source) -> Option<&str> {
    source.path.strip_suffix("Cargo.toml").filter(|folder| !folder.is_empty())
}

/// The folder of the crate that a Rust file belongs to: the innermost one with a manifest.
fn owner<'a>(source: &Source, manifests: &[&'a Source]) -> Option<&'a str> {
    let folders = manifests.iter().filter_map(|manifest| folder(manifest));
    folders
        .filter(|folder| source.is_rust() && source.path.starts_with(folder))
        .max_by_key(|folder| folder.len())
}

/// The names below the headings of dependencies, with their lines.
fn declared(manifest: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut within = false;
    for (index, line) in manifest.lines().enumerate() {
        if let Some(heading) = line.strip_prefix('[') {
            within = heading.trim_end_matches(']').ends_with("dependencies");
        } else if within && let Some((name, _)) = line.split_once(['.', '=', ' ']) {
            names.push((index + 1, name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::unused;
    use crate::tidy::source::Source;

    const MANIFEST: &str = "[package]\nname = \"a\"\n[dependencies]\nserde-one.workspace = true\n\
         two = { version = \"1\" }\n[lints]\nworkspace = true\n[dev-dependencies]\nthree = \"1\"\n";

    fn source(path: &str, text: &str) -> Source {
        Source::new(path.to_owned(), text.to_owned())
    }

    #[test]
    fn what_no_file_of_the_crate_names_is_unused() {
        let sources = [
            source("a/Cargo.toml", MANIFEST),
            source("a/b/Cargo.toml", "[package]\nname = \"b\"\n"),
            source("a/src/lib.rs", "use serde_one::One; // two\n"),
            source("a/b/src/lib.rs", "use two::Two;\n"),
            source("a/tests/all.rs", "use three::Three;\n"),
        ];
        assert_eq!(unused(&sources), ["a/Cargo.toml:5: nothing of the crate uses two"]);
    }
}
