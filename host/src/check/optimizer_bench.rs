//! A small group of parameters with a loss, and an optimizer at work on it.

use lorahost_plugin_api::protocol::{EvaluationPhase, ParameterInfo, Role};
use tch::{Kind, Tensor};

use super::sample::{normal, same};
use super::subject::{Stop, Subject};
use crate::native::gradients::forget;
use crate::plugins::{Optimizer, OptimizerGroup, PluginError};

/// Which parameters there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// Two pairs of factors and a head.
    Lora,
    /// The pairs with one factor frozen, and a head.
    Lone(Role),
    /// Weight, bias, norm, embedding and head.
    Full,
}

/// An optimizer with its group, and the loss of that group.
pub struct Descent {
    pub optimizer: Optimizer,
    pairs: Vec<Pair>,
    others: Vec<Aim>,
    steps: u64,
}

/// s B A is to become the target.
struct Pair {
    a: Tensor,
    b: Tensor,
    target: Tensor,
}

/// A tensor is to become the target.
struct Aim {
    value: Tensor,
    target: Tensor,
}

/// s of every pair.
const SCALE: f64 = 2.0;
/// `(fan_out, fan_in, rank)` of the pairs.
const PAIRS: [(i64, i64, i64); 2] = [(12, 16, 4), (20, 8, 2)];

impl Descent {
    /// A new component with its defaults, prepared. `adjust` may change what it knows of the parameters.
    pub fn new(
        subject: &Subject,
        members: Members,
        kind: Kind,
        adjust: impl Fn(&mut ParameterInfo),
    ) -> Result<Result<Self, PluginError>, Stop> {
        let (mut infos, mut values) = (Vec::new(), Vec::new());
        let mut learn = |name: String, role, pair, value: &Tensor| {
            let mut info = ParameterInfo {
                name,
                role,
                pair,
                scale: if pair.is_some() { SCALE } else { 1.0 },
                lr: 1.0,
                decay: !matches!(role, Role::Bias | Role::Norm),
            };
            adjust(&mut info);
            infos.push(info);
            let value = value.set_requires_grad(true);
            values.push(value.shallow_clone());
            value
        };
        let mut pairs = Vec::new();
        for (number, (fan_out, fan_in, rank)) in PAIRS.into_iter().enumerate() {
            if members == Members::Full {
                break;
            }
            let module = format!("encoder.layer.{number}.dense");
            let mut a =
                normal(&format!("A {number}"), &[rank, fan_in], kind) / (fan_in as f64).sqrt();
            let mut b = normal(&format!("B {number}"), &[fan_out, rank], kind) * 0.1;
            if members != Members::Lone(Role::B) {
                a = learn(format!("{module}.lora_A"), Role::A, Some(number), &a);
            }
            if members != Members::Lone(Role::A) {
                b = learn(format!("{module}.lora_B"), Role::B, Some(number), &b);
            }
            // Of rank 1, so that a rank is enough.
            let target = normal(&format!("column {number}"), &[fan_out, 1], kind).matmul(&normal(
                &format!("row {number}"),
                &[1, fan_in],
                kind,
            ));
            pairs.push(Pair {
                a,
                b,
                target: target * 0.5,
            });
        }
        let others: &[(&str, Role, &[i64])] = match members {
            Members::Full => &[
                ("encoder.layer.0.dense.weight", Role::Base, &[12, 16]),
                ("encoder.layer.0.dense.bias", Role::Bias, &[12]),
                ("encoder.layer.0.norm.weight", Role::Norm, &[16]),
                ("embeddings.weight", Role::Embedding, &[30, 16]),
                ("classifier.weight", Role::Head, &[3, 16]),
                ("classifier.bias", Role::Head, &[3]),
            ],
            _ => &[
                ("classifier.weight", Role::Head, &[3, 16]),
                ("classifier.bias", Role::Head, &[3]),
            ],
        };
        let others = others.iter().map(|&(name, role, shape)| Aim {
            value: learn(
                name.to_owned(),
                role,
                None,
                &(normal(name, shape, kind) * 0.2),
            ),
            target: normal(&format!("target of {name}"), shape, kind) * 0.5,
        });
        let others = others.collect();
        let group = OptimizerGroup { infos, values };
        let optimizer = Optimizer::new(subject.create()?, group, 7);
        Ok(optimizer.map(|optimizer| Self {
            optimizer,
            pairs,
            others,
            steps: 0,
        }))
    }

