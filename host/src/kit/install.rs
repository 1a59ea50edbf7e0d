//! Building a plugin's crate and putting its file among the installed ones.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::KitError;
use crate::atomic;
use crate::check::Checker;
use crate::plugins::{PluginFile, installed_folder};

/// Where a crate's source comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder with `Cargo.toml`.
    Folder(PathBuf),
    /// A crate of the registry that cargo is set up for, and a version requirement: `*` where none was given.
    Registry { name: String, version: String },
}

/// What was put where.
#[derive(Debug)]
pub struct Installed {
    pub file: PluginFile,
    /// Whether another version of the same package lay there before.
    pub replaced: bool,
}

impl Source {
    /// `PATH` or `CRATE[@VERSION]`: what is there as a folder is a folder.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let path = Path::new(text);
        if path.exists() || text.contains(['/', '\\']) || text.starts_with('.') {
            return Self::Folder(path.to_owned());
        }
        let (name, version) = text.split_once('@').unwrap_or((text, "*"));
        Self::Registry {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }
}

/// Builds the crate, lets `check` look at the file, and puts it into the user's folder as `NAME.so`.
///
/// # Errors
/// When cargo fails, the crate is no plugin, `check` refuses it, or a file of another package has its name.
pub fn install(
    source: &Source,
    check: impl FnOnce(&PluginFile) -> Result<(), KitError>,
) -> Result<Installed, KitError> {
    let folder = installed_folder().ok_or(KitError::NoDataFolder)?;
    let work = tempfile::tempdir().map_err(KitError::io("make a folder in", &env::temp_dir()))?;
    let manifest = match source {
        Source::Folder(path) => path.join("Cargo.toml"),
        Source::Registry { name, version } => fetch(name, version, work.path())?,
    };
    let library = build(&manifest)?;
    let built = PluginFile::read(&library.file)?;
    check(&built)?;

    let target = folder
        .join(&library.name)
        .with_extension(env::consts::DLL_EXTENSION);
    let replaced = target.exists();
    if replaced {
        let there = PluginFile::read(&target)?.manifest.package;
        if there != built.manifest.package {
            return Err(KitError::Occupied {
                path: target,
                installed: there,
                package: built.manifest.package,
            });
        }
    }
    fs::create_dir_all(&folder).map_err(KitError::io("make the folder", &folder))?;
    let bytes = fs::read(&library.file).map_err(KitError::io("read", &library.file))?;
    atomic::write(&target, |file| file.write_all(&bytes))
        .map_err(KitError::io("write", &target))?;
    Ok(Installed {
        file: PluginFile::read(&target)?,
        replaced,
    })
}

/// Whether a file passes its tests.
///
/// # Errors
/// [`KitError::Unsound`] with those that it does not, and what keeps them from being run.
pub fn sound(checker: &Checker, file: &PluginFile) -> Result<(), KitError> {
    let report = checker.check(file)?;
    let broken = report.broken().map(|finding| {
        let message = finding.message.as_deref().unwrap_or_default();
        let first = message.lines().next().unwrap_or_default();
        format!("{} {} ({first})", finding.component, finding.test)
    });
    let findings: Vec<String> = broken.collect();
    if findings.is_empty() {
        return Ok(());
    }
    Err(KitError::Unsound {
        package: file.manifest.package.clone(),
        findings: findings.join("; "),
    })
}

/// A library that cargo built.
struct Library {
    /// Of the crate, with `_` for `-`.
    name: String,
    file: PathBuf,
}

