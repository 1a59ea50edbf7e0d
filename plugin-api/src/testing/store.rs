//! What the fake host holds: tensors by handle, and what belongs to the call at hand. Each thread has its own, so
//! that tests side by side do not meet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::array::Array;
use super::random::Stream;
use crate::sdk::{Error, Result};

#[derive(Default)]
struct Store {
    tensors: HashMap<u64, Array>,
    call: CallState,
    log: Vec<String>,
}

/// What a call brings with it.
#[derive(Default)]
pub struct CallState {
    pub seed: u64,
    pub name: String,
    pub streams: HashMap<String, Stream>,
    /// W of the layer that is being initialised.
    pub weight: Option<Array>,
    /// dL/dW and E[x x'] by layer.
    pub gradients: HashMap<String, Array>,
    pub covariances: HashMap<String, Array>,
    /// Weight and bias of the head's layers.
    pub head: HashMap<String, (Array, Option<Array>)>,
    pub training: bool,
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

/// Keeps a tensor under a new handle. No handle is used twice, in any thread: a stale or foreign one is unknown.
pub fn put(array: Array) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let handle = NEXT.fetch_add(1, Ordering::Relaxed);
    STORE.with_borrow_mut(|store| store.tensors.insert(handle, array));
    handle
}

pub fn get(handle: u64) -> Result<Array> {
    STORE
        .with_borrow(|store| store.tensors.get(&handle).cloned())
        .ok_or_else(|| {
            Error::new(format!("unknown handle {handle}"))
                .with_help("it was dropped, or belongs to another thread")
        })
}

pub fn remove(handle: u64) {
    // A tensor in a thread-local of a test may outlive the store.
    let _ = STORE.try_with(|store| store.borrow_mut().tensors.remove(&handle));
}

pub fn count() -> usize {
    STORE.with_borrow(|store| store.tensors.len())
}

pub fn begin_call(call: CallState) {
    STORE.with_borrow_mut(|store| store.call = call);
}

pub fn call<T>(read: impl FnOnce(&mut CallState) -> T) -> T {
    STORE.with_borrow_mut(|store| read(&mut store.call))
}

/// `count` draws from the stream of this name, which goes on where the call's last draw from it ended.
pub fn draw(name: &str, count: usize, next: fn(&mut Stream) -> f64) -> Vec<f64> {
    call(|call| {
        let CallState {
            seed,
            name: purpose,
            streams,
            ..
        } = call;
        let stream = streams
            .entry(name.to_owned())
            .or_insert_with(|| Stream::new(*seed, purpose, name));
        (0..count).map(|_| next(stream)).collect()
    })
}

pub fn log(line: String) {
    STORE.with_borrow_mut(|store| store.log.push(line));
}

pub fn take_log() -> Vec<String> {
    STORE.with_borrow_mut(|store| std::mem::take(&mut store.log))
}
