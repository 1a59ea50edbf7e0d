//! What happens while a run goes on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Diagnostics, figure};

/// One thing that happened in a run. [`Event::is_recorded`] ones are the lines of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The model is built and training begins.
    Start {
        /// Steps that the whole run will take.
        steps: usize,
        linear_layers: usize,
        /// Those of them that have LoRA.
        wrapped_layers: usize,
        trainable_parameters: u64,
        total_parameters: u64,
    },
    /// One optimizer step was made.
    Step {
        /// Counted from 1.
        step: usize,
        /// Counted from 1.
        epoch: usize,
        /// Mean training loss of the step's batches, weighted by what the head counts (rows or tokens). Absent where
        /// it counted nothing; the optimizer then made no step.
        #[serde(
            default,
            deserialize_with = "figure::present",
            skip_serializing_if = "Option::is_none"
        )]
        loss: Option<f64>,
        lr: f64,
    },
    /// A whole split was evaluated after `step` steps; 0 is the untrained model.
    Evaluation {
        split: Split,
        step: usize,
        epoch: usize,
        #[serde(deserialize_with = "figure::one")]
        loss: f64,
        #[serde(deserialize_with = "figure::by_name")]
        metrics: BTreeMap<String, f64>,
    },
    /// Norms of the model, after an evaluation of the validation split.
    Diagnostics(Diagnostics),
    /// A plugin is about to be called: if the process ends now, this is where.
    Calling(PluginCall),
    /// The plugin came back.
    Returned,
    /// What a newer lorahost writes; nobody writes it here.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// Whether it belongs into `metrics.jsonl`. Plugin calls do not: they only say where a worker died.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        !matches!(self, Self::Calling(_) | Self::Returned | Self::Unknown)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    Validation,
    Test,
}

impl Split {
    /// As in records and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// A call into a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCall {
    /// The plugin's file.
    pub plugin: String,
    /// Kind and name, `init gaussian`.
    pub component: String,
    /// What it was called for, `prepare`, `init`, `step`, `loss`.
    pub phase: String,
    /// Name of the layer, where the call concerns one.
    pub layer: Option<String>,
}

impl std::fmt::Display for PluginCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} in {}", self.phase, self.component, self.plugin)?;
        match &self.layer {
            Some(layer) => write!(f, ", layer {layer}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_survives_as_nan() {
        let survivor = |loss, expected: &str| {
            let event = Event::Step {
                step: 1,
                epoch: 1,
                loss,
                lr: 0.1,
            };
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(line, expected);
            let Event::Step { loss, .. } = serde_json::from_str(&line).unwrap() else {
                panic!("another event");
            };
            loss
        };
        let line = r#"{"event":"step","step":1,"epoch":1,"loss":null,"lr":0.1}"#;
        assert!(survivor(Some(f64::NAN), line).is_some_and(f64::is_nan));
        let line = r#"{"event":"step","step":1,"epoch":1,"lr":0.1}"#;
        assert_eq!(survivor(None, line), None);
    }

    #[test]
    fn events_survive_json() {
        let call = PluginCall {
            plugin: "plugins/gaussian_init.so".into(),
            component: "init gaussian".into(),
            phase: "init".into(),
            layer: Some("encoder.layer.0".into()),
        };
        let events = [
            Event::Start {
                steps: 10,
                linear_layers: 8,
                wrapped_layers: 6,
                trainable_parameters: 3,
                total_parameters: 7,
            },
            Event::Evaluation {
                split: Split::Validation,
                step: 10,
                epoch: 1,
                loss: 0.1 + 0.2,
                metrics: [("acc".to_owned(), 0.5)].into(),
            },
            Event::Calling(call),
            Event::Returned,
        ];
        for event in events {
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(
                serde_json::from_str::<Event>(&line).unwrap(),
                event,
                "{line}"
            );
        }
    }
}
