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
    pass: Pass<'static>,
    /// Dropouts asked for so far: each has masks of its own.
    dropouts: Cell<usize>,
    /// How often each layer was applied so far: each time its LoRA path has another mask.
    layers: RefCell<HashMap<String, u64>>,
}

impl HeadPass {
    pub fn new(model: &Rc<Model>, pass: Pass<'static>) -> Self {
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

#[cfg(test)]
mod tests {
    use std::error::Error;

    use tch::{Device, Kind};

    use super::*;
    use crate::adapter::{Factors, Targets};
    use crate::model::Options;
    use crate::spec::{HeadMode, Seeds, Weights};

    #[test]
    fn a_layer_applied_twice_drops_other_elements() -> std::result::Result<(), Box<dyn Error>> {
        let options = Options {
            weights: Weights::Pretrained,
            dropout: None,
            device: Device::Cpu,
            seeds: Seeds {
                init: 1,
                data: 1,
                dropout: 1,
                head: 1,
            },
        };
        let mut model = Model::open("builtin:tiny-bert", options)?;
        model.build_head("pooled", 2)?;
        let layers = model.targets(&Targets::parse("all")?, HeadMode::Lora)?;
        let layer = layers.last().ok_or("a layer of the head")?;
        let ones = |shape| Tensor::ones(shape, (Kind::Float, Device::Cpu));
        let (a, b) = (ones([1, layer.fan_in]), ones([layer.fan_out, 1]));
        let dropout = 0.5;
        let factors = Factors {
            dropout,
            ..Factors::new(a, b, 1.0)
        };
        model.attach(layer.index, factors)?;
        let (x, model) = (ones([3, layer.fan_in]), Rc::new(model));
        let twice = |pass| -> Result<[Tensor; 2]> {
            let head = HeadPass::new(&model, pass);
            Ok([head.layer(&layer.name, &x)?, head.layer(&layer.name, &x)?])
        };
        let [first, second] = twice(Pass::training(1, 5))?;
        assert!(!first.equal(&second));
        let [again, _] = twice(Pass::training(1, 5))?;
        assert!(first.equal(&again), "as the pass has them");
        let [first, second] = twice(Pass::evaluation())?;
        assert!(first.equal(&second));
        Ok(())
    }
}
