//! Which files of a repository are which split of which configuration: by its card, else by the usual names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::card::{Card, CardConfig};
use crate::data::FORMATS;

/// Words in names of files and folders that mean a split, the split's own name first.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// One table of a data set.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Config {
    pub name: String,
    pub is_default: bool,
    /// Names of files by name of split, sorted. Splits have the names that the data set gives them.
    pub splits: BTreeMap<String, Vec<String>>,
    /// Patterns of the card that no file fits.
    pub unmatched: Vec<String>,
}

impl Config {
    /// The files of the split `name`, or of the one that other data sets call so; empty where there is none.
    #[must_use]
    pub fn split(&self, name: &str) -> Vec<String> {
        let aliases = SPLITS.iter().find(|(split, _)| *split == name);
        let names = aliases.map_or(&[][..], |(_, aliases)| aliases);
        names
            .iter()
            .find_map(|alias| self.splits.get(*alias))
            .cloned()
            .unwrap_or_default()
    }
}

/// The configurations that the card describes; those of them that have files which can be read.
#[must_use]
pub fn by_card(card: &Card, files: &[String]) -> Vec<Config> {
    let configs = card.configs.iter().map(|config| {
        let mut found = match &config.data_dir {
            Some(folder) if config.data_files.is_none() => in_folder(folder, files),
            _ => matching(config, files),
        };
        found.name.clone_from(&config.config_name);
        found.is_default = config.default || config.config_name == "default";
        found
    });
    configs
        .filter(|config| !config.splits.is_empty() || !config.unmatched.is_empty())
        .collect()
}

fn matching(config: &CardConfig, files: &[String]) -> Config {
    let folder = config.data_dir.as_deref().unwrap_or_default();
    let mut found = Config::default();
    for (split, pattern) in config.patterns() {
        let pattern = below(folder, pattern);
        let regex = glob(&pattern);
        let mut names: Vec<String> = files
            .iter()
            .filter(|file| regex.as_ref().is_some_and(|regex| regex.is_match(file)))
            .cloned()
            .collect();
        if names.is_empty() {
            found.unmatched.push(pattern);
        }
        names.retain(|name| format(name).is_some());
        if !names.is_empty() {
            found
                .splits
                .entry(split.to_owned())
                .or_default()
                .append(&mut names);
        }
    }
    for names in found.splits.values_mut() {
        names.sort();
        names.dedup();
    }
    found
}

fn below(folder: &str, name: &str) -> String {
    let folder = folder.trim_start_matches("./").trim_matches('/');
    let name = name.trim_start_matches("./");
    if folder.is_empty() || folder == "." {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// The files below `folder` as one configuration.
fn in_folder(folder: &str, files: &[String]) -> Config {
    let prefix = below(folder, "");
    let below: Vec<String> = files
        .iter()
        .filter(|file| file.starts_with(&prefix))
        .cloned()
        .collect();
    let mut merged = Config::default();
    for config in by_name(&below) {
        for (split, mut names) in config.splits {
            merged.splits.entry(split).or_default().append(&mut names);
        }
    }
    merged
}

/// The configurations that the names tell of: `train.csv`, `data/train-00000-of-00001.parquet`,
/// `CONFIG/validation-*.parquet`, `CONFIG/test/0000.parquet`. Where no name tells of a split, all is `train`.
#[must_use]
pub fn by_name(files: &[String]) -> Vec<Config> {
    let mut by_config: BTreeMap<String, Vec<Placed>> = BTreeMap::new();
    for file in files {
        if let Some((config, placed)) = placed(file) {
            by_config.entry(config).or_default().push(placed);
        }
    }
    let configs = by_config.into_iter().filter_map(|(name, placed)| {
        let splits = splits(&placed);
        (!splits.is_empty()).then(|| Config {
            is_default: name == "default",
            name,
            splits,
            unmatched: Vec::new(),
        })
    });
    configs.collect()
}

/// A data file with what its name tells.
struct Placed {
    file: String,
    format: usize,
    split: Option<&'static str>,
}

fn placed(file: &str) -> Option<(String, Placed)> {
    let format = format(file)?;
    let (folders, name) = file.rsplit_once('/').unwrap_or(("", file));
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut split = stem
        .split(|c: char| !c.is_ascii_alphabetic())
        .find_map(split_of);
    let mut config = Vec::new();
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        // Of a table that is too large to convert, the hub converts a part.
        match split_of(folder.strip_prefix("partial-").unwrap_or(folder)) {
            Some(found) => split = Some(found),
            None if folder == "data" => {}
            None => config.push(folder),
        }
    }
    // Files such as `config.json` and `requirements.txt` are of every repository.
    if split.is_none() && ["json", "txt"].contains(&FORMATS[format]) {
        return None;
    }
    let config = if config.is_empty() {
        "default".to_owned()
    } else {
        config.join("/")
    };
    let file = file.to_owned();
    Some((
        config,
        Placed {
            file,
            format,
            split,
        },
    ))
}

/// The splits of one configuration, all in one format: the best that has a train split.
fn splits(placed: &[Placed]) -> BTreeMap<String, Vec<String>> {
    let named = placed.iter().any(|file| file.split.is_some());
    let split = |file: &Placed| file.split.or((!named).then_some("train"));
    let best = |needed: Option<&str>| {
        placed
            .iter()
            .filter(|file| needed.is_none() || split(file) == needed)
            .map(|file| file.format)
            .min()
    };
    let Some(format) = best(Some("train")).or_else(|| best(None)) else {
        return BTreeMap::new();
    };
    let mut splits: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in placed.iter().filter(|file| file.format == format) {
        if let Some(split) = split(file) {
            splits
                .entry(split.to_owned())
                .or_default()
                .push(file.file.clone());
        }
    }
    for names in splits.values_mut() {
        names.sort();
    }
    splits
}

fn split_of(word: &str) -> Option<&'static str> {
    SPLITS
        .iter()
        .find(|(_, words)| words.iter().any(|known| known.eq_ignore_ascii_case(word)))
        .map(|(split, _)| *split)
}

