//! Which files, or which built-in rows, the splits come from.

use std::io;
use std::path::{Path, PathBuf};

use super::builtin;
use super::error::DataError;
use super::table::{FORMATS, format_of};
use crate::digest::{sha256, sha256_of_file};
use crate::nearest::nearest;
use crate::spec::DataSpec;

/// Where one split comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
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
}

/// The sha256 of the data, in hexadecimal: what a run's identity holds of them.
///
/// It covers each split's source in turn: the split's name, and of a file its format and bytes, or the rows of a
/// built-in set. How a file is cut and where it lies does not enter.
///
/// # Errors
/// When a source is missing, or a file cannot be read or is of no known format.
pub fn source_sha256(spec: &DataSpec) -> Result<String, DataError> {
    let sources = Sources::find(spec)?;
    let mut all = String::new();
    for (name, source) in [
        ("train", Some(&sources.train)),
        ("validation", sources.validation.as_ref()),
        ("test", sources.test.as_ref()),
    ] {
        if let Some(source) = source {
            all += name;
            all += &source.digest()?;
        }
    }
    Ok(sha256(all.as_bytes()))
}

impl Sources {
    pub fn find(spec: &DataSpec) -> Result<Self, DataError> {
        let mut found = match spec.path.as_deref() {
            None => [None, None, None],
            Some(path) => match path.strip_prefix("builtin:") {
                Some(name) => builtin_sources(name)?,
                None => folder_sources(Path::new(path), spec.train_file.is_none())?,
            },
        };
        for (source, file) in
            found
                .iter_mut()
                .zip([&spec.train_file, &spec.validation_file, &spec.test_file])
        {
            if let Some(file) = file {
                *source = Some(Source::File(file.clone()));
            }
        }
        let [train, validation, test] = found;
        Ok(Self {
            train: train.ok_or(DataError::NoTrainSource)?,
            validation,
            test,
        })
    }
}

impl Source {
    /// How errors call it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Builtin { set, split } => format!("builtin:{set}/{split}").into(),
        }
    }

    /// Format and sha256.
    fn digest(&self) -> Result<String, DataError> {
        match self {
            Self::File(path) => {
                let sha256 = sha256_of_file(path).map_err(|source| DataError::Read {
                    path: path.clone(),
                    source,
                })?;
                Ok(format!(" {} {sha256}\n", format_of(path)?))
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

type Found = [Option<Source>; 3];

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

fn folder_sources(folder: &Path, needs_train: bool) -> Result<Found, DataError> {
    let kind = folder.metadata().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DataError::NoSuchData {
            path: folder.to_owned(),
            known: builtin::NAMES
                .map(|name| format!("builtin:{name}"))
                .join(", "),
        },
        _ => DataError::Read {
            path: folder.to_owned(),
            source,
        },
    })?;
    if !kind.is_dir() {
        return Err(DataError::NotAFolder {
            path: folder.to_owned(),
        });
    }
    let train = file_of(folder, "train", &["train"])?;
    if train.is_none() && needs_train {
        return Err(DataError::NoTrainFile {
            folder: folder.to_owned(),
        });
    }
    Ok([
        train,
        file_of(folder, "validation", &["validation", "valid", "dev"])?,
        file_of(folder, "test", &["test"])?,
    ])
}

fn file_of(
    folder: &Path,
    split: &'static str,
    names: &[&str],
) -> Result<Option<Source>, DataError> {
    let mut files = names
        .iter()
        .flat_map(|name| FORMATS.map(|extension| folder.join(format!("{name}.{extension}"))))
        .filter(|path| path.is_file());
    match (files.next(), files.next()) {
        (Some(first), Some(second)) => Err(DataError::TwoFiles {
            split,
            first,
            second,
        }),
        (file, _) => Ok(file.map(Source::File)),
    }
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
            Some(Source::File(folder.path().join("dev.tsv")))
        );
        assert_eq!(found.test, None);

        let other = DataSpec {
            test_file: Some("elsewhere.csv".into()),
            ..spec.clone()
        };
        assert_eq!(
            Sources::find(&other).unwrap().test,
            Some(Source::File("elsewhere.csv".into()))
        );

        std::fs::write(folder.path().join("train.txt"), "a\n").unwrap();
        let error = Sources::find(&spec).unwrap_err().to_string();
        assert!(
            error.contains("train.csv")
                && error.contains("train.txt")
                && error.contains("--train-file")
        );
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
    }
}
