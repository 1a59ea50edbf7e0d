//! One living component: calls go through here, and come back as values or as one error that says where.

use std::cell::Cell;
use std::ffi::c_void;
use std::path::Path;

use abi_stable::std_types::{RSlice, RStr};
use lorahost_plugin_api::abi::FailureCode;
use lorahost_plugin_api::protocol::ComponentManifest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tch::Tensor;

use super::bridge::{has_extension, host_table};
use super::error::one_line;
use super::handles::{self, Lending};
use super::scope::{Scope, within};
use super::{Library, PluginError};
use crate::native::dispatch::check_plain;

/// A component of an opened plugin. Belongs to one thread.
pub struct Component {
    library: Library,
    manifest: &'static ComponentManifest,
    pointer: *mut c_void,
    poisoned: Cell<bool>,
}

/// A call in the making.
pub(super) struct Invocation<'a> {
    pub method: &'static str,
    /// Layer, step or batch, for errors.
    pub place: &'a str,
    pub tensors: &'a [Option<&'a Tensor>],
    pub scope: Scope,
    /// Whether autograd sees what the plugin does, where the caller lets it.
    pub records: bool,
}

/// What came back: the message and the tensors.
pub(super) struct Reply<T> {
    pub message: T,
    pub tensors: Vec<Tensor>,
}

impl Component {
    /// Creates `kind/name` with all of its parameters.
    ///
    /// # Errors
    /// When the plugin has no such component, it needs what this host lacks, or refuses the parameters.
    pub fn create(
        library: Library,
        kind: &str,
        name: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Self, PluginError> {
        let path = library.path().to_owned();
        let manifest = library
            .manifest()
            .components
            .iter()
            .find(|component| component.kind == kind && component.name == name)
            .ok_or_else(|| PluginError::NoComponent {
                path: path.clone(),
                kind: kind.to_owned(),
                name: name.to_owned(),
            })?;
        check_requires(manifest, &path)?;
        let component = format!("{kind}/{name}");
        let json = Value::Object(parameters.clone()).to_string();
        let created = within(Scope::closed(), || {
            (library.root.create())(
                RStr::from_str(&component),
                RStr::from_str(&json),
                host_table(),
            )
            .into_result()
        });
        let pointer = created.map_err(|failure| PluginError::Call {
            path,
            component,
            phase: "create".to_owned(),
            place: String::new(),
            message: one_line(&failure.message),
        })?;
        Ok(Self {
            library,
            manifest,
            pointer,
            poisoned: Cell::new(false),
        })
    }

    /// `kind/name`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.manifest.kind, self.manifest.name)
    }

    /// Whether its manifest names this host extension.
    pub(super) fn requires(&self, id: &str) -> bool {
        self.manifest.requires.iter().any(|other| other == id)
    }

    /// An error of this component.
    pub(super) fn error(
        &self,
        phase: &str,
        place: &str,
        message: impl Into<String>,
    ) -> PluginError {
        PluginError::Call {
            path: self.library.path().to_owned(),
            component: self.name(),
            phase: phase.to_owned(),
            place: place.to_owned(),
            message: message.into(),
        }
    }

    /// Calls a method that answers with a message of type `R`.
    pub(super) fn invoke<M: Serialize, R: DeserializeOwned>(
        &self,
        message: &M,
        invocation: Invocation<'_>,
    ) -> Result<Reply<R>, PluginError> {
        let (method, place) = (invocation.method, invocation.place);
        let (message, tensors) = self.raw(message, invocation)?;
        let message = serde_json::from_str(&message).map_err(|error| {
            self.error(method, place, format!("its answer does not fit: {error}"))
        })?;
        Ok(Reply { message, tensors })
    }

    /// Calls a method that answers with nothing.
    pub(super) fn run<M: Serialize>(
        &self,
        message: &M,
        invocation: Invocation<'_>,
    ) -> Result<(), PluginError> {
        self.raw(message, invocation).map(drop)
    }

    /// Calls a method outside of any kind's protocol; what it answers is dropped.
    ///
    /// # Errors
    /// When the component fails, as it should where it does not know the method.
    pub(crate) fn call<M: Serialize>(
        &self,
        method: &'static str,
        message: &M,
    ) -> Result<(), PluginError> {
        let invocation = Invocation {
            method,
            place: "",
            tensors: &[],
            scope: Scope::default(),
            records: false,
        };
        self.run(message, invocation)
    }

    fn raw<M: Serialize>(
        &self,
        message: &M,
        invocation: Invocation<'_>,
    ) -> Result<(String, Vec<Tensor>), PluginError> {
        let Invocation {
            method,
            place,
            tensors,
            scope,
            records,
        } = invocation;
        if self.poisoned.get() {
            return Err(self.error(method, place, "it panicked before and may only be dropped"));
        }
        let message = serde_json::to_string(message).map_err(|error| {
            self.error(
                method,
                place,
                format!("its message cannot be written: {error}"),
            )
        })?;
        let lent = Lending::new(tensors);
        let outcome = within(scope, || {
            let _unrecorded = (!records).then(tch::no_grad_guard);
            (self.library.components.invoke)(
                self.pointer,
                RStr::from_str(method),
                RStr::from_str(&message),
                RSlice::from_slice(lent.handles()),
            )
            .into_result()
        });
        drop(lent);
        match outcome {
            Ok(reply) => {
                let given: Vec<Option<Tensor>> =
                    reply.tensors.into_iter().map(handles::remove).collect();
                let tensors = given.into_iter().collect::<Option<Vec<_>>>();
                let tensors = tensors.ok_or_else(|| {
                    self.error(method, place, "it answered an unknown tensor handle")
                })?;
                for tensor in &tensors {
                    check_plain(tensor)
                        .map_err(|what| self.error(method, place, format!("it answered {what}")))?;
                }
                Ok((reply.message.into(), tensors))
            }
            Err(failure) => {
                self.poisoned.set(failure.code == FailureCode::Panic as u32);
                Err(self.error(method, place, one_line(&failure.message)))
            }
        }
    }
}

/// Whether this host has every extension that a component of the file at `path` cannot do without.
///
/// # Errors
/// [`PluginError::Requires`] with all that are missing.
pub(super) fn check_requires(manifest: &ComponentManifest, path: &Path) -> Result<(), PluginError> {
    let required = manifest.requires.iter().map(String::as_str);
    let missing: Vec<_> = required.filter(|id| !has_extension(id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(PluginError::Requires {
        path: path.to_owned(),
        component: format!("{}/{}", manifest.kind, manifest.name),
        missing: missing.join(", "),
    })
}

impl Drop for Component {
    fn drop(&mut self) {
        within(Scope::closed(), || {
            (self.library.components.drop)(self.pointer);
        });
    }
}
