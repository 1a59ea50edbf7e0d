use super::{Answer, Call, Error, Params, Result, Tensor};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{
    EvaluationPhase, EvaluationRequest, OptimizerState, ParameterInfo, PrepareRequest, StepRequest,
};

pub trait Optimizer: Params {
    const REQUIRES: &'static [&'static str] = &[];

    fn prepare(&mut self, _group: &Group<'_>) -> Result<()> {
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()>;

    fn state(&self) -> Result<State> {
        Ok(State::default())
    }

    fn load(&mut self, _state: State) -> Result<()> {
        Ok(())
    }

    fn evaluation(&mut self, _group: &Group<'_>, _phase: EvaluationPhase) -> Result<()> {
        Ok(())
    }
}

pub struct Group<'a> {
    pub parameters: Vec<Parameter<'a>>,
}

pub struct Alike {
    pub lr: f64,
    pub decay: bool,
    pub members: Vec<usize>,
}

impl Alike {
    #[must_use]
    pub fn of<'a>(&self, group: &Group<'a>) -> (Vec<&'a Tensor>, Vec<&'a Tensor>) {
        let members = self.members.iter().filter_map(|&place| {
            let parameter = group.parameters.get(place)?;
            Some((parameter.value, parameter.grad?))
        });
        members.unzip()
    }

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
    #[must_use]
    pub fn alike(&self) -> Vec<Alike> {
        let mut sets: Vec<Alike> = Vec::new();
        for (place, Parameter { info, grad, .. }) in self.parameters.iter().enumerate() {
            if grad.is_none() {
                continue;
            }
            let fits = |set: &&mut Alike| (set.lr, set.decay) == (info.lr, info.decay);
            match sets.iter_mut().find(fits) {
                Some(set) => set.members.push(place),
                None => sets.push(Alike {
                    lr: info.lr,
                    decay: info.decay,
                    members: vec![place],
                }),
            }
        }
        sets
    }

}

#[derive(Clone, Copy)]
pub struct Parameter<'a> {
    pub info: &'a ParameterInfo,
    pub value: &'a Tensor,
    pub grad: Option<&'a Tensor>,
}

#[derive(Default)]
pub struct State {
    tensors: Vec<(String, Tensor)>,
}

impl State {
    pub fn push(&mut self, name: impl Into<String>, tensor: &Tensor) -> Result<()> {
        self.tensors.push((name.into(), tensor.try_clone()?));
        Ok(())
    }

    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let place = self.tensors.iter().position(|(other, _)| other == name);
        let place = place.ok_or_else(|| Error::new(format!("the saved state has no `{name}`")))?;
        Ok(self.tensors.swap_remove(place).1)
    }
}

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
    pub const MANIFEST: Piece = Piece::Many(&[]);
}

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
