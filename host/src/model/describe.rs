//! Counts of layers and parameters, and how they read.

use std::fmt;

use super::{HeadDescription, Model};

/// A model in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Linear layers of encoder and head.
    pub linear_layers: usize,
    /// Those of them that have LoRA.
    pub wrapped: usize,
    /// Parameters, LoRA's own included.
    pub total: usize,
    pub trainable: usize,
}

impl Model {
    /// Counts layers and parameters.
    #[must_use]
    pub fn describe(&self) -> Description {
        let linears = self.linears();
        let count = |parameters: Vec<crate::adapter::Parameter>| {
            parameters
                .iter()
                .map(|parameter| parameter.tensor.numel())
                .sum()
        };
        Description {
            linear_layers: linears.len(),
            wrapped: linears.iter().filter(|linear| linear.is_wrapped()).count(),
            total: count(self.all_parameters()),
            trainable: count(self.parameters()),
        }
    }

    /// The head's description, where there is a head.
    #[must_use]
    pub fn head_description(&self) -> Option<&HeadDescription> {
        self.head().ok().map(super::Head::description)
    }
}

impl fmt::Display for Description {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            linear_layers,
            wrapped,
            total,
            trainable,
        } = *self;
        let share = 100.0 * trainable as f64 / total as f64;
        if wrapped > 0 {
            write!(out, "wrapped {wrapped} of {linear_layers} linear layers; ")?;
        }
        write!(
            out,
            "trainable {} of {} parameters ({share:.1}%)",
            grouped(trainable),
            grouped(total)
        )
    }
}

/// 1234567 as `1,234,567`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let description = Description {
            linear_layers: 36,
            wrapped: 36,
            total: 23_456_789,
            trainable: 1_234,
        };
        assert_eq!(
            description.to_string(),
            "wrapped 36 of 36 linear layers; trainable 1,234 of 23,456,789 parameters (0.0%)"
        );
    }
}
