//! A plugin that says whatever the bytes are, in the `repr(C)` values of the ABI.
//!
//! What it cannot do is what any native code could: pointers lead nowhere, or to as many elements as they are said to.

use std::ffi::c_void;
use std::ptr;

use lorahost::plugins::{as_plugin, live_handles};
use lorahost_plugin_api::abi::abi_stable::std_types::{RResult, RSlice, RStr};
use lorahost_plugin_api::abi::{
    AUTOGRAD, Argument, AutogradTable, CACHE, COVARIANCE, CacheTable, CovarianceTable, Failure,
    GRADIENTS, GradientTable, HEAD, HeadTable, HostTable, LOG, LogTable, Named, TENSOR,
    TensorTable, WEIGHT, WeightTable, table, tag,
};

/// Operators whose results are no larger than what goes in, with overloads.
const OPERATORS: &[(&str, &str)] = &[
    ("aten::neg", ""),
    ("aten::add", "Tensor"),
    ("aten::mul", "Scalar"),
    ("aten::sum", "dim_IntList"),
    ("aten::cat", ""),
    ("aten::index", "Tensor"),
    ("aten::to", "dtype"),
    ("aten::to", "device"),
    ("aten::clone", ""),
    ("aten::gelu", ""),
    ("aten::normal_", ""),
    ("aten::reshape", ""),
    ("aten::zeros", ""),
    ("aten::split", "sizes"),
    ("aten::upsample_linear1d", "vec"),
    ("aten::_fused_adamw_", ""),
];

/// Names of arguments, some of which an operator has.
const NAMES: &[&str] = &[
    "dtype",
    "layout",
    "device",
    "memory_format",
    "dim",
    "self",
    "alpha",
    "x",
];

