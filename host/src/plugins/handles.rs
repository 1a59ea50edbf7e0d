//! The table behind tensor handles: a handle is a slot and its generation, so a stale one is found out.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lorahost_plugin_api::sdk::{Error, Result};
use tch::Tensor;

/// A tensor of the table; who holds it keeps it alive though its handle is given back.
pub struct Entry(Tensor);

// SAFETY: the table is only where a tensor waits. It is used within calls of a plugin, and a component with its
// handles belongs to one thread; what other threads can do is to count references, which libtorch does atomically.
#[expect(unsafe_code, reason = "tensors of libtorch")]
unsafe impl Sync for Entry {}

impl Deref for Entry {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

struct Slot {
    generation: u32,
    tensor: Option<Arc<Entry>>,
}

/// The table, locked: many handles are looked up under one lock.
pub struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    slots: Vec::new(),
    free: Vec::new(),
});

/// The table, for more than one handle.
pub fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The slot is counted from 1 within the handle: 0 is no tensor.
fn split(handle: u64) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = handle.to_le_bytes();
    let slot = u32::from_le_bytes([a, b, c, d]).checked_sub(1)?;
    Some((slot as usize, u32::from_le_bytes([e, f, g, h])))
}

impl Table {
    /// Takes a tensor in; the handle is good until [`remove`](Self::remove).
    pub fn insert(&mut self, tensor: Tensor) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                tensor: None,
            });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.slots[slot as usize];
        entry.tensor = Some(Arc::new(Entry(tensor)));
        (u64::from(entry.generation) << 32) | u64::from(slot + 1)
    }

    /// The tensor of a handle.
    ///
    /// # Errors
    /// When the handle is stale, foreign or invented.
    pub fn get(&self, handle: u64) -> Result<Arc<Entry>> {
        split(handle)
            .and_then(|(slot, generation)| {
                let entry = self.slots.get(slot)?;
                let tensor = entry.tensor.as_ref()?;
                (entry.generation == generation).then(|| Arc::clone(tensor))
            })
            .ok_or_else(|| Error::new(format!("unknown handle {handle:#x}")))
    }

    /// Gives the tensor of a handle back; later uses of the handle are errors.
    pub fn remove(&mut self, handle: u64) -> Option<Arc<Entry>> {
        let (slot, generation) = split(handle)?;
        let entry = self.slots.get_mut(slot)?;
        let tensor = entry.tensor.take_if(|_| entry.generation == generation)?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(u32::try_from(slot).ok()?);
        Some(tensor)
    }
}

/// [`Table::insert`] of one tensor.
pub fn insert(tensor: Tensor) -> u64 {
    table().insert(tensor)
}

/// [`Table::get`] of one handle.
///
/// # Errors
/// When the handle is stale, foreign or invented.
pub fn get(handle: u64) -> Result<Arc<Entry>> {
    table().get(handle)
}

/// [`Table::remove`] of one handle: the tensor, a second reference to it where something still holds the entry.
pub fn remove(handle: u64) -> Option<Tensor> {
    let entry = table().remove(handle)?;
    Some(Arc::try_unwrap(entry).map_or_else(|held| held.shallow_clone(), |entry| entry.0))
}

/// Number of handles that are in use.
#[must_use]
pub fn live() -> usize {
    let table = table();
    table.slots.len() - table.free.len()
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
