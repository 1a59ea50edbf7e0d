use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Params, Result, Tensor};
use crate::abi::Component;

pub struct Call<'a> {
    pub method: &'a str,
    pub message: &'a str,
    pub tensors: &'a [Tensor],
}

impl Call<'_> {
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_str(self.message)?)
    }

    pub(super) fn tensor(&self, index: usize) -> Option<&Tensor> {
        self.tensors.get(index).filter(|tensor| !tensor.is_none())
    }

    pub(super) fn expect(&self, index: usize, what: &str) -> Result<&Tensor> {
        self.tensor(index)
            .ok_or_else(|| Error::new(format!("the host passed no {what}")))
    }
}

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

pub mod kind {
    use super::{Component, Params, Result};
    use crate::sdk::parameters_from_json;

    pub fn make<T: Params, W: Component + From<T> + 'static>(
        parameters: &str,
    ) -> Result<Box<dyn Component>> {
        Ok(Box::new(W::from(parameters_from_json::<T>(parameters)?)))
    }
}
