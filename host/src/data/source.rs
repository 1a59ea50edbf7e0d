//! Which files, or which built-in rows, the splits come from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::builtin;
use super::error::DataError;
use super::features::described_names;
use super::table::{ClassNames, FORMATS, format_of, read_error};
use crate::digest::{sha256, sha256_of_file};
use crate::nearest::nearest;
use crate::spec::DataSpec;

/// Where one split comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// One after the other.
    Files(Vec<PathBuf>),
    /// Split `train` or `test` of a built-in set.
    Builtin {
        set: &'static str,
        split: &'static str,
    },
}

/// Where all splits come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources {
    pub train: Source,
    pub validation: Option<Source>,
    pub test: Option<Source>,
    /// What the folder's own description says of its classes.
    pub described: ClassNames,
}

/// The sha256 of the data, in hexadecimal: what a run's identity holds of them.
///
/// It covers each split's source in turn: the split's name, and of each file its format and bytes, or the rows of a
/// built-in set; and the names of classes that a folder's description gives. How a file is cut and where it lies does
/// not enter.
///
/// # Errors
/// When a source is missing, or a file cannot be read or is of no known format.
pub fn source_sha256(spec: &DataSpec) -> Result<String, DataError> {
    let sources = Sources::find(spec)?;
    let mut all = String::new();
    for (name, source) in sources.splits() {
        all += name;
        all += &source.digest()?;
    }
    if !sources.described.is_empty() {
        let classes = format!("classes {:?}\n", sources.described);
        all += &classes;
    }
    Ok(sha256(all.as_bytes()))
}

impl Sources {
    pub fn find(spec: &DataSpec) -> Result<Self, DataError> {
        let (mut found, described) = match spec.path.as_deref() {
            None => Default::default(),
            Some(path) => match path.strip_prefix("builtin:") {
                Some(name) => (builtin_sources(name)?, ClassNames::new()),
                None => sources_at(Path::new(path), spec.train_file.is_none())?,
            },
        };
        for (source, file) in
            found
                .iter_mut()
                .zip([&spec.train_file, &spec.validation_file, &spec.test_file])
        {
            if let Some(file) = file {
                *source = Some(Source::Files(vec![file.clone()]));
            }
        }
        let [train, validation, test] = found;
        Ok(Self {
            train: train.ok_or(DataError::NoTrainSource)?,
            validation,
            test,
            described,
        })
    }

    /// The splits that are there, by name.
    pub fn splits(&self) -> impl Iterator<Item = (&'static str, &Source)> {
        [
            ("train", Some(&self.train)),
            ("validation", self.validation.as_ref()),
            ("test", self.test.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, source)| Some((name, source?)))
    }
}

impl Source {
    /// How errors call it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Files(files) => files.first().cloned().unwrap_or_default(),
            Self::Builtin { set, split } => format!("builtin:{set}/{split}").into(),
        }
    }

    /// Format and sha256 of each file.
    fn digest(&self) -> Result<String, DataError> {
        match self {
            Self::Files(files) => {
                let line = |path: &PathBuf| {
                    let sha256 = sha256_of_file(path).map_err(|source| read_error(path, source))?;
                    Ok(format!(" {} {sha256}\n", format_of(path)?))
                };
                files.iter().map(line).collect()
            }
            Self::Builtin { set, split } => {
                let rows = builtin::rows(set, split);
                let lines = rows
                    .iter()
                    .map(|row| format!("{}\t{}\n", row.topic, row.text));
                let sha256 = sha256(lines.collect::<String>().as_bytes());
                Ok(format!(" builtin {sha256}\n"))
            }
        }
    }
}

/// The sources of train, validation and test.
type Found = [Option<Source>; 3];

/// The splits and what their files may be called.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train"]),
    ("validation", &["validation", "valid", "dev"]),
    ("test", &["test"]),
];

fn builtin_sources(name: &str) -> Result<Found, DataError> {
    let Some(set) = builtin::NAMES.into_iter().find(|known| *known == name) else {
        return Err(DataError::UnknownBuiltin {
            name: name.to_owned(),
            known: builtin::NAMES.join(", "),
            nearest: nearest(name, builtin::NAMES).map(str::to_owned),
        });
    };
    Ok([
        Some(Source::Builtin {
            set,
            split: "train",
        }),
        None,
        Some(Source::Builtin { set, split: "test" }),
    ])
}

/// A file, which is the train split, or a folder.
fn sources_at(path: &Path, needs_train: bool) -> Result<(Found, ClassNames), DataError> {
    let metadata = path.metadata().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DataError::NoSuchData {
            path: path.to_owned(),
            known: builtin::NAMES
                .map(|name| format!("builtin:{name}"))
                .join(", "),
        },
        _ => read_error(path, source),
    })?;
    if !metadata.is_dir() {
        let train = Source::Files(vec![path.to_owned()]);
        return Ok(([Some(train), None, None], ClassNames::new()));
    }
    let folder = holder_of(path)?;
    let found = match folder {
        Some(folder) => splits_in(&folder)?,
        None => Found::default(),
    };
    if found[0].is_none() && needs_train {
        return Err(DataError::NoTrainFile {
            folder: path.to_owned(),
        });
    }
    Ok((found, described_names(path)?))
}

