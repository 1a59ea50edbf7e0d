use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RSlice, RStr, RString};

use super::host;
use super::tables::{COMPONENT, ComponentTable, Failure, FailureCode, Plugin, PluginRef, Reply};
use crate::sdk::{Answer, Call, Error, Result, Tensor};

pub type Header = LibHeader;

pub trait Component {
    fn invoke(&mut self, call: &Call<'_>) -> Result<Answer>;
}

struct Living {
    component: Box<dyn Component>,
    poisoned: bool,
}

#[must_use]
pub const fn constructor(module: extern "C" fn() -> RootModuleResult) -> Header {
    // SAFETY: `export_plugin!` passes a constructor that erases a `PluginRef`, made by `root_module`.
    unsafe { LibHeader::from_constructor::<PluginRef>(module, CheckTypeLayout::Yes) }
}

#[must_use]
pub fn erased(module: fn() -> PluginRef) -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(module)
}

#[must_use]
pub fn root_module(
    manifest: extern "C" fn() -> RStr<'static>,
    create: extern "C" fn(RStr<'_>, RStr<'_>, *const c_void) -> RResult<*mut c_void, Failure>,
) -> PluginRef {
    Plugin {
        manifest,
        create,
        extension,
    }
    .leak_into_prefix()
}

#[must_use]
pub fn manifest_text(bytes: &'static [u8]) -> RStr<'static> {
    std::str::from_utf8(bytes).map_or(RStr::from_str(""), RStr::from_str)
}

pub unsafe fn create(
    component: RStr<'_>,
    parameters: RStr<'_>,
    host: *const c_void,
    make: fn(&str, &str) -> Result<Box<dyn Component>>,
) -> RResult<*mut c_void, Failure> {
    silence_panics();
    guarded(|| {
        // SAFETY: by this function's own contract.
        unsafe { host::connect(host)? };
        let component = make(component.as_str(), parameters.as_str())?;
        Ok(Box::into_raw(Box::new(Living {
            component,
            poisoned: false,
        }))
        .cast::<c_void>())
    })
    .into()
}

#[must_use]
pub fn invoke_table() -> &'static ComponentTable {
    static TABLE: ComponentTable = ComponentTable {
        size: size_of::<ComponentTable>(),
        invoke,
        drop: drop_component,
    };
    &TABLE
}

extern "C" fn extension(id: RStr<'_>) -> *const c_void {
    match id.as_str() {
        COMPONENT => std::ptr::from_ref(invoke_table()).cast(),
        _ => std::ptr::null(),
    }
}

extern "C" fn invoke(
    component: *mut c_void,
    method: RStr<'_>,
    message: RStr<'_>,
    tensors: RSlice<'_, u64>,
) -> RResult<Reply, Failure> {
    // SAFETY: the host passes what `create` returned, not yet dropped, from one thread at a time.
    let Some(living) = (unsafe { component.cast::<Living>().as_mut() }) else {
        return RResult::RErr(failure(FailureCode::Error, "the component is null"));
    };
    if living.poisoned {
        return RResult::RErr(failure(FailureCode::Panic, "the component panicked before"));
    }
    let outcome = guarded(|| {
        let tensors: Vec<Tensor> = tensors.iter().map(|&handle| Tensor::lent(handle)).collect();
        let call = Call {
            method: method.as_str(),
            message: message.as_str(),
            tensors: &tensors,
        };
        let Answer { message, tensors } = living.component.invoke(&call)?;
        // Nothing may fail once the first handle is given away: nobody would drop it.
        let owned = tensors.into_iter().map(Tensor::into_owned);
        let owned = owned.collect::<Result<Vec<_>>>()?;
        Ok(Reply {
            message: message.into(),
            tensors: owned.into_iter().map(Tensor::into_handle).collect(),
        })
    });
    living.poisoned = matches!(&outcome, Err(failure) if failure.code == FailureCode::Panic as u32);
    outcome.into()
}

extern "C" fn drop_component(component: *mut c_void) {
    if component.is_null() {
        return;
    }
    let dropped = guarded(|| {
        // SAFETY: as in `invoke`, and the host drops a component once.
        drop(unsafe { Box::from_raw(component.cast::<Living>()) });
        Ok(())
    });
    if let Err(failure) = dropped
        && let Some(log) = host::connected().ok().and_then(host::Host::log)
    {
        log.warn(&format!("a destructor {}", failure.message));
    }
}

pub fn answered<T>(body: impl FnOnce() -> Result<T>) -> RResult<T, Failure> {
    guarded(body).into()
}

pub(super) fn guarded<T>(body: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failure> {
    let outside = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    GUARDED.set(outside);
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure(error.code(), &error.to_string())),
        Err(payload) => Err(match payload.downcast::<Error>() {
            // An operator such as `a + b` has no other way to return its error. What it unwound through may be left
            // half done, as by a panic.
            Ok(error) => failure(FailureCode::Panic, &error.to_string()),
            Err(payload) => {
                let message = panic_message(payload.as_ref());
                // Its destructor is the author's, and might panic in turn.
                std::mem::forget(payload);
                failure(FailureCode::Panic, &message)
            }
        }),
    }
}

fn failure(code: FailureCode, message: &str) -> Failure {
    Failure {
        code: code as u32,
        message: RString::from(message),
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                return others(info);
            }
            let place = info.location();
            PLACE.set(place.map(|place| format!("{}:{}", place.file(), place.line())));
        }));
    });
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    match PLACE.take() {
        Some(place) => format!("panicked at {place}: {text}"),
        None => format!("panicked: {text}"),
    }
}
