//! Init schemes, and a task head, that go around the SDK and use the boundary itself, each in a way that it must withstand.

#![expect(unsafe_code, reason = "it goes around the SDK")]

use std::ffi::c_void;
use std::sync::OnceLock;

use lorahost_plugin_api::abi::abi_stable::library::RootModuleResult;
use lorahost_plugin_api::abi::abi_stable::prefix_type::PrefixTypeTrait;
use lorahost_plugin_api::abi::abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use lorahost_plugin_api::abi::{
    self, Argument, COMPONENT, ComponentTable, Failure, Header, HostTable, Named, Plugin,
    PluginRef, Reply, TENSOR, TensorTable, table, tag,
};
use lorahost_plugin_api::manifest::{Piece, bytes, length};

/// The components by name.
const SCHEMES: &[(&str, Scheme)] = &[
    ("stale-handle", stale_handle),
    ("invented-handle", invented_handle),
    ("one-handle-twice", one_handle_twice),
    ("one-tensor", one_tensor),
    ("no-json", no_json),
    ("unknown-tag", unknown_tag),
    ("unknown-operator-id", unknown_operator_id),
    ("unfilled-shape", unfilled_shape),
    ("other-thread", other_thread),
    ("unknown-code", unknown_code),
    ("bad-dtype", bad_dtype),
    ("calls-in-create", calls_in_create),
    ("leaks", leaks),
    ("lost-labels", lost_labels),
];

