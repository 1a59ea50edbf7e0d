//! Optimizers: the whole group of parameters in one call a step.

use super::{Answer, Call, Error, Params, Result, Tensor};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{
    EvaluationPhase, OptimizerState, ParameterInfo, PrepareRequest, StepRequest,
};

/// How parameters move. Called without gradients being recorded; parameters are changed in place.
pub trait Optimizer: Params {
    /// Ids of host extensions that the optimizer cannot do without.
    const REQUIRES: &'static [&'static str] = &[];

    /// Called once, before the first step.
    ///
    /// # Errors
    /// Whatever the group lacks for this optimizer.
    fn prepare(&mut self, _group: &Group<'_>) -> Result<()> {
        Ok(())
    }

    /// Step `step` (from 1) with learning rate `lr`; a parameter's own factor is in
    /// [`ParameterInfo::lr`](crate::protocol::ParameterInfo::lr).
    ///
    /// # Errors
    /// Whatever went wrong; the run ends.
    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()>;

    /// Everything that a resumed run needs, by name.
    ///
    /// # Errors
    /// Whatever went wrong; the run ends.
    fn state(&self) -> Result<State> {
        Ok(State::default())
    }

    /// Takes back what [`state`](Self::state) gave, after [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// When the state does not fit the group.
    fn load(&mut self, _state: State) -> Result<()> {
        Ok(())
    }

    /// Called before an evaluation, a checkpoint or the end (and after them), for optimizers that train at another
    /// point than the one they answer for.
    ///
    /// # Errors
    /// Whatever went wrong; the run ends.
    fn evaluation(&mut self, _group: &Group<'_>, _phase: EvaluationPhase) -> Result<()> {
        Ok(())
    }
}

/// All trainable parameters, in an order that does not change.
pub struct Group<'a> {
    pub parameters: Vec<Parameter<'a>>,
}

impl Group<'_> {
    /// The partner in a pair of factors: B for A, and A for B.
    #[must_use]
    pub fn partner(&self, index: usize) -> Option<usize> {
        let pair = self.parameters.get(index)?.info.pair?;
        self.parameters
            .iter()
            .enumerate()
            .find(|(other, parameter)| *other != index && parameter.info.pair == Some(pair))
            .map(|(other, _)| other)
    }
}

/// A parameter, what is known of it, and its gradient.
#[derive(Clone, Copy)]
pub struct Parameter<'a> {
    pub info: &'a ParameterInfo,
    pub value: &'a Tensor,
    /// Absent in [`Optimizer::prepare`], and where the loss does not depend on the parameter.
    pub grad: Option<&'a Tensor>,
}

/// Named tensors of an optimizer.
#[derive(Default)]
pub struct State {
    tensors: Vec<(String, Tensor)>,
}

impl State {
    /// Adds a tensor under a name of its own.
    ///
    /// # Errors
    /// When the handle is stale.
    pub fn push(&mut self, name: impl Into<String>, tensor: &Tensor) -> Result<()> {
        self.tensors.push((name.into(), tensor.try_clone()?));
        Ok(())
    }

    /// Takes out the tensor of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let place = self.tensors.iter().position(|(other, _)| other == name);
        let place = place.ok_or_else(|| Error::new(format!("the saved state has no `{name}`")))?;
        Ok(self.tensors.swap_remove(place).1)
    }
}

/// The component of an [`Optimizer`].
pub struct Optimize<T> {
    optimizer: T,
    infos: Vec<ParameterInfo>,
}

impl<T> From<T> for Optimize<T> {
    fn from(optimizer: T) -> Self {
        Self {
            optimizer,
            infos: Vec::new(),
        }
    }
}

impl<T: Optimizer> Optimize<T> {
    pub const REQUIRES: &'static [&'static str] = T::REQUIRES;
    /// What the manifest says beside that of every kind.
    pub const MANIFEST: Piece = Piece::Many(&[]);
}

/// The first `n` tensors are the parameters, the next `n`, if any, their gradients.
fn group<'a>(infos: &'a [ParameterInfo], call: &'a Call<'_>) -> Result<Group<'a>> {
    if call.tensors.len() < infos.len() {
        return Err(Error::new(format!(
            "{} tensors for {} parameters",
            call.tensors.len(),
            infos.len()
        )));
    }
    let parameters = infos
        .iter()
        .enumerate()
        .map(|(index, info)| Parameter {
            info,
            value: &call.tensors[index],
            grad: call.tensor(infos.len() + index),
        })
        .collect();
    Ok(Group { parameters })
}

impl<T: Optimizer> Component for Optimize<T> {
    fn invoke(&mut self, call: &Call<'_>) -> Result<Answer> {
        match call.method {
            "prepare" => {
                self.infos = call.read::<PrepareRequest>()?.parameters;
                self.optimizer.prepare(&group(&self.infos, call)?)?;
                Ok(Answer::default())
            }
            "step" => {
                let StepRequest { step, lr } = call.read()?;
                self.optimizer.step(&group(&self.infos, call)?, step, lr)?;
                Ok(Answer::default())
            }
            "state" => {
                let (names, tensors) = self.optimizer.state()?.tensors.into_iter().unzip();
                Answer::new(&OptimizerState { names }, tensors)
            }
            "load" => {
                let names = call.read::<OptimizerState>()?.names;
                if names.len() != call.tensors.len() {
                    return Err(Error::new(format!(
                        "{} names for {} tensors",
                        names.len(),
                        call.tensors.len()
                    )));
                }
                let tensors = names
                    .into_iter()
                    .zip(call.tensors.iter().map(Tensor::try_clone))
                    .map(|(n, t)| Ok((n, t?)));
                self.optimizer.load(State {
                    tensors: tensors.collect::<Result<_>>()?,
                })?;
                Ok(Answer::default())
            }
            "evaluation" => {
                let phase = call.read::<EvaluationPhase>()?;
                self.optimizer
                    .evaluation(&group(&self.infos, call)?, phase)?;
                Ok(Answer::default())
            }
            other => Err(Error::unsupported(other)),
        }
    }
}
