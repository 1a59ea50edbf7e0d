//! What holds during one call of a plugin: random streams, the layer's weight, the model's head.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use lorahost_plugin_api::sdk::{Error, Result};
use tch::{Device, Kind, Tensor};

use super::InitAccess;
use crate::native::dispatch::Generator;
use crate::random::stream_seed;

/// The layers that the host owns and a head may apply.
pub trait HeadAccess {
    /// Applies the head layer of this name.
    ///
    /// # Errors
    /// When there is none, or `x` does not fit it.
    fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor>;

    /// Dropout with probability `p` in training; the identity in evaluation.
    ///
    /// # Errors
    /// When `p` is no probability below 1.
    fn dropout(&self, x: &Tensor, p: f64) -> Result<Tensor>;

    /// The tensors that learn behind the head layer of this name.
    ///
    /// # Errors
    /// When there is none.
    fn parameters(&self, name: &str) -> Result<Vec<Tensor>>;
}

/// The scope of a call; gone when the call returns.
#[derive(Default)]
pub struct Scope {
    /// Seed, purpose and place of the call's streams: `(42, "init", "encoder.layer.0.output.dense")`.
    pub streams: Option<(u64, &'static str, String)>,
    pub weight: Option<Tensor>,
    pub head: Option<Rc<dyn HeadAccess>>,
    pub init: Option<InitAccess>,
    /// Dtype and device of the run's parameters.
    pub defaults: Option<(Kind, Device)>,
    /// Nothing is lent: the component is being created or dropped. Handles may be given back all the same.
    pub closed: bool,
}

impl Scope {
    /// The scope of a component's creation and of its end.
    pub fn closed() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }
}

struct Active {
    scope: Scope,
    /// A stream continues within a call.
    generators: HashMap<String, Rc<Generator>>,
}

thread_local! {
    static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
}

/// The scope around the current one, which comes back at the end of a call, however it ends.
struct Outer(Option<Active>);

impl Drop for Outer {
    fn drop(&mut self) {
        ACTIVE.set(self.0.take());
    }
}

/// Runs `body`, a call of a plugin, within `scope`.
pub fn within<T>(scope: Scope, body: impl FnOnce() -> T) -> T {
    let inner = Active {
        scope,
        generators: HashMap::new(),
    };
    let _outer = Outer(ACTIVE.replace(Some(inner)));
    body()
}

fn read<T>(body: impl FnOnce(&mut Active) -> Result<T>) -> Result<T> {
    ACTIVE.with_borrow_mut(|active| match active {
        Some(active) if active.scope.closed => Err(Error::new(
            "the host may not be called while a component is created or dropped",
        )),
        Some(active) => body(active),
        None => Err(Error::new(
            "the host may be called only within a call of the host, on its own thread",
        )),
    })
}

/// Whether this thread is within a call that may use the host.
pub fn check() -> Result<()> {
    read(|_| Ok(()))
}

/// The generator of a stream, made at its first use in the call.
pub fn generator(name: &str) -> Result<Rc<Generator>> {
    read(|active| {
        let Some((seed, purpose, place)) = &active.scope.streams else {
            return Err(Error::new(format!(
                "stream `{name}`: nothing random is allowed in this call"
            )));
        };
        if let Some(generator) = active.generators.get(name) {
            return Ok(Rc::clone(generator));
        }
        let seed = stream_seed(*seed, purpose, &format!("{place}/{name}"));
        let generator = Rc::new(Generator::new(seed).map_err(Error::new)?);
        active
            .generators
            .insert(name.to_owned(), Rc::clone(&generator));
        Ok(generator)
    })
}

/// The weight of the layer at hand.
pub fn weight() -> Result<Tensor> {
    read(|active| {
        let weight = active.scope.weight.as_ref().map(Tensor::shallow_clone);
        weight.ok_or_else(|| Error::new("there is no weight outside of init"))
    })
}

/// The model's head.
pub fn head() -> Result<Rc<dyn HeadAccess>> {
    read(|active| {
        active
            .scope
            .head
            .clone()
            .ok_or_else(|| Error::new("there is no head layer outside of a head's forward"))
    })
}

/// What is measured and kept for an init scheme.
pub fn init() -> Result<InitAccess> {
    read(|active| {
        active
            .scope
            .init
            .clone()
            .ok_or_else(|| Error::new("layers are measured within calls of an init scheme only"))
    })
}

/// Dtype and device of the run's parameters.
pub fn defaults() -> (Kind, Device) {
    read(|active| Ok(active.scope.defaults))
        .ok()
        .flatten()
        .unwrap_or((Kind::Float, Device::Cpu))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{Scope, check, within};

    #[test]
    fn a_scope_ends_with_its_call_and_gives_way_to_the_outer_one() {
        assert!(check().is_err(), "no call");
        within(Scope::default(), || {
            within(Scope::closed(), || assert!(check().is_err(), "closed"));
            assert!(check().is_ok(), "the outer one is back");
            let panic = AssertUnwindSafe(|| within(Scope::closed(), || panic!("on purpose")));
            assert!(catch_unwind(panic).is_err());
            assert!(check().is_ok(), "after a panic too");
        });
        assert!(check().is_err(), "over");
    }
}
