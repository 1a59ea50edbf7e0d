//! A method call as the kinds see it: a name, a JSON message, tensors.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Params, Result, Tensor};
use crate::abi::Component;

/// One call of the host.
pub struct Call<'a> {
    pub method: &'a str,
    pub message: &'a str,
    /// Lent for the call; a clone may be kept.
    pub tensors: &'a [Tensor],
}

impl Call<'_> {
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_str(self.message)?)
    }

    /// The tensor at `index`; `None` where the host passed none.
    pub(super) fn tensor(&self, index: usize) -> Option<&Tensor> {
        self.tensors.get(index).filter(|tensor| !tensor.is_none())
    }

    pub(super) fn expect(&self, index: usize, what: &str) -> Result<&Tensor> {
        self.tensor(index)
            .ok_or_else(|| Error::new(format!("the host passed no {what}")))
    }
}

/// What a method answers.
#[derive(Default)]
pub struct Answer {
    pub message: String,
    pub tensors: Vec<Tensor>,
}

impl Answer {
    pub(super) fn new(message: &impl Serialize, tensors: Vec<Tensor>) -> Result<Self> {
        Ok(Self {
            message: serde_json::to_string(message)?,
            tensors,
        })
    }
}

/// How `export_plugin!` turns an author's type into a component: one marker type a kind.
pub mod kind {
    use super::{Component, Params, Result};
    use crate::sdk::parameters_from_json;

    /// Makes a component of kind `W` around the author's `T`.
    ///
    /// # Errors
    /// When the parameters do not fit, which the host has checked before.
    pub fn make<T: Params, W: Component + From<T> + 'static>(
        parameters: &str,
    ) -> Result<Box<dyn Component>> {
        Ok(Box::new(W::from(parameters_from_json::<T>(parameters)?)))
    }
}
