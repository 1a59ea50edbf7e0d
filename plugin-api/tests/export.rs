//! What `export_plugin!` makes, seen as the host sees it: through the root module and its tables.

#![expect(unsafe_code, reason = "it looks at the exports as a host does")]

use std::ffi::c_void;
use std::ptr::null_mut;

use lorahost_plugin_api::abi::abi_stable::std_types::{RResult, RSlice, RStr};
use lorahost_plugin_api::abi::{
    COMPONENT, ComponentTable, Failure, FailureCode, Header, PluginRef, Reply, WEIGHT,
};
use lorahost_plugin_api::prelude::*;
use lorahost_plugin_api::protocol::{ABI, Manifest, ParameterKind};
use lorahost_plugin_api::testing::{self, json};
use serde_json::Value;

/// All kinds of "parameters"; a back\slash too.
///
/// Only the first line is the summary.
#[derive(Params)]
#[expect(dead_code, reason = "read by nobody but the manifest")]
struct Everything {
    /// A "float" in C:\dir,
    /// over two lines.
    #[param(default = 1e-8, min = -2.5, max = 1e3)]
    float: f64,
    /// Signed.
    #[param(default = -3, min = -10)]
    signed: i64,
    /// Unsigned.
    #[param(default = 7)]
    unsigned: u64,
    /// Size.
    #[param(default = 2, max = 16)]
    size: usize,
    /// Flag.
    #[param(default = true)]
    r#type: bool,
    /// Text.
    #[param(default = "say \"hi\"")]
    text: String,
    /// One of a few.
    #[param(default = "two_words")]
    choice: Few,
    #[param(skip)]
    state: Vec<f64>,
}

#[derive(Choice)]
enum Few {
    One,
    TwoWords,
}

impl InitScheme for Everything {
    const REQUIRES: &'static [&'static str] = &[WEIGHT];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        match layer.name.as_str() {
            "panics" => panic!("no factors for rank {}", layer.rank),
            "bomb" => std::panic::panic_any(Bomb),
            "refuses" => Err(Error::new("no such layer").with_help("take another")),
            "infix" => {
                let wide = ctx.randn("wide", [2, 3])?;
                let _ = &wide + &ctx.randn("tall", [5])?;
                unreachable!("shapes that do not fit")
            }
            _ => {
                let a = ctx.randn("A", [layer.rank, layer.fan_in])?;
                let b = ctx.randn("B", [layer.fan_out, layer.rank])?;
                Ok(Factors::new(a, b).compensate(true).freeze(Factor::A))
            }
        }
    }
}

/// Panics wherever it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

/// Panics where it ends.
#[derive(Params)]
struct Fragile;

impl AlphaPolicy for Fragile {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(1.0))
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("it broke");
    }
}

/// Nothing to set.
#[derive(Params)]
struct Unit;

impl AlphaPolicy for Unit {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(layer.rank as f64))
    }
}

export_plugin! {
    init "every-thing" => Everything,
    alpha "unit" => Unit,
    alpha "fragile" => Fragile,
}

#[expect(improper_ctypes, reason = "both sides are Rust; only the name is C's")]
unsafe extern "C" {
    // The symbol that the host asks a plugin file for.
    #[link_name = "_1as_0lib_1header_0root_bmodule_bloader"]
    static HEADER: Header;
}

fn plugin() -> PluginRef {
    testing::install();
    // SAFETY: `export_plugin!` above defines it, with this type.
    let header = unsafe { &HEADER };
    header
        .init_root_module::<PluginRef>()
        .expect("a root module of this layout")
}

fn manifest() -> Manifest {
    serde_json::from_str(plugin().manifest()().as_str()).expect("a manifest")
}

/// The parameters of `init/every-thing` as the host sends them: every one.
fn defaults() -> String {
    let parameters = manifest().components[0].parameters.clone();
    let pairs = parameters
        .into_iter()
        .map(|parameter| (parameter.name, parameter.default));
    Value::Object(pairs.collect()).to_string()
}

fn create(component: &str, parameters: &str) -> Result<*mut c_void, Failure> {
    // The fake host is connected already, so the table is not looked at.
    let host = std::ptr::null();
    plugin().create()(component.into(), parameters.into(), host).into_result()
}

fn table() -> &'static ComponentTable {
    let table = plugin().extension()(RStr::from_str(COMPONENT));
    // SAFETY: the id names the type, and tables live as long as the process.
    unsafe { table.cast::<ComponentTable>().as_ref() }.expect("a plugin answers it")
}

