//! The model's head lent to a task head for one pass.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use lorahost_plugin_api::sdk::{Error, Result};
use tch::Tensor;

use crate::dropout::{Dropout, Pass};
use crate::model::Model;
use crate::plugins::HeadAccess;

/// The head layers of a model during one forward pass.
pub struct HeadPass {
    model: Rc<Model>,
    pass: Pass,
    /// Dropouts asked for so far: each has masks of its own.
    dropouts: Cell<usize>,
    /// How often each layer was applied so far: each time its LoRA path has another mask.
    layers: RefCell<HashMap<String, u64>>,
}

impl HeadPass {
    pub fn new(model: &Rc<Model>, pass: Pass) -> Self {
        Self {
            model: Rc::clone(model),
            pass,
            dropouts: Cell::new(0),
            layers: RefCell::default(),
        }
    }
}

impl HeadAccess for HeadPass {
    fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let head = self.model.head().map_err(refused)?;
        let mut layers = self.layers.borrow_mut();
        let applied = layers.entry(name.to_owned()).or_default();
        let pass = self.pass.part(*applied);
        *applied += 1;
        head.linear(name, x, &pass).map_err(refused)
    }

    fn dropout(&self, x: &Tensor, p: f64) -> Result<Tensor> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::new(format!(
                "dropout probability {p} is outside 0 <= p < 1"
            )));
        }
        let number = self.dropouts.get();
        self.dropouts.set(number + 1);
        Dropout::new(&format!("head dropout {number}"), p)
            .forward(x, &self.pass)
            .map_err(refused)
    }

    fn parameters(&self, name: &str) -> Result<Vec<Tensor>> {
        let head = self.model.head().map_err(refused)?;
        head.trainable(name).map_err(refused)
    }
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::new(error.to_string())
}
