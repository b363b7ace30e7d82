//! The word that was probably meant.

/// The candidate with the fewest edits from `word`, if it is near enough to be a slip.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (edits(&word.to_lowercase(), candidate), candidate))
        .filter(|(edits, candidate)| *edits <= allowed || candidate.starts_with(word))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KNOWN: [&str; 4] = ["packets", "packets_burst", "bytes", "mode"];

    #[test]
    fn a_swap_is_a_slip() {
        assert_eq!(nearest("packtes", KNOWN), Some("packets"));
    }

    #[test]
    fn a_dropped_or_doubled_letter_is_a_slip() {
        assert_eq!(nearest("byte", KNOWN), Some("bytes"));
        assert_eq!(nearest("moode", KNOWN), Some("mode"));
    }

    #[test]
    fn another_word_is_none() {
        assert_eq!(nearest("colour", KNOWN), None);
    }
}