/// The folder that holds the splits: this one, its folder `data`, or the one data set below it.
fn holder_of(folder: &Path) -> Result<Option<PathBuf>, DataError> {
    let holds = |folder: &Path| Ok::<_, DataError>(splits_in(folder)?.iter().any(Option::is_some));
    for folder in [folder.to_owned(), folder.join("data")] {
        if folder.is_dir() && holds(&folder)? {
            return Ok(Some(folder));
        }
    }
    let mut sets = Vec::new();
    for entry in entries(folder)? {
        if entry.is_dir() && holds(&entry)? {
            sets.push(entry);
        }
    }
    match &sets[..] {
        [] | [_] => Ok(sets.pop()),
        [first, ..] => {
            let names = sets.iter().filter_map(|set| set.file_name()?.to_str());
            Err(DataError::SeveralSets {
                folder: folder.to_owned(),
                first: first.clone(),
                known: names.collect::<Vec<_>>().join(", "),
            })
        }
    }
}

fn splits_in(folder: &Path) -> Result<Found, DataError> {
    let entries = entries(folder)?;
    let mut found = Found::default();
    for (source, (split, names)) in found.iter_mut().zip(SPLITS) {
        *source = split_in(&entries, split, names)?;
    }
    Ok(found)
}

/// What is in a folder, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let read = |source| read_error(folder, source);
    let entries = std::fs::read_dir(folder).map_err(read)?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(read)?;
    paths.sort();
    Ok(paths)
}

/// The file of a split (`train.csv`), its parts (`train-00000-of-00002.parquet`), or what lies in its folder
/// (`train/0000.parquet`).
fn split_in(
    entries: &[PathBuf],
    split: &'static str,
    names: &[&str],
) -> Result<Option<Source>, DataError> {
    // One source for each format and name.
    let mut sources: BTreeMap<(usize, usize), Vec<PathBuf>> = BTreeMap::new();
    let mut expected = BTreeMap::new();
    for path in entries {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        if path.is_dir() {
            if let Some(name) = names.iter().position(|name| *name == stem) {
                for file in self::entries(path)? {
                    if let (Some(format), true) = (format_index(&file), file.is_file()) {
                        sources.entry((name, format)).or_default().push(file);
                    }
                }
            }
            continue;
        }
        let Some(format) = format_index(path) else {
            continue;
        };
        let name = |wanted: &str| names.iter().position(|name| *name == wanted);
        if let Some(name) = name(stem) {
            sources
                .entry((name, format))
                .or_default()
                .push(path.clone());
        } else if let Some((of, count)) = part(stem)
            && let Some(name) = name(of)
        {
            // Parts are one source, beside a whole file another.
            let at = (names.len() + name, format);
            sources.entry(at).or_default().push(path.clone());
            expected.insert(at, count);
        }
    }
    let mut sources = sources.into_iter();
    let Some((at, files)) = sources.next() else {
        return Ok(None);
    };
    if let Some((_, others)) = sources.next() {
        return Err(DataError::TwoFiles {
            split,
            first: files[0].clone(),
            second: others[0].clone(),
        });
    }
    match expected.get(&at) {
        Some(&count) if count != files.len() => Err(DataError::MissingPart {
            path: files[0].clone(),
            count,
            missing: count.saturating_sub(files.len()),
        }),
        _ => Ok(Some(Source::Files(files))),
    }
}

fn format_index(path: &Path) -> Option<usize> {
    let format = format_of(path).ok()?;
    FORMATS.iter().position(|known| *known == format)
}

