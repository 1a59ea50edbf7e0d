//! What a mistyped name was probably meant to be.

/// The candidate that `word` begins, or the closest one if it is close enough to be a slip.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| {
            let begun = word.chars().count() > 2 && candidate.starts_with(word);
            (
                if begun {
                    0
                } else {
                    strsim::damerau_levenshtein(word, candidate)
                },
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_is_a_slip_and_not_a_guess() {
        assert_eq!(
            nearest("gausian", ["uniform", "gaussian"]),
            Some("gaussian")
        );
        assert_eq!(nearest("std", ["mean", "std_a"]), Some("std_a"));
        assert_eq!(nearest("stda", ["std_b", "std_a"]), Some("std_a"));
        assert_eq!(nearest("zzzz", ["uniform", "gaussian"]), None);
    }
}
