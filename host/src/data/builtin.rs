//! Data sets that the program writes itself, the same on every machine: nothing need be fetched to try it.
//!
//! - `topics`: classification of short texts into four topics, 2,000 train and 1,000 test rows.
//! - `topic-prose`: 20,000 train and 500 test rows of the same kind for masked-lm pretraining: without labels, but
//!   each under a title that names its topic.
//! - `prose`: 2,400 train and 400 test tales for language models, one a row, each ending with a line feed.
//!
//! How hard they are is told in the grammar's own file.

mod tales;
mod topics;
mod words;

use std::collections::BTreeSet;

use super::columns::LabelColumn;
use crate::random::Stream;
use topics::{Row, Writer};

/// The names that `builtin:NAME` takes.
pub const NAMES: [&str; 3] = ["topics", "topic-prose", "prose"];

/// The rows of a split (`train` or `test`) of one of [`NAMES`].
pub(super) fn rows(set: &str, split: &str) -> Vec<Row> {
    let count = match (set, split) {
        ("topics", "train") => 2_000,
        ("topics", _) => 1_000,
        ("prose", "train") => 2_400,
        ("prose", _) => 400,
        (_, "train") => 20_000,
        _ => 500,
    };
    let mut writer = Writer::new(Stream::named(1, "builtin", &format!("{set}/{split}")));
    match set {
        "topics" => writer.rows(count),
        "prose" => writer.tales(count),
        _ => writer.titled_rows(count),
    }
}

/// The column of a set's labels, names of topics, where it has any.
pub(super) fn label_column(set: &str) -> Option<LabelColumn> {
    (set == "topics").then_some(LabelColumn {
        at: 0,
        base: 0,
        why: "",
    })
}

impl Row {
    pub fn topic_name(&self) -> &'static str {
        words::TOPIC_NAMES[self.topic as usize]
    }
}

/// A `WordPiece` vocabulary for the built-in sets, the lines of a `vocab.txt`: the special tokens of BERT, letters,
/// digits and marks, so that other words can be spelt, and each word of the sets in lower case.
pub fn builtin_vocabulary() -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let marks = ".,:;!?'-".chars().map(String::from);
    let letters = ('a'..='z')
        .chain('0'..='9')
        .flat_map(|letter| [letter.to_string(), format!("##{letter}")]);
    let words: BTreeSet<String> = words::all()
        .map(str::to_lowercase)
        .filter(|word| word.len() > 1)
        .collect();
    special
        .into_iter()
        .chain(marks)
        .chain(letters)
        .chain(words)
        .collect()
}

/// The train rows of the built-in set of that name, as a tokenizer that is made for them sees them.
pub fn builtin_text(set: &str) -> impl Iterator<Item = String> {
    rows(set, "train").into_iter().map(|row| row.text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        let marked = text.to_lowercase().replace(['.', ',', ':'], " $0 ");
        marked.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn rows_are_the_same_everywhere() {
        let first = &rows("topics", "train")[0];
        assert_eq!(first.topic, 2);
        assert_eq!(
            first.text,
            "The trader took this debt. Sunday every butcher described some bond beside one rally in the forest. The manager saw the bridge under every profit in the building."
        );
        assert_ne!(
            rows("topics", "train")[0].text,
            rows("topics", "test")[0].text
        );
    }

    #[test]
    fn a_tale_stays_with_its_cast() {
        let tale = &rows("prose", "train")[0].text;
        let name = tale.split(' ').next().unwrap();
        assert!(tale.ends_with(".\n"), "{tale}");
        assert!(tale.matches(name).count() >= 2, "{tale}");
        assert_eq!(
            tale,
            "David was the scorer in the dressing room. David passed this whistle. David ignored the ball in the dressing room. David chased the ball. David raised the ball. Finally David brought the ball to the dressing room.\n"
        );
    }

    #[test]
    fn rows_are_balanced_and_of_bounded_length() {
        let rows = rows("topics", "train");
        for topic in 0..4 {
            let count = rows.iter().filter(|row| row.topic == topic).count();
            assert!(
                (425..=575).contains(&count),
                "{count} rows of topic {topic}"
            );
        }
        assert!(
            rows.iter()
                .all(|row| (8..=40).contains(&row.text.split(' ').count()))
        );
    }

    #[test]
    fn the_vocabulary_has_every_word() {
        let vocabulary = builtin_vocabulary();
        let known: BTreeSet<&str> = vocabulary.iter().map(String::as_str).collect();
        assert_eq!(known.len(), vocabulary.len(), "no token twice");
        assert!(known.len() < 1_000, "{}", known.len());
        let rows = rows("topics", "test")
            .into_iter()
            .chain(rows("topic-prose", "test"))
            .chain(rows("prose", "test"));
        for row in rows {
            for word in row
                .text
                .to_lowercase()
                .split(|letter: char| !letter.is_alphanumeric())
            {
                assert!(word.is_empty() || known.contains(word), "{word}");
            }
        }
    }

    /// A classifier that sees words without their order does well, and leaves room above it.
    #[test]
    fn naive_bayes_is_good_and_not_perfect() {
        let (train, test) = (rows("topics", "train"), rows("topics", "test"));
        let mut counts: HashMap<String, [f64; 4]> = HashMap::new();
        let mut totals = [0.0; 4];
        for row in &train {
            for word in tokens(&row.text) {
                counts.entry(word).or_insert([1.0; 4])[row.topic as usize] += 1.0;
                totals[row.topic as usize] += 1.0;
            }
        }
        let guess = |text: &str| {
            let mut scores = [0.0; 4];
            for word in tokens(text) {
                let Some(count) = counts.get(&word) else {
                    continue;
                };
                for topic in 0..4 {
                    scores[topic] += f64::ln(count[topic] / totals[topic]);
                }
            }
            (0..4)
                .max_by(|&a, &b| f64::total_cmp(&scores[a], &scores[b]))
                .unwrap() as u32
        };
        let right = test
            .iter()
            .filter(|row| guess(&row.text) == row.topic)
            .count();
        let accuracy = right as f64 / test.len() as f64;
        eprintln!("naive Bayes: {accuracy}");
        assert!((0.68..0.82).contains(&accuracy), "{accuracy}");
    }
}