    /// As [`Descent::new`] for LoRA in float32; that it is refused is a failure.
    pub fn lora(subject: &Subject) -> Result<Self, Stop> {
        Ok(Self::new(subject, Members::Lora, Kind::Float, |_| ())??)
    }

    /// Half the sum of squared distances.
    pub fn loss(&self) -> Tensor {
        let pairs = self.pairs.iter().map(|Pair { a, b, target }| {
            let apart: Tensor = b.matmul(a) * SCALE - target;
            apart.square().sum(apart.kind()) * 0.5
        });
        let others = self.others.iter().map(|Aim { value, target }| {
            let apart: Tensor = value - target;
            apart.square().sum(apart.kind()) * 0.5
        });
        pairs
            .chain(others)
            .reduce(|sum, term| sum + term)
            .unwrap_or_default()
    }

    /// The loss as an evaluation sees it.
    pub fn evaluated(&self) -> Result<f64, PluginError> {
        self.optimizer.evaluation(EvaluationPhase::Before)?;
        let loss = tch::no_grad(|| self.loss().double_value(&[]));
        self.optimizer.evaluation(EvaluationPhase::After)?;
        Ok(loss)
    }

    /// Steps along the loss's gradient.
    pub fn steps(&mut self, count: u64, lr: f64) -> Result<(), Stop> {
        for _ in 0..count {
            self.backward()?;
            self.step(lr)?;
        }
        Ok(())
    }

    /// Leaves the loss's gradients at the parameters, and none of before.
    pub fn backward(&self) -> Result<(), Stop> {
        self.forget()?;
        self.loss().f_backward()?;
        Ok(())
    }

    /// Takes all gradients away.
    pub fn forget(&self) -> Result<(), Stop> {
        for value in self.values() {
            forget(value)?;
        }
        Ok(())
    }

    /// Leaves gradients that are this one value everywhere.
    pub fn gradients_of(&self, value: f64) -> Result<(), Stop> {
        self.backward()?;
        for parameter in self.values() {
            let _ = parameter.grad().f_fill_(value)?;
        }
        Ok(())
    }

    /// One step along the gradients that are there.
    pub fn step(&mut self, lr: f64) -> Result<(), PluginError> {
        self.steps += 1;
        self.optimizer.step(self.steps, lr)
    }

    /// Goes on where another one is: its values, its saved state, its number of steps.
    pub fn resume(&mut self, other: &Self) -> Result<(), PluginError> {
        for (value, of_other) in self.values().iter().zip(other.values()) {
            tch::no_grad(|| value.shallow_clone().copy_(of_other));
        }
        // As from a file: the other one goes on with tensors of its own.
        let saved = other.optimizer.state()?.into_iter();
        let saved: Vec<_> = saved.map(|(name, tensor)| (name, tensor.copy())).collect();
        self.optimizer.load(&saved)?;
        self.steps = other.steps;
        Ok(())
    }

    pub fn values(&self) -> &[Tensor] {
        &self.optimizer.group().values
    }

    /// Copies of the parameters.
    pub fn snapshot(&self) -> Vec<Tensor> {
        self.values()
            .iter()
            .map(|value| value.detach().copy())
            .collect()
    }

    /// The first parameter that is not what it is in `snapshot`, bit for bit.
    pub fn differs(&self, snapshot: &[Tensor]) -> Option<&str> {
        let infos = &self.optimizer.group().infos;
        let mut all = infos.iter().zip(self.values()).zip(snapshot);
        let found = all.find(|((_, value), before)| !same(&value.detach(), before));
        found.map(|((info, _), _)| info.name.as_str())
    }

    /// The first parameter that is not finite.
    pub fn broken(&self) -> Option<&str> {
        let infos = &self.optimizer.group().infos;
        let mut all = infos.iter().zip(self.values());
        let found = all.find(|(_, value)| value.isfinite().all().int64_value(&[]) == 0);
        found.map(|(info, _)| info.name.as_str())
    }
}