fn invoke(component: *mut c_void, method: &str, message: &Value) -> Result<Reply, Failure> {
    let message = message.to_string();
    let reply = (table().invoke)(
        component,
        method.into(),
        message.as_str().into(),
        RSlice::EMPTY,
    );
    RResult::into_result(reply)
}

fn init(component: *mut c_void, layer: &str) -> Result<Reply, Failure> {
    let layer = Layer {
        name: layer.to_owned(),
        ..testing::layer(4, 6, 2)
    };
    invoke(component, "init", &json!({ "layer": layer }))
}

/// Code and message of a failure.
fn failed<T>(result: Result<T, Failure>) -> (u32, String) {
    let failure = result.err().expect("a failure");
    (failure.code, failure.message.into())
}

#[test]
fn the_manifest_says_all_that_the_macros_were_told() {
    let manifest = manifest();
    assert_eq!(manifest.abi, ABI);
    assert_eq!(manifest.package, "lorahost-plugin-api");
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest.licence, env!("CARGO_PKG_LICENSE"));
    let [everything, unit, _] = &manifest.components[..] else {
        panic!("three components, not {:?}", manifest.components)
    };
    assert_eq!(
        (everything.kind.as_str(), everything.name.as_str()),
        ("init", "every-thing")
    );
    assert_eq!(
        everything.summary,
        "All kinds of \"parameters\"; a back\\slash too."
    );
    assert_eq!(everything.requires, [WEIGHT]);
    assert_eq!((unit.kind.as_str(), unit.name.as_str()), ("alpha", "unit"));
    assert!(unit.requires.is_empty() && unit.parameters.is_empty());

    let names = everything
        .parameters
        .iter()
        .map(|parameter| parameter.name.as_str());
    let names: Vec<_> = names.collect();
    assert_eq!(
        names,
        [
            "float", "signed", "unsigned", "size", "type", "text", "choice"
        ]
    );
    let found = |name: &str| {
        let place = names
            .iter()
            .position(|other| *other == name)
            .expect("it is there");
        &everything.parameters[place]
    };
    let float = found("float");
    assert_eq!(
        (float.kind, &float.default),
        (ParameterKind::Float, &json!(1e-8))
    );
    assert_eq!((float.min, float.max), (Some(-2.5), Some(1e3)));
    assert_eq!(float.doc, "A \"float\" in C:\\dir,\nover two lines.");
    for (name, kind, default, min, max) in [
        ("signed", ParameterKind::Int, json!(-3), Some(-10.0), None),
        ("unsigned", ParameterKind::Int, json!(7), Some(0.0), None),
        ("size", ParameterKind::Int, json!(2), Some(0.0), Some(16.0)),
        ("type", ParameterKind::Bool, json!(true), None, None),
        (
            "text",
            ParameterKind::String,
            json!("say \"hi\""),
            None,
            None,
        ),
        (
            "choice",
            ParameterKind::Choice,
            json!("two_words"),
            None,
            None,
        ),
    ] {
        let found = found(name);
        assert_eq!((found.kind, &found.default), (kind, &default), "{name}");
        assert_eq!((found.min, found.max), (min, max), "{name}");
    }
    assert_eq!(found("choice").choices, ["one", "two_words"]);
    assert!(found("text").choices.is_empty());
}

#[test]
fn parameters_are_read_by_type() {
    let everything = testing::params::<Everything>(json!({ "size": 3, "choice": "one" }));
    let everything = everything.expect("they fit");
    assert!(everything.size == 3 && matches!(everything.choice, Few::One) && everything.r#type);
    for (given, message) in [
        (json!({ "size": -1 }), "parameter `size` is -1, below 0"),
        (json!({ "size": 17 }), "parameter `size` is 17, above 16"),
        (
            json!({ "float": "1" }),
            "parameter `float` must be of type float, not \"1\"",
        ),
        (
            json!({ "choice": "two" }),
            "parameter `choice` must be one of one, two_words, not \"two\"",
        ),
    ] {
        let error = testing::params::<Everything>(given)
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(message));
    }
    let error = testing::params::<Unit>(json!({ "gain": 1 }))
        .err()
        .expect("there is none");
    assert!(error.to_string().starts_with("unknown parameter `gain`"));
}

#[test]
fn what_does_not_fit_is_not_created() {
    let error = FailureCode::Error as u32;
    let (code, message) = failed(create("init/unit", "{}"));
    assert_eq!(
        (code, message.as_str()),
        (error, "this plugin has no component init/unit")
    );
    let (code, message) = failed(create("init/every-thing", "{}"));
    assert_eq!(
        (code, message.as_str()),
        (error, "parameter `float` is missing")
    );
    let (code, message) = failed(create("alpha/unit", "[]"));
    assert_eq!(code, error);
    assert!(
        message.starts_with("message that does not fit this plugin API"),
        "{message}"
    );
}