/// The file's format as its place in [`FORMATS`].
fn format(file: &str) -> Option<usize> {
    let (_, extension) = file.rsplit_once('.')?;
    FORMATS
        .iter()
        .position(|format| format.eq_ignore_ascii_case(extension))
}

/// The names that a set of shards `...-00001-of-00003...` lacks: the first of them, and how many more. The count is
/// what a name says, so nothing is made that is as large.
#[must_use]
pub fn missing_shards(files: &[String]) -> Vec<String> {
    const NAMED: usize = 5;
    static SHARD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^(.*-)(\d{5})-of-(\d{5})(.*)$").ok());
    // By what stands before the place, the count, and what stands after it.
    let mut sets: BTreeMap<[&str; 3], BTreeSet<usize>> = BTreeMap::new();
    for file in files {
        let parts = SHARD.as_ref().and_then(|shard| shard.captures(file));
        let Some((_, [before, place, count, after])) = parts.map(|parts| parts.extract()) else {
            continue;
        };
        let places = sets.entry([before, count, after]).or_default();
        places.extend(place.parse::<usize>().ok());
    }
    let (mut missing, mut more) = (Vec::new(), 0);
    for ([before, count, after], places) in sets {
        let total: usize = count.parse().unwrap_or(0);
        let absent = (0..total).filter(|place| !places.contains(place));
        let named: Vec<String> = absent
            .take(NAMED - missing.len())
            .map(|place| format!("{before}{place:05}-of-{count}{after}"))
            .collect();
        more += (total - places.range(..total).count()) - named.len();
        missing.extend(named);
    }
    if more > 0 {
        missing.push(format!("{more} more"));
    }
    missing
}

