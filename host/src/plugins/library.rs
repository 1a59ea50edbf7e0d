//! An opened plugin file: code of the plugin runs from here on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use abi_stable::std_types::RStr;
use libloading::os::unix::{self, RTLD_LOCAL, RTLD_NOW};
use lorahost_plugin_api::abi::{COMPONENT, ComponentTable, PluginRef, table};
use lorahost_plugin_api::protocol::Manifest;

use super::error::{one_line, with_causes};
use super::{PluginError, PluginFile};
use crate::spec::Selection;

/// The root module of an opened plugin; it stays open for the life of the process.
#[derive(Clone, Copy)]
pub struct Library {
    pub(super) root: PluginRef,
    pub(super) components: &'static ComponentTable,
    pub(super) file: &'static PluginFile,
}

impl Library {
    /// Opens a file, or gives the one that was opened with the same content.
    ///
    /// # Errors
    /// When the loader refuses it, or it is not what its manifest says.
    pub fn open(file: PluginFile) -> Result<Self, PluginError> {
        static OPENED: LazyLock<Mutex<HashMap<String, Library>>> = LazyLock::new(Mutex::default);
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = opened.get(&file.sha256) {
            return Ok(*library);
        }
        // The descriptor stays open: the loader knows a library by its path, which names the descriptor's number.
        let file: &'static PluginFile = Box::leak(Box::new(file));
        let library = load(file)?;
        opened.insert(file.sha256.clone(), library);
        Ok(library)
    }

    /// Opens the file of a selection, which must still be the one that was planned with.
    ///
    /// # Errors
    /// When the file is gone, changed, or refused.
    pub fn of(selection: &Selection) -> Result<Self, PluginError> {
        let file = PluginFile::read(&selection.file)?;
        if file.sha256 != selection.sha256 {
            return Err(PluginError::Changed {
                path: file.path,
                found: file.sha256,
                expected: selection.sha256.clone(),
            });
        }
        Self::open(file)
    }

    #[must_use]
    pub fn manifest(&self) -> &'static Manifest {
        &self.file.manifest
    }

    #[must_use]
    pub fn path(&self) -> &'static Path {
        &self.file.path
    }
}

#[expect(unsafe_code, reason = "a plugin is opened")]
fn load(file: &'static PluginFile) -> Result<Library, PluginError> {
    let refused = |reason: String| PluginError::Open {
        path: file.path.clone(),
        reason,
    };
    // SAFETY: a plugin is native code with the user's rights; opening one runs its initialisers, which is what the
    // user asked for. It is never unloaded.
    let opened = unsafe { unix::Library::open(Some(path_of(file)), RTLD_NOW | RTLD_LOCAL) };
    let opened = opened.map_err(|error| refused(with_causes(&error)))?;
    let raw = Box::leak(Box::new(opened));
    // SAFETY: the symbol of this name is a static `AbiHeader` by abi_stable's convention; its magic is checked by
    // `upgrade` before anything else is read.
    let header = unsafe {
        *raw.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes())
            .map_err(|_| refused("it exports no root module".to_owned()))?
    };
    let root: PluginRef = header
        .upgrade()
        .and_then(abi_stable::library::LibHeader::init_root_module::<PluginRef>)
        .map_err(|error| refused(sorted(&error)))?;
    let components = (root.extension())(RStr::from_str(COMPONENT));
    // SAFETY: the id names the table's type; a plugin's tables live as long as the file is open, which is for ever.
    let components = unsafe { table::<ComponentTable>(components) };
    let components = components.ok_or_else(|| {
        refused(format!(
            "it has no {COMPONENT}, or a shorter one than this host's"
        ))
    })?;
    let told = (root.manifest())();
    match serde_json::from_str::<Manifest>(told.as_str()) {
        Ok(told) if told == file.manifest => Ok(Library {
            root,
            components,
            file,
        }),
        _ => Err(PluginError::Manifests {
            path: file.path.clone(),
        }),
    }
}

/// The descriptor that was hashed, where the system can open one by path.
fn path_of(file: &PluginFile) -> PathBuf {
    if cfg!(target_os = "linux") {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/self/fd/{}", file.file.as_raw_fd()))
    } else {
        file.path.clone()
    }
}

/// `abi_stable`'s errors are pages long: one paragraph for the user, the page for `-v`.
fn sorted(error: &LibraryError) -> String {
    tracing::debug!("{error}");
    match error {
        LibraryError::AbiInstability(_) => {
            "its root module has another layout (-v shows where)".to_owned()
        }
        LibraryError::InvalidAbiHeader(_) => {
            "it was built with another version of abi_stable".to_owned()
        }
        LibraryError::IncompatibleVersionNumber {
            expected_version,
            actual_version,
            ..
        } => {
            format!(
                "its root module has version {actual_version}, this host takes {expected_version}"
            )
        }
        other => one_line(&other.to_string()),
    }
}
