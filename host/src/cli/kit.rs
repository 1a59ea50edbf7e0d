//! `lorahost plugin new`, `install` and `lock`.

use std::env;
use std::path::{Path, PathBuf};

use super::args::{CHECK_TIMEOUT, NewKind};
use super::check::checker;
use super::exit::Exit;
use super::failure::Failure;
use super::output::print;
use crate::kit::{self, Kind, KitError, Lock, Scaffold, Source, api_of_checkout};
use crate::plugins::{PluginFile, search_folders, survey};

/// Makes a crate, and says what comes next.
pub fn new(kind: NewKind, name: &str, path: &Path, api: Option<&Path>) -> Result<Exit, Failure> {
    let kind = match kind {
        NewKind::Init => Kind::Init,
        NewKind::Alpha => Kind::Alpha,
        NewKind::Optimizer => Kind::Optimizer,
        NewKind::Head => Kind::Head,
    };
    let api = api.map(Path::to_owned).or_else(own_api);
    let folder = Scaffold {
        kind,
        name,
        path,
        api,
    }
    .write()?;
    let shown = folder.display();
    print(&format!(
        "{shown}: src/lib.rs has a working example. Next:\n\n    \
         cargo test --manifest-path {shown}/Cargo.toml\n    \
         lorahost plugin install {shown}\n    \
         lorahost {} {}\n",
        kind.flag(),
        name.replace('_', "-"),
    ))?;
    Ok(Exit::Ok)
}

/// The plugin API of the checkout that this program was built in, or that the working folder lies in.
fn own_api() -> Option<PathBuf> {
    let starts = [env::current_dir(), env::current_exe()];
    starts
        .into_iter()
        .flatten()
        .find_map(|start| api_of_checkout(&start))
}

/// Builds, tests where that is wanted, and installs.
pub fn install(source: &str, checked: bool) -> Result<Exit, Failure> {
    let source = Source::parse(source);
    if let Source::Folder(folder) = &source
        && !folder.is_dir()
    {
        let error = KitError::NotAPlugin {
            manifest: folder.join("Cargo.toml"),
            reason: "there is no such folder".to_owned(),
        };
        return Err(error.into());
    }
    let checker = checker(CHECK_TIMEOUT, None)?;
    let installed = kit::install(&source, |file| {
        if checked {
            kit::sound(&checker, file)?;
        }
        Ok(())
    })?;
    let file = &installed.file;
    let verb = if installed.replaced {
        "replaced"
    } else {
        "installed"
    };
    let mut text = format!(
        "{verb} {} {}: {}\n",
        file.manifest.package,
        file.manifest.version,
        file.path.display()
    );
    text.extend(
        (file.manifest.components.iter())
            .map(|component| format!("  {} {}\n", component.kind, component.name)),
    );
    print(&text)?;
    Ok(Exit::Ok)
}

/// Locks the files that are found and those that are named.
pub fn lock(named: &[PathBuf]) -> Result<Exit, Failure> {
    let named = named.iter().map(|path| PluginFile::read(path));
    let mut files = named.collect::<Result<Vec<_>, _>>()?;
    files.extend(survey(&search_folders()).filter_map(|(_, read)| read.ok()));
    let lock = Lock::of(files.iter());
    lock.write(Path::new(Lock::FILE))?;
    print(&format!(
        "{} plugin files in {}\n",
        lock.files().len(),
        Lock::FILE
    ))?;
    Ok(Exit::Ok)
}