/// Builds the crate of `manifest` for release. Names of this machine's folders are mapped to fixed ones, so that the file
/// is the same wherever it is built; the crate's own folder is mapped in the crate alone, so that its dependencies are
/// built once for many crates.
fn build(manifest: &Path) -> Result<Library, KitError> {
    let not_a_plugin = |reason: &str| KitError::NotAPlugin {
        manifest: manifest.to_owned(),
        reason: reason.to_owned(),
    };
    if !manifest.is_file() {
        return Err(not_a_plugin("there is no such file"));
    }
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let root = folder
        .canonicalize()
        .map_err(KitError::io("find", folder))?;
    let mut command = cargo();
    command
        .args(["rustc", "--release", "--lib"])
        .arg("--message-format=json-render-diagnostics")
        .arg("--manifest-path")
        .arg(manifest)
        .args(["--", &remap(&root.display().to_string(), "/plugin")])
        .env("CARGO_ENCODED_RUSTFLAGS", shared_remaps()?)
        .env_remove("RUSTFLAGS");
    let messages = output(command)?;
    let mut artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact");
    // The last artifact is the crate's own; those of its dependencies come before.
    let library = artifacts.next_back().and_then(|artifact| {
        let files = artifact["filenames"].as_array()?.iter();
        let mut files = files.filter_map(|file| file.as_str().map(PathBuf::from));
        Some(Library {
            name: artifact["target"]["name"].as_str()?.replace('-', "_"),
            file: files.find(|file| {
                file.extension()
                    .is_some_and(|extension| extension == env::consts::DLL_EXTENSION)
            })?,
        })
    });
    library.ok_or_else(|| {
        not_a_plugin("it builds no shared library: its [lib] needs crate-type = [\"cdylib\"]")
    })
}

/// The source of a registry's crate, copied into `work`; its `Cargo.toml`.
fn fetch(name: &str, version: &str, work: &Path) -> Result<PathBuf, KitError> {
    let probe = work.join("fetch");
    let write =
        |file: &Path, text: &str| fs::write(file, text).map_err(KitError::io("write", file));
    fs::create_dir_all(&probe).map_err(KitError::io("make the folder", &probe))?;
    write(&probe.join("lib.rs"), "")?;
    let manifest = probe.join("Cargo.toml");
    write(
        &manifest,
        &format!(
            "[package]\nname = \"fetch\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
             [dependencies]\nwanted = {{ package = {name:?}, version = {version:?} }}\n[workspace]\n"
        ),
    )?;
    let mut command = cargo();
    command
        .args(["metadata", "--format-version=1"])
        .arg("--manifest-path")
        .arg(&manifest);
    let metadata: Value = serde_json::from_str(&output(command)?).unwrap_or_default();
    let packages = metadata["packages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let found = packages.iter().find(|package| package["name"] == name);
    let source = found.and_then(|package| Path::new(package["manifest_path"].as_str()?).parent());
    let source = source.ok_or_else(|| KitError::NotAPlugin {
        manifest,
        reason: format!("cargo does not say where {name} lies"),
    })?;
    let copy = work.join(name);
    copy_folder(source, &copy)?;
    Ok(copy.join("Cargo.toml"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), KitError> {
    fs::create_dir_all(to).map_err(KitError::io("make the folder", to))?;
    for entry in fs::read_dir(from).map_err(KitError::io("read", from))? {
        let path = entry.map_err(KitError::io("read", from))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).map_err(KitError::io("copy", &path))?;
        }
    }
    Ok(())
}

fn remap(from: &str, to: &str) -> String {
    format!("--remap-path-prefix={from}={to}")
}

/// Flags of rustc for every crate, joined as cargo wants them. Rustc takes the last that fits: longer paths come later.
fn shared_remaps() -> Result<String, KitError> {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--print", "sysroot"]);
    let mut flags = vec![remap(output(command)?.trim(), "/rust")];
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(env::home_dir()?.join(".cargo"))) {
        flags.push(remap(&home.display().to_string(), "/cargo"));
        let registries = fs::read_dir(home.join("registry/src"))
            .into_iter()
            .flatten();
        let folders = registries.flatten().map(|entry| entry.path());
        flags.extend(folders.map(|folder| remap(&folder.display().to_string(), "/cargo/registry")));
    }
    Ok(flags.join("\u{1f}"))
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What the command prints; its complaints go to the terminal as they come.
fn output(mut command: Command) -> Result<String, KitError> {
    let shown = format!("{command:?}").replace('"', "");
    command.stderr(std::process::Stdio::inherit());
    let output = command
        .output()
        .map_err(|source| KitError::NoCargo { source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(KitError::Cargo {
            command: shown,
            reason: format!("{}; see above", output.status),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_folder_or_a_crate() {
        let registry = |name: &str, version: &str| Source::Registry {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(Source::parse("./mine"), Source::Folder("./mine".into()));
        assert_eq!(Source::parse("a/b"), Source::Folder("a/b".into()));
        assert_eq!(Source::parse("src"), Source::Folder("src".into()));
        assert_eq!(Source::parse("some_init"), registry("some_init", "*"));
        assert_eq!(Source::parse("some_init@0.2"), registry("some_init", "0.2"));
    }
}
