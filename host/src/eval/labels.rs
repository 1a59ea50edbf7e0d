//! Labels of data as classes of a model that knows them in an order of its own.

use super::EvalError;
use crate::data::{Label, TextSplits};

/// Gives the labels of `text` the numbers that `known` has for them: by name, or where the data has numbers in place of
/// names and the model has not, by number. Nothing changes where nothing is known.
pub(super) fn relabel(text: &mut TextSplits, known: &[String]) -> Result<(), EvalError> {
    let found = &text.label_names;
    if known.is_empty() || found.is_empty() || found == known {
        return Ok(());
    }
    let place = |name: &String| known.iter().position(|known| known == name);
    let mut places: Option<Vec<u32>> = found
        .iter()
        .map(|name| u32::try_from(place(name)?).ok())
        .collect();
    if places.is_none() && found.len() <= known.len() && are_numbers(found) {
        places = Some((0..).take(found.len()).collect());
    }
    let Some(places) = places else {
        let unknown = found.iter().filter(|name| place(name).is_none());
        return Err(EvalError::Labels {
            unknown: unknown.cloned().collect(),
            known: known.to_vec(),
        });
    };
    let moved = |class: &mut u32| {
        if let Some(place) = places.get(*class as usize) {
            *class = *place;
        }
    };
    for rows in [&mut text.train, &mut text.validation, &mut text.test] {
        for row in &mut rows.rows {
            match &mut row.label {
                Some(Label::Class(class)) => moved(class),
                Some(Label::Tags(tags)) => tags.iter_mut().for_each(moved),
                _ => {}
            }
        }
    }
    text.label_names = known.to_vec();
    Ok(())
}

/// Whether the names are the numbers of the classes, from whatever the file counts.
fn are_numbers(names: &[String]) -> bool {
    names.iter().all(|name| name.parse::<i64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::load_text;
    use crate::spec::DataSpec;
    use crate::spec::test_support::run_spec;

    fn labels(csv: &str, known: &[&str]) -> Result<Vec<u32>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.csv");
        std::fs::write(&file, csv).unwrap();
        let spec = DataSpec {
            path: None,
            train_file: Some(file.clone()),
            test_file: Some(file),
            validation_fraction: 0.0,
            train_size: None,
            test_size: None,
            ..run_spec(None, 1.0, 1).data
        };
        let mut text = load_text(&spec).unwrap();
        let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
        relabel(&mut text, &known).map_err(|error| error.to_string())?;
        let classes = text.test.rows.iter().map(|row| match row.label {
            Some(Label::Class(class)) => class,
            _ => u32::MAX,
        });
        Ok(classes.collect())
    }

    #[test]
    fn names_and_numbers_find_their_classes() {
        let named = "label,text\nsports,a\nworld,b\nsports,c\n";
        assert_eq!(
            labels(named, &["world", "trade", "sports"]).unwrap(),
            [2, 0, 2]
        );
        assert_eq!(labels(named, &[]).unwrap(), [0, 1, 0]);
        let error = labels(named, &["world", "trade"]).unwrap_err();
        assert!(
            error.contains("does not know: sports; it knows world, trade"),
            "{error}"
        );
        let numbered = "label,text\n1,a\n0,b\n";
        assert_eq!(
            labels(numbered, &["world", "trade", "sports"]).unwrap(),
            [1, 0]
        );
        assert_eq!(labels(numbered, &["0", "1"]).unwrap(), [1, 0]);
        assert!(labels(numbered, &["one"]).is_err());
    }
}