/// A pattern of file names as a regular expression: `*` and `?` within a folder, `**` across folders, `[0-9]`,
/// `{a,b}`. `None` where it is not one.
fn glob(pattern: &str) -> Option<Regex> {
    let mut regex = String::from("^");
    let mut rest = pattern;
    let mut braces = 0;
    while let Some(c) = rest.chars().next() {
        let (piece, length) = match c {
            '*' if rest.starts_with("**/") => ("(?:.*/)?".to_owned(), 3),
            '*' if rest.starts_with("**") => (".*".to_owned(), 2),
            '*' => ("[^/]*".to_owned(), 1),
            '?' => ("[^/]".to_owned(), 1),
            '[' => {
                let end = rest[1..].find(']')? + 1;
                let class = &rest[1..end];
                let (not, class) = match class.strip_prefix(['!', '^']) {
                    Some(class) => ("^", class),
                    None => ("", class),
                };
                let class = class.replace('\\', r"\\").replace('[', r"\[");
                (format!("[{not}{class}]"), end + 1)
            }
            '{' => {
                braces += 1;
                ("(?:".to_owned(), 1)
            }
            '}' if braces > 0 => {
                braces -= 1;
                (")".to_owned(), 1)
            }
            ',' if braces > 0 => ("|".to_owned(), 1),
            c => (regex::escape(c.encode_utf8(&mut [0; 4])), c.len_utf8()),
        };
        regex += &piece;
        rest = &rest[length..];
    }
    Regex::new(&(regex + "$")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    fn shown(configs: &[Config]) -> Vec<String> {
        let lines = configs.iter().flat_map(|config| {
            let lines = config.splits.iter();
            lines.map(move |(split, files)| format!("{} {split}: {}", config.name, files.join(" ")))
        });
        lines.collect()
    }

    #[test]
    fn usual_names_tell_of_splits() {
        for (files, expected) in [
            (
                &[
                    "README.md",
                    "train.csv",
                    "test.csv",
                    "dev.csv",
                    "config.json",
                ][..],
                &[
                    "default test: test.csv",
                    "default train: train.csv",
                    "default validation: dev.csv",
                ][..],
            ),
            (
                &[
                    "data/train-00000-of-00002.parquet",
                    "data/train-00001-of-00002.parquet",
                    "data/test-00000-of-00001.parquet",
                ],
                &[
                    "default test: data/test-00000-of-00001.parquet",
                    "default train: data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet",
                ],
            ),
            (
                &[
                    "a/train-0.parquet",
                    "b/train/0000.parquet",
                    "b/partial-test/0000.parquet",
                ],
                &[
                    "a train: a/train-0.parquet",
                    "b test: b/partial-test/0000.parquet",
                    "b train: b/train/0000.parquet",
                ],
            ),
            (
                &["reviews.csv", "requirements.txt"],
                &["default train: reviews.csv"],
            ),
            (
                &["train.csv", "train.jsonl", "train.parquet"],
                &["default train: train.parquet"],
            ),
            (
                &["my_training_set.jsonl", "constraint.csv"],
                &["default train: my_training_set.jsonl"],
            ),
            (&["images.zip", "script.py"], &[]),
        ] {
            assert_eq!(shown(&by_name(&names(files))), expected, "{files:?}");
        }
    }

    #[test]
    fn a_card_goes_by_its_patterns() {
        let card = Card::parse(
            "---\nconfigs:\n- config_name: v1\n  data_files:\n  - split: train\n    path: v1/train-*\n  - split: dev\n    \
             path: 'v1/{dev,valid}*'\n- config_name: v2\n  data_dir: v2\n  default: true\n- config_name: gone\n  \
             data_files: gone/*\n- config_name: pictures\n  data_files: '*.zip'\n---\n",
        )
        .unwrap();
        let files = names(&[
            "v1/train-0.parquet",
            "v1/valid.csv",
            "v2/train.csv",
            "v2/x/test.csv",
            "a.zip",
        ]);
        let configs = by_card(&card, &files);
        assert_eq!(
            shown(&configs),
            [
                "v1 dev: v1/valid.csv",
                "v1 train: v1/train-0.parquet",
                "v2 test: v2/x/test.csv",
                "v2 train: v2/train.csv"
            ]
        );
        assert_eq!(configs[0].split("validation"), ["v1/valid.csv"]);
        assert!(configs[0].split("test").is_empty());
        assert!(configs[1].is_default);
        assert_eq!(configs[2].unmatched, ["gone/*"]);
        assert_eq!(configs.len(), 3);
    }

    #[test]
    fn globs_match_as_the_hub_has_them() {
        for (pattern, yes, no) in [
            (
                "data/train-*",
                "data/train-0.parquet",
                "data/train/0.parquet",
            ),
            ("**/*.csv", "a/b/c.csv", "a/b/c.tsv"),
            ("**/*.csv", "c.csv", "c.csv.gz"),
            ("data/**", "data/a/b", "other/a"),
            ("train-[0-9]?.csv", "train-12.csv", "train-a2.csv"),
            ("[!a]*.csv", "b.csv", "a.csv"),
            ("a.csv", "a.csv", "abcsv"),
            ("{a,b}/x", "b/x", "c/x"),
        ] {
            let regex = glob(pattern).unwrap();
            assert!(regex.is_match(yes), "{pattern} {yes}");
            assert!(!regex.is_match(no), "{pattern} {no}");
        }
        assert!(glob("a[").is_none() && glob("{a").is_none());
    }

    #[test]
    fn shards_that_are_not_there_are_known_by_their_count() {
        let files = names(&[
            "d/train-00000-of-00003.parquet",
            "d/train-00002-of-00003.parquet",
            "test.csv",
        ]);
        assert_eq!(missing_shards(&files), ["d/train-00001-of-00003.parquet"]);
        assert!(missing_shards(&names(&["train-00000-of-00001.csv"])).is_empty());
        // Whatever a name says of how many there are.
        let absurd = names(&[
            "a-00001-of-99999.csv",
            "b-00000-of-00003.csv",
            "c-7-of-8.csv",
        ]);
        assert_eq!(
            missing_shards(&absurd),
            [
                "a-00000-of-99999.csv",
                "a-00002-of-99999.csv",
                "a-00003-of-99999.csv",
                "a-00004-of-99999.csv",
                "a-00005-of-99999.csv",
                "99995 more",
            ]
        );
    }
}