/// Takes the bytes apart, and gives zeros behind their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// Small as a rule, for sizes are made of it.
    fn word(&mut self) -> u64 {
        match self.byte() {
            0 => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            small => i64::from(small.cast_signed()).cast_unsigned(),
        }
    }

    fn text(&mut self) -> String {
        let bytes: Vec<u8> = (0..self.below(16)).map(|_| self.byte()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What the plugin was given.
#[derive(Default)]
struct Owned {
    handles: Vec<u64>,
    operators: Vec<u64>,
}

impl Owned {
    /// One of its own handles, or an invented one.
    fn handle(&self, bytes: &mut Bytes<'_>) -> u64 {
        match bytes.byte() {
            255 => bytes.word(),
            place if self.handles.is_empty() => u64::from(place),
            place => self.handles[usize::from(place) % self.handles.len()],
        }
    }

    fn handles(&self, bytes: &mut Bytes<'_>) -> Vec<u64> {
        (0..bytes.below(4)).map(|_| self.handle(bytes)).collect()
    }
}

/// A sequence of calls of the host, as a plugin would make them within a call of its own.
pub fn plugin(data: &[u8]) {
    let before = live_handles();
    as_plugin(|host| {
        let mut owned = Owned::default();
        let mut bytes = Bytes(data);
        let tensors: &TensorTable = find(host, TENSOR).expect("every host has tensors");
        while !bytes.0.is_empty() {
            step(host, tensors, &mut owned, &mut bytes);
        }
        for handle in owned.handles {
            (tensors.drop)(handle);
        }
    });
    assert_eq!(live_handles(), before, "handles that nobody has");
}

fn step(host: *const c_void, tensors: &TensorTable, owned: &mut Owned, bytes: &mut Bytes<'_>) {
    match bytes.below(16) {
        0..=2 => {
            let shape: Vec<i64> = (0..bytes.below(4))
                .map(|_| bytes.word().cast_signed())
                .collect();
            let size = shape.iter().fold(4, |size, side| side.wrapping_mul(size));
            let content: Vec<u8> = (0..size.clamp(0, 4096)).map(|_| bytes.byte()).collect();
            let dtype = match bytes.byte() {
                0 => 6,
                other => i32::from(other.cast_signed()),
            };
            let (content, shape) = (RSlice::from_slice(&content), RSlice::from_slice(&shape));
            owned
                .handles
                .extend(ok((tensors.from_bytes)(content, shape, dtype)));
        }
        3 => {
            let (name, overload) = (bytes.text(), bytes.text());
            let (name, overload) = (RStr::from_str(&name), RStr::from_str(&overload));
            owned
                .operators
                .extend(ok((tensors.resolve)(name, overload)));
        }
        4 | 5 => {
            let (name, overload) = OPERATORS[bytes.below(OPERATORS.len())];
            let (name, overload) = (RStr::from_str(name), RStr::from_str(overload));
            owned
                .operators
                .extend(ok((tensors.resolve)(name, overload)));
        }
        6..=9 => call(tensors, owned, bytes),
        10 => {
            let handle = owned.handle(bytes);
            ok((tensors.describe)(handle));
            ok((tensors.to_bytes)(handle));
            owned.handles.extend(ok((tensors.clone)(handle)));
        }
        11 => {
            let handle = owned.handle(bytes);
            (tensors.drop)(handle);
            owned.handles.retain(|own| *own != handle);
        }
        12 => {
            let id = bytes.text();
            let _: Option<&HostTable> = find(host, &id);
            if let Some(log) = find::<LogTable>(host, LOG) {
                (log.log)(u32::from(bytes.byte()), RStr::from_str(&id));
            }
        }
        13 => {
            let (name, x) = (bytes.text(), owned.handle(bytes));
            let name = RStr::from_str(&name);
            if let Some(head) = find::<HeadTable>(host, HEAD) {
                owned.handles.extend(ok((head.layer)(name, x)));
                owned
                    .handles
                    .extend(ok((head.dropout)(x, f64::from_bits(bytes.word()))));
                owned
                    .handles
                    .extend(ok((head.parameters)(name)).unwrap_or_default());
            }
            if let Some(weight) = find::<WeightTable>(host, WEIGHT) {
                owned.handles.extend(ok((weight.weight)()));
            }
        }
        14 => {
            let (first, second) = (owned.handles(bytes), owned.handles(bytes));
            let (first, second) = (RSlice::from_slice(&first), RSlice::from_slice(&second));
            if let Some(autograd) = find::<AutogradTable>(host, AUTOGRAD) {
                let found = ok((autograd.grad)(first, second)).unwrap_or_default();
                owned
                    .handles
                    .extend(found.into_iter().filter(|handle| *handle != 0));
                let loss = owned.handle(bytes);
                owned
                    .handles
                    .extend(ok((autograd.with_gradients)(loss, first, second)));
            }
        }
        _ => {
            let (layer, count, handles) = (bytes.text(), bytes.word(), owned.handles(bytes));
            let layer = RStr::from_str(&layer);
            if let Some(gradients) = find::<GradientTable>(host, GRADIENTS) {
                owned.handles.extend(ok((gradients.gradient)(layer, count)));
            }
            if let Some(covariance) = find::<CovarianceTable>(host, COVARIANCE) {
                owned
                    .handles
                    .extend(ok((covariance.covariance)(layer, count)));
            }
            if let Some(cache) = find::<CacheTable>(host, CACHE) {
                owned
                    .handles
                    .extend(ok((cache.load)(layer, layer)).unwrap_or_default());
                let stored = (cache.store)(layer, layer, RSlice::from_slice(&handles));
                owned.handles.extend(ok(stored).unwrap_or_default());
            }
        }
    }
}

fn call(tensors: &TensorTable, owned: &mut Owned, bytes: &mut Bytes<'_>) {
    let operator = match (bytes.byte(), owned.operators.last()) {
        (invented @ 200.., _) => u64::from(invented),
        (place, Some(_)) => owned.operators[usize::from(place) % owned.operators.len()],
        (place, None) => u64::from(place),
    };
    // What arguments point to, from here to the end of the call.
    let lists: Vec<Vec<u64>> = (0..8).map(|_| list(owned, bytes)).collect();
    let mut lists = lists.iter();
    let mut argument = |bytes: &mut Bytes<'_>| match lists.next() {
        Some(list) => argument(list, owned, bytes),
        None => NONE,
    };
    let by_place: Vec<Argument> = (0..bytes.below(5)).map(|_| argument(bytes)).collect();
    let by_name: Vec<Named<'_>> = (0..bytes.below(3))
        .map(|_| Named {
            name: RStr::from_str(NAMES[bytes.below(NAMES.len())]),
            value: argument(bytes),
        })
        .collect();
    let results = (tensors.call)(
        operator,
        RSlice::from_slice(&by_place),
        RSlice::from_slice(&by_name),
    );
    for output in ok(results).unwrap_or_default() {
        match output.tag {
            tag::TENSOR => owned.handles.push(output.word),
            tag::TENSORS => owned.handles.extend(output.list),
            _ => {}
        }
    }
}

const NONE: Argument = Argument {
    tag: tag::NONE,
    word: 0,
    data: ptr::null(),
    len: 0,
};

/// So short that a shape of small sides is of a small tensor.
fn list(owned: &Owned, bytes: &mut Bytes<'_>) -> Vec<u64> {
    let handles = bytes.byte() < 128;
    (0..bytes.below(4))
        .map(|_| {
            if handles {
                owned.handle(bytes)
            } else {
                bytes.word()
            }
        })
        .collect()
}

/// An argument over `list`: as long as it, or at an address that must not be followed.
fn argument(list: &[u64], owned: &Owned, bytes: &mut Bytes<'_>) -> Argument {
    let tag = match bytes.below(20) {
        19 => bytes.word() as u32,
        known => known as u32,
    };
    let size = match tag {
        tag::STRING | tag::STREAM | tag::BOOLS => size_of_val(list),
        _ => list.len(),
    };
    let (data, len) = match bytes.byte() {
        0 => (ptr::null(), size),
        1 => (ptr::without_provenance(8), usize::MAX),
        2 if !matches!(tag, tag::STRING | tag::STREAM | tag::BOOLS) => {
            (ptr::without_provenance(9), size)
        }
        _ => (list.as_ptr().cast(), size),
    };
    Argument {
        tag,
        word: if tag == tag::TENSOR {
            owned.handle(bytes)
        } else {
            bytes.word()
        },
        data,
        len,
    }
}

fn ok<T>(result: RResult<T, Failure>) -> Option<T> {
    result.into_result().ok()
}

/// A table of the host.
#[expect(unsafe_code, reason = "as in a plugin")]
fn find<T>(host: *const c_void, id: &str) -> Option<&'static T> {
    // SAFETY: the host's table lives as long as the process.
    let host = unsafe { table::<HostTable>(host) }?;
    // SAFETY: as long as the process too; the size says whether it is a `T`.
    unsafe { table::<T>((host.extension)(RStr::from_str(id))) }
}
