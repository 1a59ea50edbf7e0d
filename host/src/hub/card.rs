//! The head of a data set's `README.md`: YAML between two lines `---`, with the data set's configurations.

use serde::Deserialize;

use crate::front_matter::front_matter;

/// What of a card says which files are which split.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub struct Card {
    #[serde(default)]
    pub configs: Vec<CardConfig>,
}

/// One table of a data set.
#[derive(Debug, PartialEq, Deserialize)]
pub struct CardConfig {
    pub config_name: String,
    #[serde(default)]
    pub data_files: Option<CardFiles>,
    /// Folder of the files where they have the usual names.
    #[serde(default)]
    pub data_dir: Option<String>,
    #[serde(default)]
    pub default: bool,
}

/// Patterns of file names: one, several, or some for each split.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum CardFiles {
    One(String),
    Many(Vec<CardFile>),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum CardFile {
    Pattern(String),
    Split { split: String, path: Patterns },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Patterns {
    One(String),
    Many(Vec<String>),
}

impl Card {
    /// Reads a `README.md`; one without a head says nothing.
    ///
    /// # Errors
    /// What is wrong with the head.
    pub fn parse(readme: &str) -> Result<Self, String> {
        let head = front_matter(readme)?;
        if !head.is_object() {
            return Ok(Self::default());
        }
        serde_json::from_value(head).map_err(|error| format!("the head of the card: {error}"))
    }
}

impl CardConfig {
    /// Split and pattern, pair by pair; patterns without a split are of `train`.
    pub fn patterns(&self) -> Vec<(&str, &str)> {
        match &self.data_files {
            None => Vec::new(),
            Some(CardFiles::One(pattern)) => vec![("train", pattern)],
            Some(CardFiles::Many(files)) => files.iter().flat_map(CardFile::patterns).collect(),
        }
    }
}

impl CardFile {
    fn patterns(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Pattern(pattern) => vec![("train", pattern)],
            Self::Split { split, path } => match path {
                Patterns::One(pattern) => vec![(split, pattern)],
                Patterns::Many(patterns) => patterns
                    .iter()
                    .map(|p| (split.as_str(), p.as_str()))
                    .collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read_in_all_their_forms() {
        let card = Card::parse(
            "---\nlanguage:\n- en\nsize: 3\ndataset_info:\n- features:\n  - {name: label, dtype: {class_label: \
             {names: {'0': World}}}}\nconfigs:\n- config_name: raw-v1\n  default: true\n  data_files:\n  - split: \
             train\n    path: raw-v1/train-*\n  - split: test\n    path:\n    - a.csv\n    - b.csv\n- config_name: \
             \"20220301.no\"\n  data_files: all/*.jsonl\n- config_name: c\n  data_files: [x.csv, y.csv]\n- config_name: \
             d\n  data_dir: d\n---\n# Text\n---\n",
        )
        .unwrap();
        let names: Vec<_> = card
            .configs
            .iter()
            .map(|config| (config.config_name.as_str(), config.default))
            .collect();
        assert_eq!(
            names,
            [
                ("raw-v1", true),
                ("20220301.no", false),
                ("c", false),
                ("d", false)
            ]
        );
        let patterns: Vec<_> = card.configs.iter().map(CardConfig::patterns).collect();
        assert_eq!(
            patterns,
            [
                vec![
                    ("train", "raw-v1/train-*"),
                    ("test", "a.csv"),
                    ("test", "b.csv")
                ],
                vec![("train", "all/*.jsonl")],
                vec![("train", "x.csv"), ("train", "y.csv")],
                vec![]
            ]
        );
        assert_eq!(card.configs[3].data_dir.as_deref(), Some("d"));
    }

    #[test]
    fn a_card_without_a_head_says_nothing() {
        for text in [
            "",
            "# Title\n",
            "---\n---\n",
            "---\n- a\n---\n",
            "---\nlicense: mit\n---\n",
        ] {
            assert_eq!(Card::parse(text).unwrap(), Card::default(), "{text:?}");
        }
    }

    #[test]
    fn a_head_that_cannot_be_read_is_refused() {
        assert!(Card::parse("---\nconfigs: {a: b}\n---\n").is_err());
        assert!(Card::parse("---\na: 'b\n---\n").is_err());
    }
}
