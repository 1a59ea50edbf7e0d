//! What the last layer of the model's head gave while a task head evaluated.

use std::cell::RefCell;
use std::rc::Rc;

use lorahost_plugin_api::sdk::Result;
use tch::Tensor;

use super::EvalError;
use crate::plugins::HeadAccess;
use crate::train::HeadPass;

/// The outputs of one layer, in the order in which they were computed.
pub(super) struct Outputs {
    layer: String,
    seen: RefCell<Vec<Tensor>>,
}

impl Outputs {
    pub fn of(layer: &str) -> Rc<Self> {
        Rc::new(Self {
            layer: layer.to_owned(),
            seen: RefCell::default(),
        })
    }

    /// The pass, with an eye on the layer.
    pub fn watch(self: &Rc<Self>, pass: HeadPass) -> Rc<dyn HeadAccess> {
        Rc::new(Watched {
            pass,
            outputs: Rc::clone(self),
        })
    }

    /// What was seen of the `places` among `all` hidden states, `[places, outputs]`; `head` looked at those alone or at all.
    pub fn at(
        &self,
        places: &[i64],
        all: usize,
        head: &str,
    ) -> std::result::Result<Tensor, EvalError> {
        let seen = self.seen.borrow();
        let found: i64 = seen.iter().filter_map(|y| y.size().first().copied()).sum();
        let expected = places.len() as i64;
        if found != expected && found != all as i64 {
            return Err(EvalError::Outputs {
                head: head.to_owned(),
                layer: self.layer.clone(),
                found,
                expected,
            });
        }
        let outputs = Tensor::f_cat(&seen, 0)?;
        if found == expected {
            return Ok(outputs);
        }
        let places = Tensor::f_from_slice(places)?.f_to_device(outputs.device())?;
        Ok(outputs.f_index_select(0, &places)?)
    }
}

struct Watched {
    pass: HeadPass,
    outputs: Rc<Outputs>,
}

impl HeadAccess for Watched {
    fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let y = self.pass.layer(name, x)?;
        if name == self.outputs.layer {
            // The task head may change what it gets in place.
            self.outputs.seen.borrow_mut().push(y.detach().copy());
        }
        Ok(y)
    }

    fn dropout(&self, x: &Tensor, p: f64) -> Result<Tensor> {
        self.pass.dropout(x, p)
    }

    fn parameters(&self, name: &str) -> Result<Vec<Tensor>> {
        self.pass.parameters(name)
    }
}
