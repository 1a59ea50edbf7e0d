//! The manifest in the file names a harmless component; the one that the code gives names another.

#![expect(unsafe_code, reason = "it goes around the SDK")]

use std::ffi::c_void;

use lorahost_plugin_api::abi::abi_stable::library::RootModuleResult;
use lorahost_plugin_api::abi::abi_stable::std_types::{RResult, RStr};
use lorahost_plugin_api::abi::{self, Failure, Header};
use lorahost_plugin_api::manifest::{Piece, bytes, length};

const SHOWN: Piece = Piece::Text(
    r#"{"package":"lying_manifest","version":"0.1.0","abi":1,"components":[{"kind":"init","name":"lamb"}]}"#,
);
const TOLD: &str = r#"{"package":"lying_manifest","version":"0.1.0","abi":1,"components":[{"kind":"init","name":"wolf"}]}"#;

#[used]
#[unsafe(link_section = ".lorahost.manifest")]
static MANIFEST: [u8; length(SHOWN)] = bytes(SHOWN);

extern "C" fn manifest() -> RStr<'static> {
    RStr::from_str(TOLD)
}

extern "C" fn create(
    component: RStr<'_>,
    parameters: RStr<'_>,
    host: *const c_void,
) -> RResult<*mut c_void, Failure> {
    // SAFETY: the host calls this by the contract of `Plugin::create`.
    unsafe { abi::create(component, parameters, host, |_, _| unreachable!()) }
}

extern "C" fn module() -> RootModuleResult {
    abi::erased(|| abi::root_module(manifest, create))
}

/// The name under which `abi_stable` looks for a root module.
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: Header = abi::constructor(module);
