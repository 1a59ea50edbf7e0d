//! A data set's files under the names that a folder of data has.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::data::{CARD, DataFiles};
use super::error::HubError;
use crate::atomic::{TEMPORARY_PREFIX, folder_of, shared};
use crate::digest::{cache_folder, sha256};

/// A folder of links to the files: `train.csv`, or `train-00000-of-00002.csv` and so on where a split has several. It is
/// called as the configuration is and lies beside a link to the card, which may describe several: local folders of such
/// data sets look the same. Both lie in this program's own cache, since that of the hub may be open for reading alone, in
/// a folder that is named by what it holds.
///
/// # Errors
/// When it cannot be made.
pub fn make(files: &DataFiles, config: &str, card: Option<&Path>) -> Result<PathBuf, HubError> {
    let config = folder_name(config);
    let mut links: Vec<(String, PathBuf)> = Vec::new();
    for (split, files) in [
        ("train", &files.train),
        ("validation", &files.validation),
        ("test", &files.test),
    ] {
        for (index, file) in files.iter().enumerate() {
            let target = std::path::absolute(file).map_err(HubError::file("find", file))?;
            let name = usual_name(split, index, files.len(), file);
            links.push((format!("{config}/{name}"), target));
        }
    }
    if let Some(card) = card {
        let target = std::path::absolute(card).map_err(HubError::file("find", card))?;
        links.push((CARD.to_owned(), target));
    }
    let views = cache_folder().ok_or(HubError::NoCache)?.join("hub");
    let folder = views.join(&sha256(format!("{links:?}").as_bytes())[..16]);
    if !folder.is_dir() {
        appear(&views, &folder, &links).map_err(HubError::file("make the folder", &folder))?;
    }
    Ok(folder.join(config))
}

/// A card may call a configuration as it likes; one that is found in a folder of folders is called by all of them.
fn folder_name(config: &str) -> &str {
    match Path::new(config).file_name().and_then(|name| name.to_str()) {
        Some(name) if name != CARD => name,
        _ => "data",
    }
}

fn usual_name(split: &str, index: usize, count: usize, file: &Path) -> String {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    let extension = extension.to_ascii_lowercase();
    if count == 1 {
        format!("{split}.{extension}")
    } else {
        format!("{split}-{index:05}-of-{count:05}.{extension}")
    }
}

/// Makes the folder in one step; another process may be as fast.
fn appear(views: &Path, folder: &Path, links: &[(String, PathBuf)]) -> io::Result<()> {
    fs::create_dir_all(views)?;
    let made = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(shared(0o777))
        .tempdir_in(views)?;
    for (name, target) in links {
        let link = made.path().join(name);
        fs::create_dir_all(folder_of(&link))?;
        symlink(target, link)?;
    }
    match fs::rename(made.path(), folder) {
        Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_names_of_a_folder_of_data() {
        let name = |index, count, file| usual_name("train", index, count, Path::new(file));
        assert_eq!(name(0, 1, "v1/a.CSV"), "train.csv");
        assert_eq!(name(1, 2, "b.parquet"), "train-00001-of-00002.parquet");
    }

    #[test]
    fn a_configuration_leads_out_of_no_folder() {
        for name in ["..", ".", "", "/", "a/..", "README.md"] {
            assert_eq!(folder_name(name), "data", "{name}");
        }
        for name in ["v1", "/v1", "../v1", "en/v1"] {
            assert_eq!(folder_name(name), "v1", "{name}");
        }
    }

    #[test]
    fn a_view_appears_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        fs::write(&file, "x").unwrap();
        let (views, view) = (folder.path().join("views"), folder.path().join("views/v"));
        for _ in 0..2 {
            appear(&views, &view, &[("c/train.csv".to_owned(), file.clone())]).unwrap();
            assert_eq!(fs::read(view.join("c/train.csv")).unwrap(), b"x");
            assert_eq!(fs::read_dir(&views).unwrap().count(), 1);
        }
    }
}