#[test]
fn a_reply_gives_its_tensors_away() {
    let before = testing::live_handles();
    let component = create("init/every-thing", &defaults()).expect("it fits");
    let reply = init(component, "layer").expect("factors");
    let message: Value = serde_json::from_str(&reply.message).expect("JSON");
    assert_eq!(message, json!({ "compensate": true, "frozen": "A" }));
    assert_eq!(reply.tensors.len(), 2);
    assert_eq!(testing::live_handles(), before + 2);
    (table().drop)(component);
    assert_eq!(testing::live_handles(), before + 2, "they are the host's");

    let component = create("alpha/unit", "{}").expect("it fits");
    let layer = json!({ "layer": testing::layer(4, 6, 2) });
    let reply = invoke(component, "scale", &layer).expect("a scale");
    let message: Value = serde_json::from_str(&reply.message).expect("JSON");
    assert_eq!(message, json!({ "scale": 2.0, "lr_a": 1.0, "lr_b": 1.0 }));
    (table().drop)(component);
}

#[test]
fn errors_leave_the_component_usable() {
    let component = create("init/every-thing", &defaults()).expect("it fits");
    let error = FailureCode::Error as u32;
    let (code, message) = failed(init(component, "refuses"));
    assert_eq!(
        (code, message.as_str()),
        (error, "no such layer (take another)")
    );
    let (code, message) = failed(invoke(component, "init", &json!({ "layer": 3 })));
    assert_eq!(code, error);
    assert!(
        message.starts_with("message that does not fit this plugin API"),
        "{message}"
    );
    let (code, message) = failed(invoke(component, "step", &Value::Null));
    assert_eq!(
        (code, message.as_str()),
        (FailureCode::Unsupported as u32, "no method `step`")
    );
    assert!(init(component, "layer").is_ok());
    (table().drop)(component);
}

#[test]
fn a_panic_poisons_the_component_alone() {
    let create = || create("init/every-thing", &defaults()).expect("it fits");
    let (component, other) = (create(), create());
    let (code, message) = failed(init(component, "panics"));
    assert_eq!(code, FailureCode::Panic as u32);
    assert!(message.starts_with("panicked at "), "{message}");
    assert!(message.contains("export.rs:"), "{message}");
    assert!(message.ends_with(": no factors for rank 2"), "{message}");
    let (code, message) = failed(init(component, "layer"));
    assert_eq!(
        (code, message.as_str()),
        (FailureCode::Panic as u32, "the component panicked before")
    );
    assert!(init(other, "layer").is_ok());
    (table().drop)(component);
    (table().drop)(other);
}

#[test]
fn the_error_of_an_infix_operator_is_told_as_it_is_and_poisons_too() {
    let before = testing::live_handles();
    let component = create("init/every-thing", &defaults()).expect("it fits");
    let panic = FailureCode::Panic as u32;
    let (code, message) = failed(init(component, "infix"));
    assert_eq!(
        (code, message.as_str()),
        (
            panic,
            "aten::add.Tensor: the shapes [[2, 3], [5]] do not fit"
        )
    );
    let (code, _) = failed(init(component, "layer"));
    assert_eq!(code, panic, "it unwound");
    (table().drop)(component);
    assert_eq!(testing::live_handles(), before, "both operands are dropped");
}

#[test]
fn what_panics_again_where_it_is_dropped_ends_nothing() {
    let component = create("init/every-thing", &defaults()).expect("it fits");
    let (code, message) = failed(init(component, "bomb"));
    assert_eq!(code, FailureCode::Panic as u32);
    assert!(message.ends_with(": no message"), "{message}");
    (table().drop)(component);

    let component = create("alpha/fragile", "{}").expect("it fits");
    let _ = testing::take_log();
    (table().drop)(component);
    let log = testing::take_log();
    assert!(
        log.len() == 1 && log[0].contains("a destructor panicked at"),
        "{log:?}"
    );
}

#[test]
fn null_and_unknown_are_answered() {
    assert!(plugin().extension()(RStr::from_str("lorahost.component/9")).is_null());
    let (code, message) = failed(init(null_mut(), "layer"));
    assert_eq!(
        (code, message.as_str()),
        (FailureCode::Error as u32, "the component is null")
    );
    (table().drop)(null_mut());
}
