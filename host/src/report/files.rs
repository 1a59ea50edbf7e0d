//! The result files of a sweep in its output folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::{Summary, results_json};
use crate::{
    record::{RecordError, RunRecord, read_if_there, write_atomically},
    spec::Seeds,
};

const RESULTS: &str = "results.json";
const SUMMARY: &str = "summary.json";

/// Where the results of a plan stand: the original's `results.json` in the output folder itself for one cell and
/// seed, in `CELL/` for several cells, in `CELL/seed-SEED/` for several seeds; and `summary.json` over all.
#[derive(Debug)]
pub struct ResultFiles {
    output: PathBuf,
    /// Runs of the plan.
    planned: usize,
    /// Paths within the folder, by cell and seeds.
    files: BTreeMap<(String, String), PathBuf>,
}

/// The content of `summary.json`.
#[derive(Serialize)]
struct SummaryFile<'a> {
    /// Whether the sweep was stopped before all of its runs were done. There are no result files then.
    interrupted: bool,
    /// Runs of the plan, and those of them that are done.
    planned: usize,
    done: usize,
    /// The result files beside this one.
    files: Vec<&'a Path>,
    #[serde(flatten)]
    summary: &'a Summary,
    /// Fits, intervals, and comparisons with full fine-tuning.
    analysis: &'a Analysis,
}

/// What is read of an earlier `summary.json`.
#[derive(Deserialize)]
struct Earlier {
    #[serde(default)]
    files: Vec<PathBuf>,
}