const MANIFEST_JSON: Piece = Piece::Many(&[
    Piece::Text(r#"{"package":"raw_calls","version":"0.1.0","abi":"#),
    Piece::Text(lorahost_plugin_api::protocol::ABI_TEXT),
    Piece::Text(r#","components":"#),
    Piece::List(&[
        Piece::Text(r#"{"kind":"init","name":"stale-handle"}"#),
        Piece::Text(r#"{"kind":"init","name":"invented-handle"}"#),
        Piece::Text(r#"{"kind":"init","name":"one-handle-twice"}"#),
        Piece::Text(r#"{"kind":"init","name":"one-tensor"}"#),
        Piece::Text(r#"{"kind":"init","name":"no-json"}"#),
        Piece::Text(r#"{"kind":"init","name":"unknown-tag"}"#),
        Piece::Text(r#"{"kind":"init","name":"unknown-operator-id"}"#),
        Piece::Text(r#"{"kind":"init","name":"unfilled-shape"}"#),
        Piece::Text(r#"{"kind":"init","name":"other-thread"}"#),
        Piece::Text(r#"{"kind":"init","name":"unknown-code"}"#),
        Piece::Text(r#"{"kind":"init","name":"bad-dtype"}"#),
        Piece::Text(r#"{"kind":"init","name":"calls-in-create"}"#),
        Piece::Text(r#"{"kind":"init","name":"leaks"}"#),
        Piece::Text(r#"{"kind":"head","name":"lost-labels"}"#),
    ]),
    Piece::Text("}"),
]);

#[used]
#[unsafe(link_section = ".lorahost.manifest")]
static MANIFEST: [u8; length(MANIFEST_JSON)] = bytes(MANIFEST_JSON);

static HOST: OnceLock<&'static TensorTable> = OnceLock::new();

type Scheme = fn(&'static TensorTable) -> Result<Reply, Failure>;

fn reply(message: &str, tensors: &[u64]) -> Reply {
    Reply {
        message: RString::from(message),
        tensors: RVec::from(tensors),
    }
}

fn failure(code: u32, message: &str) -> Failure {
    Failure {
        code,
        message: RString::from(message),
    }
}

/// One float on the CPU.
fn tensor(host: &TensorTable) -> Result<u64, Failure> {
    let bytes = 1.0_f32.to_ne_bytes();
    (host.from_bytes)(RSlice::from_slice(&bytes), RSlice::from_slice(&[1]), 6).into_result()
}

fn argument(tag: u32, word: u64) -> Argument {
    Argument {
        tag,
        word,
        data: std::ptr::null(),
        len: 0,
    }
}

/// Uses a handle that it gave back.
fn stale_handle(host: &'static TensorTable) -> Result<Reply, Failure> {
    let handle = tensor(host)?;
    (host.drop)(handle);
    (host.drop)(handle);
    let shape = (host.describe)(handle).into_result()?.shape;
    Err(failure(1, &format!("the stale handle has shape {shape:?}")))
}

/// Answers handles that it never got.
#[expect(clippy::unnecessary_wraps, reason = "a scheme like the others")]
fn invented_handle(_host: &'static TensorTable) -> Result<Reply, Failure> {
    Ok(reply("{}", &[u64::MAX, 0xdead_beef]))
}

/// Answers one tensor as A and as B.
fn one_handle_twice(host: &'static TensorTable) -> Result<Reply, Failure> {
    let handle = tensor(host)?;
    Ok(reply("{}", &[handle, handle]))
}

/// Answers A and no B.
fn one_tensor(host: &'static TensorTable) -> Result<Reply, Failure> {
    Ok(reply("{}", &[tensor(host)?]))
}

/// Answers a message that is no JSON.
fn no_json(host: &'static TensorTable) -> Result<Reply, Failure> {
    Ok(reply("Dear host,", &[tensor(host)?, tensor(host)?]))
}

/// Passes an argument of a kind that there is not.
fn unknown_tag(host: &'static TensorTable) -> Result<Reply, Failure> {
    let operator = (host.resolve)(RStr::from_str("aten::abs"), RStr::from_str("")).into_result()?;
    let arguments = [argument(99, 0)];
    (host.call)(
        operator,
        RSlice::from_slice(&arguments),
        RSlice::from_slice(&[]),
    )
    .into_result()?;
    Err(failure(1, "the host took an argument of tag 99"))
}

/// Calls an operator that it did not look up.
fn unknown_operator_id(host: &'static TensorTable) -> Result<Reply, Failure> {
    let arguments = [argument(tag::TENSOR, tensor(host)?)];
    (host.call)(
        u64::MAX,
        RSlice::from_slice(&arguments),
        RSlice::from_slice(&[]),
    )
    .into_result()?;
    Err(failure(1, "the host knows the operator u64::MAX"))
}

/// Wants a tensor larger than the bytes that it brings.
fn unfilled_shape(host: &'static TensorTable) -> Result<Reply, Failure> {
    let shape = [i64::MAX, i64::MAX];
    (host.from_bytes)(RSlice::from_slice(&[0; 4]), RSlice::from_slice(&shape), 6).into_result()?;
    Err(failure(
        1,
        "the host filled a tensor of 2^126 elements with 4 bytes",
    ))
}

/// Calls the host from a thread of its own.
fn other_thread(host: &'static TensorTable) -> Result<Reply, Failure> {
    let there = std::thread::spawn(|| tensor(host)).join();
    there.unwrap_or_else(|_| Err(failure(1, "the thread panicked")))?;
    Err(failure(1, "the host answered a foreign thread"))
}

/// Fails with a code that means nothing.
fn unknown_code(_host: &'static TensorTable) -> Result<Reply, Failure> {
    Err(failure(0xffff, "failed successfully"))
}

/// Makes a tensor of a type that there is not.
fn bad_dtype(host: &'static TensorTable) -> Result<Reply, Failure> {
    let zeros = (host.resolve)(RStr::from_str("aten::zeros"), RStr::from_str("")).into_result()?;
    let shape = [3_i64];
    let shape = [Argument {
        data: shape.as_ptr().cast(),
        len: shape.len(),
        ..argument(tag::INTS, 0)
    }];
    let dtype = |tag| Named {
        name: RStr::from_str("dtype"),
        value: argument(tag, 200),
    };
    let call = |tag| {
        (host.call)(
            zeros,
            RSlice::from_slice(&shape),
            RSlice::from_slice(&[dtype(tag)]),
        )
        .into_result()
    };
    if call(tag::INT).is_ok() {
        return Err(failure(1, "the host took the integer 200 as a dtype"));
    }
    call(tag::DTYPE)?;
    Err(failure(1, "the host took the dtype 200"))
}

/// Called in [`create`], where there are no tensors.
fn calls_in_create(host: &'static TensorTable) -> Result<Reply, Failure> {
    tensor(host)?;
    Ok(reply("{}", &[]))
}

/// Forgets a tensor.
fn leaks(host: &'static TensorTable) -> Result<Reply, Failure> {
    tensor(host)?;
    Err(failure(1, "there was a tensor"))
}

/// Tells of labels beside the tokens and answers one tensor.
fn lost_labels(host: &'static TensorTable) -> Result<Reply, Failure> {
    Ok(reply(r#"{"labels":true}"#, &[tensor(host)?]))
}

extern "C" fn manifest() -> RStr<'static> {
    abi::manifest_text(&MANIFEST)
}

/// A component is a pointer to its entry in [`SCHEMES`].
extern "C" fn create(
    component: RStr<'_>,
    _parameters: RStr<'_>,
    host: *const c_void,
) -> RResult<*mut c_void, Failure> {
    // SAFETY: by the contract of `Plugin::create`.
    let host = unsafe { table::<HostTable>(host) };
    let tensors = host.map(|host| (host.extension)(RStr::from_str(TENSOR)));
    // SAFETY: the id names the table's type.
    let tensors = tensors.and_then(|tensors| unsafe { table::<TensorTable>(tensors) });
    let (_, name) = component.as_str().split_once('/').unwrap_or_default();
    let scheme = SCHEMES.iter().find(|(known, _)| *known == name);
    let (Some(tensors), Some(scheme)) = (tensors, scheme) else {
        return RResult::RErr(failure(1, "no host, or no such component"));
    };
    if name == "calls-in-create"
        && let Err(failure) = calls_in_create(tensors)
    {
        return RResult::RErr(failure);
    }
    HOST.get_or_init(|| tensors);
    RResult::ROk(std::ptr::from_ref(scheme).cast_mut().cast())
}

extern "C" fn invoke(
    component: *mut c_void,
    method: RStr<'_>,
    _message: RStr<'_>,
    _tensors: RSlice<'_, u64>,
) -> RResult<Reply, Failure> {
    // SAFETY: the host passes what `create` gave.
    let (_, scheme) = unsafe { &*component.cast::<(&str, Scheme)>() };
    match (method.as_str(), HOST.get()) {
        // What a head is asked before its first batch.
        ("plan", _) => RResult::ROk(reply(r#"{"layout":"pooled","outputs":4}"#, &[])),
        ("layers", _) => RResult::ROk(reply("", &[])),
        (_, Some(host)) => scheme(host).into(),
        (_, None) => RResult::RErr(failure(1, "no host")),
    }
}

extern "C" fn drop_component(_component: *mut c_void) {}

extern "C" fn extension(id: RStr<'_>) -> *const c_void {
    static TABLE: ComponentTable = ComponentTable {
        size: size_of::<ComponentTable>(),
        invoke,
        drop: drop_component,
    };
    match id.as_str() {
        COMPONENT => std::ptr::from_ref(&TABLE).cast(),
        _ => std::ptr::null(),
    }
}

fn root() -> PluginRef {
    Plugin {
        manifest,
        create,
        extension,
    }
    .leak_into_prefix()
}

extern "C" fn module() -> RootModuleResult {
    abi::erased(root)
}

/// The name under which `abi_stable` looks for a root module.
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: Header = abi::constructor(module);
