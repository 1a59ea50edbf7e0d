//! What the last layer of the model's head gave while a task head evaluated.

use std::cell::RefCell;
use std::rc::Rc;

use lorahost_plugin_api::sdk::Result;
use tch::{TchError, Tensor};

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

    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Everything that was seen, `[rows, outputs]`.
    pub fn all(&self) -> std::result::Result<Tensor, TchError> {
        Tensor::f_cat(&self.seen.borrow(), 0)
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
