//! What tests of models share: opening, packing, AdamW, comparisons, saying what was skipped.

mod options;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;

use lorahost::adapter::Parameter;
use lorahost::model::{Model, PackedBatch};
use tch::{Kind, Tensor};

pub use options::options;

/// Rows of token ids, packed for `model`.
pub fn pack(model: &Model, rows: &[Vec<i64>]) -> Result<PackedBatch, Box<dyn Error>> {
    let mut offsets = vec![0];
    for row in rows {
        offsets.push(offsets.last().unwrap_or(&0) + i64::try_from(row.len())?);
    }
    Ok(model.pack(&Tensor::from_slice(&rows.concat()), &offsets)?)
}

/// AdamW (arXiv 1711.05101) as `torch.optim.AdamW` has it.
pub struct AdamW {
    parameters: Vec<Parameter>,
    moments: Vec<(Tensor, Tensor)>,
    lr: f64,
    weight_decay: f64,
    steps: i32,
}

impl AdamW {
    pub fn new(parameters: Vec<Parameter>, lr: f64, weight_decay: f64) -> Self {
        let zeros = |parameter: &Parameter| {
            let zeros = parameter.tensor.detach().zeros_like();
            (zeros.copy(), zeros)
        };
        let moments = parameters.iter().map(zeros).collect();
        Self {
            parameters,
            moments,
            lr,
            weight_decay,
            steps: 0,
        }
    }

    pub fn step(&mut self, loss: &Tensor) {
        for parameter in &mut self.parameters {
            parameter.tensor.zero_grad();
        }
        loss.backward();
        self.steps += 1;
        let corrections = [
            1.0 - 0.9_f64.powi(self.steps),
            1.0 - 0.999_f64.powi(self.steps),
        ];
        tch::no_grad(|| {
            for (parameter, (first, second)) in self.parameters.iter_mut().zip(&mut self.moments) {
                let gradient = parameter.tensor.grad();
                if !gradient.defined() {
                    continue;
                }
                let tensor = &mut parameter.tensor;
                let _ = tensor.g_mul_scalar_(1.0 - self.lr * self.weight_decay);
                *first = &*first * 0.9 + &gradient * 0.1;
                *second = &*second * 0.999 + &gradient * &gradient * 0.001;
                let root = (&*second / corrections[1]).sqrt() + 1e-8;
                let _ = tensor.g_sub_(&(&*first / corrections[0] / root * self.lr));
            }
        });
    }
}

/// The file or folder `name` below the folder that `variable` names; where there is none, says so past the capture of
/// passing tests.
pub fn real(test: &str, variable: &str, name: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(|folder| PathBuf::from(folder).join(name));
    let why = match &found {
        None => format!("{variable} is not set"),
        Some(path) if !path.exists() => format!("no {}", path.display()),
        Some(_) => return found,
    };
    let _ = writeln!(std::io::stderr().lock(), "skipped {test}: {why}");
    None
}

pub fn table(rows: &[Vec<f64>]) -> Tensor {
    let rows: Vec<Tensor> = rows.iter().map(|row| Tensor::from_slice(row)).collect();
    Tensor::stack(&rows, 0)
}

pub fn close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let difference = (found.to_kind(Kind::Double) - expected.to_kind(Kind::Double))
        .abs()
        .max();
    let difference = difference.double_value(&[]);
    assert!(difference <= tolerance, "{what}: differs by {difference}");
}

/// Losses within 1e-3 relative.
pub fn follow(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let relative = ((found - expected) / expected).abs();
        assert!(
            relative <= 1e-3,
            "{what}, step {step}: {found}, expected {expected}"
        );
    }
}
