//! The table behind tensor handles: a handle is a slot and its generation, so a stale one is found out.

#![expect(
    unsafe_code,
    reason = "tensors of libtorch, and of a caller for a call"
)]

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lorahost_plugin_api::sdk::{Error, Result};
use tch::Tensor;

/// A tensor of the table. Who holds it keeps it alive though its handle is given back; one that is lent lives as long
/// as the call that it is lent for.
#[derive(Clone)]
pub enum Entry {
    Owned(Arc<Owned>),
    Lent(Lent),
}

/// A tensor that the table has for itself.
pub struct Owned(Tensor);

/// A tensor of the caller, for as long as its [`Lending`].
#[derive(Clone, Copy)]
pub struct Lent(NonNull<Tensor>);

// SAFETY: the table is only where a tensor waits. It is used within calls of a plugin, and a component with its
// handles belongs to one thread; what other threads can do is to count references, which libtorch does atomically.
unsafe impl Sync for Owned {}
// SAFETY: as above; other threads never look behind it, since tensors are got within a call alone.
unsafe impl Send for Lent {}

impl Deref for Entry {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Self::Owned(tensor) => &tensor.0,
            // SAFETY: an entry is got and let go while a function of the host serves the call of a plugin, and the
            // `Lending` around that call borrows the tensor until the plugin has returned.
            Self::Lent(tensor) => unsafe { tensor.0.as_ref() },
        }
    }
}

struct Slot {
    generation: u32,
    tensor: Option<Entry>,
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
        self.put(Entry::Owned(Arc::new(Owned(tensor))))
    }

    fn put(&mut self, tensor: Entry) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                tensor: None,
            });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.slots[slot as usize];
        entry.tensor = Some(tensor);
        (u64::from(entry.generation) << 32) | u64::from(slot + 1)
    }

    /// The tensor of a handle, to be let go before the call of the plugin ends.
    ///
    /// # Errors
    /// When the handle is stale, foreign or invented.
    pub fn get(&self, handle: u64) -> Result<Entry> {
        split(handle)
            .and_then(|(slot, generation)| {
                let entry = self.slots.get(slot)?;
                let tensor = entry.tensor.as_ref()?;
                (entry.generation == generation).then(|| tensor.clone())
            })
            .ok_or_else(|| Error::new(format!("unknown handle {handle:#x}")))
    }

    /// Gives the tensor of a handle back; later uses of the handle are errors.
    pub fn remove(&mut self, handle: u64) -> Option<Entry> {
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
pub fn get(handle: u64) -> Result<Entry> {
    table().get(handle)
}

/// [`Table::remove`] of one handle: the tensor, a second reference to it where something still holds the entry.
pub fn remove(handle: u64) -> Option<Tensor> {
    match table().remove(handle)? {
        Entry::Owned(entry) => {
            Some(Arc::try_unwrap(entry).map_or_else(|held| held.0.shallow_clone(), |entry| entry.0))
        }
        lent @ Entry::Lent(_) => Some(lent.shallow_clone()),
    }
}

/// Tensors of the caller that have handles until this is dropped.
pub struct Lending<'a> {
    handles: Vec<u64>,
    tensors: PhantomData<&'a Tensor>,
}

impl<'a> Lending<'a> {
    /// Handles of the tensors, 0 where there is none.
    pub fn new(tensors: &[Option<&'a Tensor>]) -> Self {
        let mut table = table();
        let handle = |tensor: Option<&'a Tensor>| {
            tensor.map_or(0, |tensor| {
                table.put(Entry::Lent(Lent(NonNull::from(tensor))))
            })
        };
        Self {
            handles: tensors.iter().copied().map(handle).collect(),
            tensors: PhantomData,
        }
    }

    /// The handles, in the order of the tensors.
    pub fn handles(&self) -> &[u64] {
        &self.handles
    }
}

impl Drop for Lending<'_> {
    fn drop(&mut self) {
        let mut table = table();
        for &handle in &self.handles {
            table.remove(handle);
        }
    }
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

    use super::{Lending, get, insert, remove};

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

    #[test]
    fn what_is_lent_has_handles_for_as_long_as_that() {
        let lent = Tensor::from_slice(&[1.0_f32, 2.0]);
        let lending = Lending::new(&[Some(&lent), None, Some(&lent)]);
        let [one, none, same] = *lending.handles() else {
            panic!("three handles");
        };
        assert_eq!((get(one).unwrap().data_ptr(), none), (lent.data_ptr(), 0));
        // Who gives a handle back that is not his has it no more, and the next tensor of the slot stays.
        let second = remove(one).unwrap();
        let next = insert(Tensor::from_slice(&[3.0_f32]));
        assert!(get(one).is_err() && get(same).is_ok());
        drop(lending);
        assert!(get(same).is_err(), "stale");
        assert!(get(next).is_ok());
        assert_eq!(second.data_ptr(), lent.data_ptr());
        remove(next);
    }
}
