//! How many files an addition touches: the recipes of CONTRIBUTING, held by an example of each that exists.
//!
//! In: every file. Out: the recipes whose example is named in more files than the recipe promises. Tests and generated
//! pages do not count.

use super::source::{Source, find_words};

/// What is added, the words by which an existing one is known, and the most files that name one of them.
const RECIPES: [(&str, &[&str], usize); 4] = [
    ("a command that reads", &["ShowGraph"], 4),
    ("a sink", &["AlertLog", "alert_log"], 3),
    ("a detector", &["LongConnection", "long_connection"], 3),
    ("a source of commands", &["Origin::Tuning", "Self::Tuning"], 2),
];

/// One line for each recipe that does not hold.
pub fn broken(sources: &[Source]) -> Vec<String> {
    let example = |words: &[&str]| -> Vec<&str> {
        let named = |source: &&Source| {
            source.path.starts_with("monitor")
                && source
                    .product_lines()
                    .any(|(_, line)| words.iter().any(|word| find_words(line, word).next().is_some()))
        };
        sources.iter().filter(named).map(|source| source.path.as_str()).collect()
    };
    let recipes = RECIPES.iter().map(|(what, words, most)| (what, example(words), *most));
    recipes
        .filter(|(_, files, most)| files.is_empty() || files.len() > *most)
        .map(|(what, files, most)| {
            format!(
                "{what} is to touch {most} files, its example is in {}: {}",
                files.len(),
                files.join(", ")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{RECIPES, broken};
    use crate::tidy::source::Source;

    fn sources(count: usize) -> Vec<Source> {
        let all =
            RECIPES.iter().flat_map(|(_, words, _)| words.iter()).copied().collect::<Vec<_>>().join("; ");
        let path = |number| format!("monitor/src/part{number}.rs");
        (0..count).map(|number| Source::new(path(number), format!("use {all};"))).collect()
    }

    #[test]
    fn one_file_too_many_breaks_a_recipe_and_so_does_a_lost_example() {
        assert_eq!(broken(&sources(2)), Vec::<String>::new());
        let too_many = broken(&sources(5));
        assert!(
            too_many.iter().any(|line| line.contains("a command that reads is to touch 4")),
            "{too_many:?}"
        );
        assert_eq!(broken(&[]).len(), RECIPES.len());
    }
}
