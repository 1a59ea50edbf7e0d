//! Optimizers: the whole group of parameters in one call a step.

use super::{Answer, Call, Error, Kind, Params, Result, Tensor, op};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{
    EvaluationPhase, EvaluationRequest, OptimizerState, ParameterInfo, PrepareRequest, StepRequest,
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

/// Parameters that move by the same rule: what one call over many tensors may take together.
pub struct Alike {
    /// Factor on the learning rate.
    pub lr: f64,
    /// Whether weight decay applies.
    pub decay: bool,
    /// Places in the group, rising.
    pub members: Vec<usize>,
}

impl Alike {
    /// The members' values and gradients.
    #[must_use]
    pub fn of<'a>(&self, group: &Group<'a>) -> (Vec<&'a Tensor>, Vec<&'a Tensor>) {
        let members = self.members.iter().filter_map(|&place| {
            let parameter = group.parameters.get(place)?;
            Some((parameter.value, parameter.grad?))
        });
        members.unzip()
    }

    /// What the members have in a list of one entry for each parameter of the group.
    #[must_use]
    pub fn pick<'s, S>(
        &self,
        states: &'s [S],
        part: impl Fn(&'s S) -> &'s Tensor,
    ) -> Vec<&'s Tensor> {
        let members = self.members.iter().filter_map(|&place| states.get(place));
        members.map(part).collect()
    }
}

impl<'a> Group<'a> {
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

    /// The parameters that have a gradient, together where factor on the learning rate and weight decay are the same.
    #[must_use]
    pub fn alike(&self) -> Vec<Alike> {
        let sets = self.alike_by(|_| ());
        sets.into_iter().map(|((), set)| set).collect()
    }

    /// As [`alike`](Self::alike), together only where what `key` says of a parameter's place is the same too.
    pub(super) fn alike_by<K: PartialEq>(&self, key: impl Fn(usize) -> K) -> Vec<(K, Alike)> {
        let mut sets: Vec<(K, Alike)> = Vec::new();
        for (place, Parameter { info, grad, .. }) in self.parameters.iter().enumerate() {
            if grad.is_none() {
                continue;
            }
            let own = key(place);
            let fits = |(key, set): &&mut (K, Alike)| {
                *key == own && (set.lr, set.decay) == (info.lr, info.decay)
            };
            if let Some((_, set)) = sets.iter_mut().find(fits) {
                set.members.push(place);
                continue;
            }
            let set = Alike {
                lr: info.lr,
                decay: info.decay,
                members: vec![place],
            };
            sets.push((own, set));
        }
        sets
    }

    /// The part of the group that `keep` wants, in the same order.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&ParameterInfo) -> bool) -> Group<'a> {
        let kept = self.parameters.iter().filter(|one| keep(one.info));
        Group {
            parameters: kept.copied().collect(),
        }
    }

    /// The group with other gradients, one a parameter; where there is none, the parameter keeps its own.
    #[must_use]
    pub fn with_gradients<'b>(&'b self, gradients: &'b [Option<Tensor>]) -> Group<'b> {
        let both = self.parameters.iter().zip(gradients);
        Group {
            parameters: both
                .map(|(parameter, gradient)| Parameter {
                    grad: gradient.as_ref().or(parameter.grad),
                    ..*parameter
                })
                .collect(),
        }
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

impl ParameterInfo {
    /// `1/s^2`, for optimizers that take a step of the factors for one of the weight.
    ///
    /// # Errors
    /// When the scale is 0: then A and B do not reach the weight.
    pub fn inverse_square_scale(&self) -> Result<f64> {
        if self.scale == 0.0 {
            return Err(Error::new(format!(
                "{} has the scale 0, by which this optimizer divides",
                self.name
            ))
            .with_help("choose an alpha policy that gives another scale"));
        }
        Ok(self.scale.powi(-2))
    }
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

    /// Adds a number under a name of its own; it is kept exactly, whatever the type of the parameters.
    ///
    /// # Errors
    /// When the host refuses the operator.
    pub fn push_number(&mut self, name: impl Into<String>, value: f64) -> Result<()> {
        let number = op("aten::full")
            .arg(&[])
            .arg(value)
            .named("dtype", Kind::Double)
            .tensor()?;
        self.tensors.push((name.into(), number));
        Ok(())
    }

    /// Takes out the number of this name.
    ///
    /// # Errors
    /// When there is none, or a tensor in its place.
    pub fn take_number(&mut self, name: &str) -> Result<f64> {
        self.take(name)?.item()
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
                let EvaluationRequest { phase } = call.read()?;
                self.optimizer
                    .evaluation(&group(&self.infos, call)?, phase)?;
                Ok(Answer::default())
            }
            other => Err(Error::unsupported(other)),
        }
    }
}
