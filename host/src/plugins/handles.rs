//! The table behind tensor handles: a handle is a slot and its generation, so a stale one is found out.

use std::sync::{Mutex, PoisonError};

use lorahost_plugin_api::sdk::{Error, Result};
use tch::Tensor;

struct Slot {
    generation: u32,
    tensor: Option<Tensor>,
}

struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    slots: Vec::new(),
    free: Vec::new(),
});

fn with_table<T>(body: impl FnOnce(&mut Table) -> T) -> T {
    body(&mut TABLE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The slot is counted from 1 within the handle: 0 is no tensor.
fn split(handle: u64) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = handle.to_le_bytes();
    let slot = u32::from_le_bytes([a, b, c, d]).checked_sub(1)?;
    Some((slot as usize, u32::from_le_bytes([e, f, g, h])))
}

/// Takes a tensor in; the handle is good until [`remove`].
pub fn insert(tensor: Tensor) -> u64 {
    with_table(|table| {
        let slot = table.free.pop().unwrap_or_else(|| {
            table.slots.push(Slot {
                generation: 0,
                tensor: None,
            });
            u32::try_from(table.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut table.slots[slot as usize];
        entry.tensor = Some(tensor);
        (u64::from(entry.generation) << 32) | u64::from(slot + 1)
    })
}

/// The tensor of a handle: a second reference to the same memory.
///
/// # Errors
/// When the handle is stale, foreign or invented.
pub fn get(handle: u64) -> Result<Tensor> {
    with_table(|table| {
        let (slot, generation) = split(handle)?;
        let entry = table
            .slots
            .get(slot)
            .filter(|entry| entry.generation == generation)?;
        entry.tensor.as_ref().map(Tensor::shallow_clone)
    })
    .ok_or_else(|| Error::new(format!("unknown handle {handle:#x}")))
}

/// Gives the tensor of a handle back; later uses of the handle are errors.
pub fn remove(handle: u64) -> Option<Tensor> {
    with_table(|table| {
        let (slot, generation) = split(handle)?;
        let entry = table
            .slots
            .get_mut(slot)
            .filter(|entry| entry.generation == generation)?;
        let tensor = entry.tensor.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        table.free.push(u32::try_from(slot).ok()?);
        Some(tensor)
    })
}

/// Number of handles that are in use.
#[must_use]
pub fn live() -> usize {
    with_table(|table| table.slots.len() - table.free.len())
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::{get, insert, remove};

    #[test]
    fn stale_foreign_and_invented_handles_are_errors() {
        let handle = insert(Tensor::from_slice(&[1.0_f32, 2.0]));
        assert_eq!(get(handle).unwrap().size(), [2]);
        assert!(remove(handle).is_some());
        assert!(get(handle).is_err(), "stale");
        assert!(remove(handle).is_none(), "dropped twice");
        let next = insert(Tensor::from_slice(&[3.0_f32]));
        assert_ne!(
            handle, next,
            "a slot that is used again has a new generation"
        );
        assert!(get(handle).is_err(), "stale, slot in use");
        for invented in [0, 1 << 40, u64::MAX, next + 1_000_000] {
            assert!(get(invented).is_err());
        }
        remove(next);
    }
}
