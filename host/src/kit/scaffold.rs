//! A new crate of a plugin: it builds, passes its own tests and does something sensible from the start.

use std::fs;
use std::path::{Path, PathBuf};

use super::KitError;

/// The kinds of component that there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Init,
    Alpha,
    Optimizer,
    Head,
}

/// A crate to be made.
#[derive(Debug)]
pub struct Scaffold<'a> {
    pub kind: Kind,
    /// Of the crate, and with `-` for `_` of its component.
    pub name: &'a str,
    /// The folder in which the crate's folder is made.
    pub path: &'a Path,
    /// Folder of `lorahost-plugin-api`; none for the published one.
    pub api: Option<PathBuf>,
}

const MANIFEST: &str = include_str!("templates/Cargo.toml.in");
const README: &str = include_str!("templates/README.md.in");

impl Kind {
    /// `lib.rs` and `tests.rs`.
    fn sources(self) -> [&'static str; 2] {
        match self {
            Self::Init => [
                include_str!("templates/init/lib.rs.in"),
                include_str!("templates/init/tests.rs.in"),
            ],
            Self::Alpha => [
                include_str!("templates/alpha/lib.rs.in"),
                include_str!("templates/alpha/tests.rs.in"),
            ],
            Self::Optimizer => [
                include_str!("templates/optimizer/lib.rs.in"),
                include_str!("templates/optimizer/tests.rs.in"),
            ],
            Self::Head => [
                include_str!("templates/head/lib.rs.in"),
                include_str!("templates/head/tests.rs.in"),
            ],
        }
    }

    /// The flag of `lorahost` that selects a component of this kind.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Init => "--init",
            Self::Alpha => "--alpha-policy",
            Self::Optimizer => "--optimizer",
            Self::Head => "--head",
        }
    }
}

impl Scaffold<'_> {
    /// Makes the crate; its folder.
    ///
    /// # Errors
    /// A name that is none for a crate, a folder that is there already, an `api` that is not the plugin API, a disk that
    /// refuses.
    pub fn write(&self) -> Result<PathBuf, KitError> {
        check_name(self.name)?;
        let dependency = self.dependency()?;
        // `./NAME` is NAME.
        let folder = self.path.strip_prefix(".").unwrap_or(self.path);
        let folder = folder.join(self.name);
        if folder.exists() {
            return Err(KitError::Exists { path: folder });
        }
        let [library, tests] = self.kind.sources();
        let component = self.name.replace('_', "-");
        let fill = |template: &str| {
            template
                .replace("{{name}}", self.name)
                .replace("{{component}}", &component)
                .replace("{{type}}", &type_name(self.name))
                .replace("{{flag}}", self.kind.flag())
                .replace("{{api}}", &dependency)
        };
        let sources = folder.join("src");
        fs::create_dir_all(&sources).map_err(KitError::io("make the folder", &sources))?;
        for (file, text) in [
            (folder.join("Cargo.toml"), fill(MANIFEST)),
            (folder.join("README.md"), fill(README)),
            (folder.join(".gitignore"), "/target\n".to_owned()),
            (sources.join("lib.rs"), fill(library)),
            (sources.join("tests.rs"), fill(tests)),
        ] {
            fs::write(&file, text).map_err(KitError::io("write", &file))?;
        }
        Ok(folder)
    }

    /// Where the crate finds the plugin API, as it stands in its `Cargo.toml`.
    fn dependency(&self) -> Result<String, KitError> {
        let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        let Some(api) = &self.api else {
            return Ok(version);
        };
        if !is_api(api) {
            return Err(KitError::NoApi { path: api.clone() });
        }
        let path = api.canonicalize().map_err(KitError::io("find", api))?;
        Ok(format!(
            "path = {:?}, {version}",
            path.display().to_string()
        ))
    }
}

/// The folder `plugin-api` of the checkout that `start` lies in, where it lies in one.
#[must_use]
pub fn api_of_checkout(start: &Path) -> Option<PathBuf> {
    let folders = start.ancestors().map(|folder| folder.join("plugin-api"));
    folders.into_iter().find(|folder| is_api(folder))
}

fn is_api(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| {
        text.lines()
            .any(|line| line.trim() == "name = \"lorahost-plugin-api\"")
    })
}

fn check_name(name: &str) -> Result<(), KitError> {
    let letter = |letter: char| letter.is_ascii_lowercase();
    let plain = name.starts_with(letter)
        && name
            .chars()
            .all(|each| letter(each) || each.is_ascii_digit() || each == '_');
    // `test` and names of Rust's own are no crates; the list is cargo's affair, these are the likely ones.
    let taken = [
        "test", "core", "std", "alloc", "init", "head", "self", "crate", "type", "impl", "mod",
        "use",
    ];
    if plain && !taken.contains(&name) {
        return Ok(());
    }
    Err(KitError::Name {
        name: name.to_owned(),
    })
}

/// `my_init` as `MyInit`.
fn type_name(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words
        .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crates() {
        for good in ["my_init", "a", "x2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "2x", "My", "a-b", "a b", "../a", "test", "_a"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(type_name("my_init"), "MyInit");
        assert_eq!(type_name("x2__y"), "X2Y");
    }

    #[test]
    fn every_placeholder_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, name) in [
            (Kind::Init, "an_init"),
            (Kind::Alpha, "an_alpha"),
            (Kind::Optimizer, "an_optimizer"),
            (Kind::Head, "a_head"),
        ] {
            let scaffold = Scaffold {
                kind,
                name,
                path: folder.path(),
                api: None,
            };
            let made = scaffold.write().unwrap();
            for file in ["Cargo.toml", "README.md", "src/lib.rs", "src/tests.rs"] {
                let text = fs::read_to_string(made.join(file)).unwrap();
                assert!(!text.contains("{{"), "{name}/{file}");
            }
            assert!(matches!(scaffold.write(), Err(KitError::Exists { .. })));
        }
    }

    #[test]
    fn an_api_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let scaffold = Scaffold {
            kind: Kind::Init,
            name: "mine",
            path: folder.path(),
            api: Some(folder.path().to_owned()),
        };
        assert!(matches!(scaffold.write(), Err(KitError::NoApi { .. })));
        assert!(!folder.path().join("mine").exists());
    }
}
