//! What a decoder keeps of a sequence that grows.

use tch::{TchError, Tensor};

/// One sequence as far as a model has seen it, for [`super::Model::step`].
#[derive(Debug, Default)]
pub struct Cache {
    ids: Vec<i64>,
    layers: Vec<KeysAndValues>,
}

/// Keys and values of one layer, `[length, heads, head_dim]`; none before the first token.
#[derive(Debug, Default)]
pub(crate) struct KeysAndValues {
    held: Option<(Tensor, Tensor)>,
}

impl Cache {
    /// Number of tokens seen.
    #[must_use]
    pub fn length(&self) -> i64 {
        self.ids.len() as i64
    }

    /// The tokens seen.
    #[must_use]
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    pub(super) fn see(&mut self, ids: &[i64]) {
        self.ids.extend(ids);
    }

    /// What each of `count` layers keeps.
    pub(super) fn layers(&mut self, count: usize) -> &mut [KeysAndValues] {
        self.layers.resize_with(count, KeysAndValues::default);
        &mut self.layers
    }
}

impl KeysAndValues {
    /// Adds those of further tokens; returns all.
    pub(crate) fn extend(
        &mut self,
        key: &Tensor,
        value: &Tensor,
    ) -> Result<(&Tensor, &Tensor), TchError> {
        // A copy of what there is costs no more than the attention over it, which reads it as well.
        let joined = match &self.held {
            None => (key.shallow_clone(), value.shallow_clone()),
            Some((keys, values)) => (
                Tensor::f_cat(&[keys, key], 0)?,
                Tensor::f_cat(&[values, value], 0)?,
            ),
        };
        let (keys, values) = self.held.insert(joined);
        Ok((keys, values))
    }
}