impl ResultFiles {
    /// Lays out the files of a plan that has these cells and seeds, one pair a run.
    pub fn of<'a>(output: &Path, plan: impl IntoIterator<Item = (&'a str, &'a Seeds)>) -> Self {
        let mut planned = 0;
        let keys: BTreeSet<(String, String)> = plan
            .into_iter()
            .inspect(|_| planned += 1)
            .map(|(cell, seeds)| (cell.to_owned(), seeds.label()))
            .collect();
        let one_group = keys.len() <= 1;
        let first = keys.first().map(|(_, seed)| seed.clone());
        let one_seed = keys.iter().all(|(_, seed)| Some(seed) == first.as_ref());
        let place = |(cell, seed): (String, String)| {
            let folder = match (one_group, one_seed) {
                (true, _) => PathBuf::new(),
                (false, true) => PathBuf::from(&cell),
                (false, false) => Path::new(&cell).join(format!("seed-{seed}")),
            };
            ((cell, seed), folder.join(RESULTS))
        };
        Self {
            output: output.to_owned(),
            planned,
            files: keys.into_iter().map(place).collect(),
        }
    }

    /// Writes the files, `summary.json` last, and returns their paths in that order. `summary` and
    /// `analysis` are those of `records`.
    /// Result files that an earlier sweep left here and that this one does not write are removed.
    ///
    /// An interrupted sweep has no results yet: it writes `summary.json` alone, which says so.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write(
        &self,
        records: &[RunRecord],
        summary: &Summary,
        analysis: &Analysis,
        interrupted: bool,
    ) -> Result<Vec<PathBuf>, RecordError> {
        let files = if interrupted {
            Vec::new()
        } else {
            self.files.values().map(PathBuf::as_path).collect()
        };
        self.remove_all_but(&files)?;
        let mut written = Vec::new();
        if !interrupted {
            let mut runs: BTreeMap<&Path, Vec<&RunRecord>> = BTreeMap::new();
            for record in records {
                let key = (record.spec.cell.clone(), record.spec.spec.seeds.label());
                if let Some(file) = self.files.get(&key) {
                    runs.entry(file).or_default().push(record);
                }
            }
            for (file, runs) in runs {
                written.push(self.write_file(file, results_json(runs).as_bytes())?);
            }
        }
        let content = SummaryFile {
            interrupted,
            planned: self.planned,
            done: records.len(),
            files,
            summary,
            analysis,
        };
        let mut json = serde_json::to_vec_pretty(&content).map_err(RecordError::json(SUMMARY))?;
        json.push(b'\n');
        written.push(self.write_file(Path::new(SUMMARY), &json)?);
        Ok(written)
    }

    fn write_file(&self, file: &Path, content: &[u8]) -> Result<PathBuf, RecordError> {
        let path = self.output.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(RecordError::io("create the folder", folder))?;
        }
        write_atomically(&path, content)?;
        Ok(path)
    }

    /// Removes the result files that the `summary.json` at hand names, but for these, and folders that are empty then.
    fn remove_all_but(&self, kept: &[&Path]) -> Result<(), RecordError> {
        let earlier = read_if_there(&self.output.join(SUMMARY))?;
        let earlier = earlier.and_then(|json| serde_json::from_slice::<Earlier>(&json).ok());
        let files = earlier.map(|earlier| earlier.files).unwrap_or_default();
        let stale = files
            .iter()
            .filter(|file| is_result_file(file) && !kept.contains(&file.as_path()));
        for file in stale {
            let path = self.output.join(file);
            if path.is_file() {
                fs::remove_file(&path).map_err(RecordError::io("remove", &path))?;
            }
            for folder in file.ancestors().skip(1) {
                if folder.as_os_str().is_empty()
                    || fs::remove_dir(self.output.join(folder)).is_err()
                {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Whether a path can be one of ours: within the folder, and of the right name.
fn is_result_file(file: &Path) -> bool {
    let inside = |part| matches!(part, Component::Normal(_));
    file.components().all(inside) && file.file_name().is_some_and(|name| name == RESULTS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::report::analysis::{Sources, analyse};
    use crate::report::summarise;
    use crate::report::summary::tests::record;

    fn write(folder: &Path, plan: &[RunRecord], done: usize) -> Vec<String> {
        let cells = plan
            .iter()
            .map(|run| (run.spec.cell.as_str(), &run.spec.spec.seeds));
        let files = ResultFiles::of(folder, cells);
        let done = &plan[..done];
        let analysis = analyse(&Sources {
            records: done,
            unfinished: &[],
            histories: &HashMap::new(),
        });
        let paths = files
            .write(done, &summarise(done), &analysis, done.len() < plan.len())
            .unwrap();
        let relative = |path: PathBuf| {
            assert!(path.is_file());
            let path = path.strip_prefix(folder).unwrap();
            path.to_string_lossy().into_owned()
        };
        paths.into_iter().map(relative).collect()
    }

    fn written(plan: &[RunRecord]) -> Vec<String> {
        write(tempfile::tempdir().unwrap().path(), plan, plan.len())
    }

    #[test]
    fn one_cell_and_seed_stands_in_the_folder_itself() {
        let runs = [
            record("full", None, 1e-3, 1, 0.5),
            record("full", None, 1e-2, 1, 0.5),
        ];
        assert_eq!(written(&runs), ["results.json", "summary.json"]);
    }

    #[test]
    fn several_cells_and_seeds_have_folders() {
        let mut runs = vec![
            record("full", None, 1e-3, 1, 0.5),
            record("lora-r4", Some(4), 1e-3, 1, 0.5),
        ];
        let expected = ["full/results.json", "lora-r4/results.json", "summary.json"];
        assert_eq!(written(&runs), expected);
        runs.push(record("full", None, 1e-3, 2, 0.5));
        let expected = [
            "full/seed-1/results.json",
            "full/seed-2/results.json",
            "lora-r4/seed-1/results.json",
            "summary.json",
        ];
        assert_eq!(written(&runs), expected);
    }

    #[test]
    fn an_interrupted_sweep_has_a_summary_alone() {
        let folder = tempfile::tempdir().unwrap();
        let plan = [
            record("full", None, 1e-3, 1, 0.5),
            record("lora-r4", Some(4), 1e-3, 1, 0.5),
        ];
        write(folder.path(), &plan, 2);
        fs::write(folder.path().join("full/notes.txt"), "mine").unwrap();
        assert_eq!(write(folder.path(), &plan, 1), ["summary.json"]);
        assert!(!folder.path().join("full/results.json").exists());
        assert!(folder.path().join("full/notes.txt").exists());
        assert!(!folder.path().join("lora-r4").exists());
        let summary = fs::read(folder.path().join(SUMMARY)).unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
        assert_eq!(summary["interrupted"], true);
        assert_eq!(
            (&summary["planned"], &summary["done"]),
            (&2.into(), &1.into())
        );
        assert_eq!(summary["cells"][0]["cell"], "full");
    }

    #[test]
    fn results_of_another_plan_are_removed_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let plan = [
            record("full", None, 1e-3, 1, 0.5),
            record("lora-r4", Some(4), 1e-3, 1, 0.5),
        ];
        write(folder.path(), &plan[..1], 1);
        fs::create_dir(folder.path().join("paper")).unwrap();
        fs::write(folder.path().join("paper/results.json"), "mine").unwrap();
        write(folder.path(), &plan, 2);
        assert!(!folder.path().join("results.json").exists());
        assert!(folder.path().join("paper/results.json").exists());
        for outside in ["../results.json", "/results.json", "full/notes.txt"] {
            assert!(!is_result_file(Path::new(outside)), "{outside}");
        }
    }
}
