//! The names of classes as `datasets` keeps them beside the data: in a Parquet file, in `dataset_infos.json` or
//! `dataset_info.json`, or in the head of a folder's `README.md`.

use std::path::Path;

use serde_json::Value;

use super::error::DataError;
use super::table::{ClassNames, read_error};
use crate::front_matter::front_matter;

/// Larger files describe no data set.
const MOST_BYTES: u64 = 16 << 20;

/// The class names that a folder's own description gives; none where it has none, or one that cannot be read, which is
/// said and is no error: labels have an order without it.
///
/// The folder of one of several data sets lies in the folder that describes them all, by the names of theirs.
pub(super) fn described_names(folder: &Path) -> Result<ClassNames, DataError> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let own = names_in(folder, None)?;
    match (folder.parent(), name) {
        (Some(parent), Some(name)) if own.is_empty() => names_in(parent, Some(name)),
        _ => Ok(own),
    }
}

/// What the description in `folder` says of the data set `name`, or of its only one.
fn names_in(folder: &Path, name: Option<&str>) -> Result<ClassNames, DataError> {
    for file in ["dataset_infos.json", "dataset_info.json", "README.md"] {
        let path = folder.join(file);
        let Some(text) = read_if_there(&path)? else {
            continue;
        };
        let value = match file {
            "README.md" => front_matter(&text),
            _ => serde_json::from_str(&text).map_err(|error| error.to_string()),
        };
        match value {
            Ok(value) => {
                let names = features_of(&value, name).map_or_else(ClassNames::new, class_names);
                if !names.is_empty() {
                    return Ok(names);
                }
            }
            Err(problem) => tracing::warn!(
                "{} is left out: {problem}; the names of classes are not taken from it",
                path.display()
            ),
        }
    }
    Ok(ClassNames::new())
}

fn read_if_there(path: &Path) -> Result<Option<String>, DataError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= MOST_BYTES => {
            let bytes = std::fs::read(path).map_err(|source| read_error(path, source))?;
            Ok(String::from_utf8(bytes).ok())
        }
        _ => Ok(None),
    }
}

/// The features of a data set in any of the forms of a description: itself, one by name, a list of them.
fn features_of<'a>(description: &'a Value, name: Option<&str>) -> Option<&'a Value> {
    let info = description.get("dataset_info").unwrap_or(description);
    if let Some(features) = info.get("features") {
        return name
            .is_none_or(|name| named(info).is_none_or(|own| own == name))
            .then_some(features);
    }
    let sets: Vec<(Option<&str>, &Value)> = match info {
        Value::Array(sets) => sets.iter().map(|set| (named(set), set)).collect(),
        Value::Object(sets) => sets
            .iter()
            .map(|(name, set)| (Some(name.as_str()), set))
            .collect(),
        _ => return None,
    };
    let set = match (name, &sets[..]) {
        (_, [(None, only)]) | (None, [(_, only)]) => only,
        (None, _) => return None,
        (Some(_), _) => sets.iter().find(|(set, _)| *set == name)?.1,
    };
    set.get("features")
}

fn named(info: &Value) -> Option<&str> {
    info.get("config_name").and_then(Value::as_str)
}

/// The class names of each feature that has any: features by name, or a list of `{name, ...}`.
pub(super) fn class_names(features: &Value) -> ClassNames {
    let named: Vec<(&str, &Value)> = match features {
        Value::Object(features) => features
            .iter()
            .map(|(name, feature)| (name.as_str(), feature))
            .collect(),
        Value::Array(features) => features
            .iter()
            .filter_map(|feature| Some((feature.get("name")?.as_str()?, feature)))
            .collect(),
        _ => Vec::new(),
    };
    named
        .into_iter()
        .filter_map(|(name, feature)| Some((name.to_owned(), names_of(feature, 0)?)))
        .collect()
}

/// The names in a `ClassLabel`, which may be the element of a list.
fn names_of(feature: &Value, depth: usize) -> Option<Vec<String>> {
    if depth > 4 {
        return None;
    }
    if let Some(label) = feature.get("class_label") {
        return list_of(label.get("names")?);
    }
    if feature.get("_type").and_then(Value::as_str) == Some("ClassLabel") {
        return list_of(feature.get("names")?);
    }
    let within = ["dtype", "feature", "sequence", "list"]
        .into_iter()
        .filter_map(|key| feature.get(key));
    within
        .chain(feature.get(0))
        .find_map(|inner| names_of(inner, depth + 1))
}

/// A list, or a map from 0, 1, 2, ...
fn list_of(names: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match names {
        Value::Array(names) => Some(names.iter().map(text).collect()),
        Value::Object(names) => (0..names.len())
            .map(|class| names.get(&class.to_string()).map(text))
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(files: &[(&str, &str)], below: &str) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(below)).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let names = described_names(&folder.path().join(below)).unwrap();
        names
            .into_iter()
            .map(|(column, names)| (column, names.join(" ")))
            .collect()
    }

    fn found(column: &str, names: &str) -> Vec<(String, String)> {
        vec![(column.to_owned(), names.to_owned())]
    }

    const README: &str = "---
license: mit
dataset_info:
- config_name: small
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': World
          '1': Sci/Tech
- config_name: large
  features:
  - name: tags
    sequence:
      class_label:
        names:
          0: O
          1: B-PER
---
# A data set
";

    #[test]
    fn a_readme_describes_one_data_set_or_several() {
        let files = [("README.md", README)];
        assert_eq!(names(&files, ""), []);
        assert_eq!(names(&files, "small"), found("label", "World Sci/Tech"));
        assert_eq!(names(&files, "large"), found("tags", "O B-PER"));
        let one = README
            .replace("- config_name: small\n ", "")
            .split("- config_name: large")
            .next()
            .unwrap()
            .to_owned()
            + "---\n";
        assert_eq!(
            names(&[("README.md", &one)], ""),
            found("label", "World Sci/Tech")
        );
    }

    #[test]
    fn json_descriptions_are_read_too() {
        let features = r#"{"features": {"text": {"dtype": "string", "_type": "Value"},
            "tags": {"feature": {"names": ["a", "b"], "_type": "ClassLabel"}, "_type": "List"}}}"#;
        let of_one = [("dataset_info.json", features)];
        assert_eq!(names(&of_one, ""), found("tags", "a b"));
        let infos = format!("{{\"default\": {features}}}");
        assert_eq!(
            names(&[("dataset_infos.json", &infos)], ""),
            found("tags", "a b")
        );
        let old = features
            .replace(r#"{"feature": {"names""#, r#"[{"names""#)
            .replace(r#"}, "_type": "List"}"#, "}]");
        assert_eq!(
            names(&[("dataset_info.json", &old)], ""),
            found("tags", "a b")
        );
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        let bomb = "---\na: &a [x, x]\nb: &b [*a, *a]\ndataset_info: *b\n---\n";
        for readme in [
            "",
            "# Title",
            "---\nno end",
            "---\n: : [\n---\n",
            "---\ndataset_info: 3\n---\n",
            bomb,
        ] {
            assert_eq!(names(&[("README.md", readme)], ""), [], "{readme}");
        }
        for json in [
            "",
            "3",
            "{\"features\": 3}",
            "{\"a\": {\"features\": [1, {}]}}",
        ] {
            assert_eq!(names(&[("dataset_infos.json", json)], ""), [], "{json}");
        }
    }
}