/// `train-00000-of-00002` is a part of `train`, of which there are 2.
fn part(stem: &str) -> Option<(&str, usize)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(number) && digits(count)).then(|| Some((name, count.parse().ok()?)))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::load::test_spec;

    #[test]
    fn a_folder_is_searched_for_each_split() {
        let folder = tempfile::tempdir().unwrap();
        let spec = DataSpec {
            path: Some(folder.path().display().to_string()),
            ..test_spec()
        };
        assert!(matches!(
            Sources::find(&spec),
            Err(DataError::NoTrainFile { .. })
        ));

        std::fs::write(folder.path().join("train.csv"), "text\na\n").unwrap();
        std::fs::write(folder.path().join("dev.tsv"), "text\na\n").unwrap();
        let found = Sources::find(&spec).unwrap();
        assert_eq!(
            found.validation,
            Some(Source::Files(vec![folder.path().join("dev.tsv")]))
        );
        assert_eq!(found.test, None);

        let other = DataSpec {
            test_file: Some("elsewhere.csv".into()),
            ..spec.clone()
        };
        assert_eq!(
            Sources::find(&other).unwrap().test,
            Some(Source::Files(vec!["elsewhere.csv".into()]))
        );

        std::fs::write(folder.path().join("train.txt"), "a\n").unwrap();
        let error = Sources::find(&spec).unwrap_err().to_string();
        assert!(
            error.contains("train.csv")
                && error.contains("train.txt")
                && error.contains("--train-file")
        );
    }

    fn found(folder: &Path, files: &[&str]) -> Result<Vec<Vec<String>>, String> {
        for file in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let spec = DataSpec {
            path: Some(folder.display().to_string()),
            ..test_spec()
        };
        let prefix = format!("{}/", folder.display());
        let name = |path: &PathBuf| path.display().to_string().replace(&prefix, "");
        match Sources::find(&spec) {
            Err(error) => Err(error
                .to_string()
                .replace(&prefix, "")
                .replace(&folder.display().to_string(), "FOLDER")),
            Ok(sources) => Ok(sources
                .splits()
                .map(|(_, source)| match source {
                    Source::Files(files) => files.iter().map(name).collect(),
                    Source::Builtin { .. } => Vec::new(),
                })
                .collect()),
        }
    }

    #[test]
    fn folders_of_the_hub_are_understood() {
        for (files, splits) in [
            (
                &[
                    "data/train-00001-of-00002.parquet",
                    "data/train-00000-of-00002.parquet",
                    "README.md",
                ][..],
                &[&[
                    "data/train-00000-of-00002.parquet",
                    "data/train-00001-of-00002.parquet",
                ][..]][..],
            ),
            (
                &[
                    "plain/train-00000-of-00001.parquet",
                    "plain/test-00000-of-00001.parquet",
                ],
                &[
                    &["plain/train-00000-of-00001.parquet"],
                    &["plain/test-00000-of-00001.parquet"],
                ],
            ),
            (
                &[
                    "default/train/0001.parquet",
                    "default/train/0000.parquet",
                    "default/train/notes.md",
                ],
                &[&["default/train/0000.parquet", "default/train/0001.parquet"]],
            ),
            (
                &["train.jsonl", "dev.json"],
                &[&["train.jsonl"], &["dev.json"]],
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(found(folder.path(), files).unwrap(), splits);
        }
    }

    #[test]
    fn folders_that_leave_a_choice_are_refused() {
        for (files, error) in [
            (
                &["a/train.csv", "b/train.csv"][..],
                "FOLDER holds several data sets: name one, as --data a; there are a, b",
            ),
            (
                &["train-00000-of-00003.parquet"],
                "train-00000-of-00003.parquet is one of 3 parts, and 2 of them are not there: fetch them",
            ),
            (
                &["train.csv", "train-00000-of-00001.csv"],
                "train.csv and train-00000-of-00001.csv are two sources of one split: name one with --train-file",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(found(folder.path(), files).unwrap_err(), error);
        }
    }

    #[test]
    fn a_file_is_the_train_split() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("any.csv");
        std::fs::write(&file, "").unwrap();
        assert_eq!(found(&file, &[]).unwrap(), [[file.display().to_string()]]);
    }

    #[test]
    fn missing_sources_say_what_to_name() {
        let error = Sources::find(&test_spec()).unwrap_err().to_string();
        assert!(error.contains("--train-file"), "{error}");
        let typo = DataSpec {
            path: Some("builtin:topic".into()),
            ..test_spec()
        };
        let error = Sources::find(&typo).unwrap_err().to_string();
        assert_eq!(
            error,
            "no built-in data set `topic` (did you mean `topics`?); there are topics, topic-prose, prose"
        );
    }

    #[test]
    fn the_digest_covers_bytes_formats_and_roles() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.txt"), folder.path().join("b.txt"));
        std::fs::write(&a, "one\n").unwrap();
        std::fs::write(&b, "two\n").unwrap();
        let sum = |train: &PathBuf, validation: Option<&PathBuf>, test: Option<&PathBuf>| {
            source_sha256(&DataSpec {
                train_file: Some(train.clone()),
                validation_file: validation.cloned(),
                test_file: test.cloned(),
                ..test_spec()
            })
            .unwrap()
        };
        assert_eq!(sum(&a, Some(&b), None).len(), 64);
        assert_ne!(sum(&a, Some(&b), None), sum(&a, None, Some(&b)));
        assert_ne!(sum(&a, None, None), sum(&b, None, None));
        std::fs::copy(&a, &b).unwrap();
        assert_eq!(sum(&a, None, None), sum(&b, None, None));
        let c = folder.path().join("a.csv");
        std::fs::copy(&a, &c).unwrap();
        assert_ne!(sum(&a, None, None), sum(&c, None, None));

        let spec = DataSpec {
            path: Some(folder.path().display().to_string()),
            train_file: Some(a),
            ..test_spec()
        };
        let before = source_sha256(&spec).unwrap();
        let readme = "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n        \
                      names: [no, yes]\n---\n";
        std::fs::write(folder.path().join("README.md"), readme).unwrap();
        assert_ne!(
            source_sha256(&spec).unwrap(),
            before,
            "names of classes are part of the data"
        );
    }
}
