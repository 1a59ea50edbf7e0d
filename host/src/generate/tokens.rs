//! One token after the other.

use tch::Tensor;

use super::{GenerateError, Sampling};
use crate::model::{Cache, Model, Pass, activation};
use crate::random::Stream;

/// Why the text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The model wrote the token that ends a text.
    EndOfText,
    /// As many tokens were written as were asked for.
    MaxNewTokens,
    /// The model has no further position.
    Positions,
}

impl Stop {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EndOfText => "end-of-text",
            Self::MaxNewTokens => "max-new-tokens",
            Self::Positions => "positions",
        }
    }
}

/// The tokens that a model with the head `causal` writes after a prompt, without the one that ends the text.
#[derive(Debug)]
pub struct Tokens<'a> {
    model: &'a Model,
    sampling: Sampling,
    stream: Stream,
    end_of_text: &'a [i64],
    left: usize,
    cache: Cache,
    /// What the model has not seen yet.
    unseen: Vec<i64>,
    stop: Option<Stop>,
}

impl<'a> Tokens<'a> {
    /// At most `left` tokens after `prompt`; draws come from the stream (`seed`, "generate", "tokens").
    ///
    /// # Errors
    /// A prompt of no token, or of more than the model has positions.
    pub fn new(
        model: &'a Model,
        prompt: &[i64],
        left: usize,
        sampling: Sampling,
        seed: u64,
        end_of_text: &'a [i64],
    ) -> Result<Self, GenerateError> {
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let positions = model.max_positions();
        if prompt.len() as i64 > positions {
            let tokens = prompt.len();
            return Err(GenerateError::LongPrompt { tokens, positions });
        }
        Ok(Self {
            model,
            sampling,
            stream: Stream::named(seed, "generate", "tokens"),
            end_of_text,
            left,
            cache: Cache::default(),
            unseen: prompt.to_vec(),
            stop: None,
        })
    }

    /// Why there is no further token, once there is none.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// The token after all so far.
    fn choose(&mut self) -> Result<i64, GenerateError> {
        let hidden = self.model.step(&self.unseen, &mut self.cache)?;
        self.unseen.clear();
        let scores = tch::no_grad(|| scores(self.model, &hidden))?;
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(GenerateError::NotFinite);
        }
        Ok(self.sampling.choose(&scores, &mut self.stream) as i64)
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<i64, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stop.is_some() {
            return None;
        }
        if self.left == 0 {
            self.stop = Some(Stop::MaxNewTokens);
            return None;
        }
        if self.cache.length() + self.unseen.len() as i64 > self.model.max_positions() {
            self.stop = Some(Stop::Positions);
            return None;
        }
        let token = match self.choose() {
            Ok(token) => token,
            Err(error) => return Some(Err(error)),
        };
        if self.end_of_text.contains(&token) {
            self.stop = Some(Stop::EndOfText);
            return None;
        }
        self.left -= 1;
        self.unseen.push(token);
        Some(Ok(token))
    }
}

/// The scores of the token after the last of `hidden`.
fn scores(model: &Model, hidden: &Tensor) -> Result<Vec<f32>, GenerateError> {
    let head = model.head()?;
    let mut x = hidden.f_narrow(0, -1, 1)?;
    for layer in &head.description().layers {
        x = head.linear(&layer.name, &x, &Pass::evaluation())?;
        if let Some(function) = layer.activation {
            x = activation::apply(function, &x)?;
        }
    }
    Ok(Vec::try_from(x.f_flatten(0, -1)?)?)
}
