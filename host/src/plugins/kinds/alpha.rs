//! Alpha policies: one scale a layer.

use lorahost_plugin_api::protocol::{AlphaReply, AlphaRequest, Layer};

use crate::plugins::component::Invocation;
use crate::plugins::scope::Scope;
use crate::plugins::{Component, PluginError};

/// An alpha policy of a plugin.
pub struct AlphaPolicy(Component);

impl AlphaPolicy {
    #[must_use]
    pub fn new(component: Component) -> Self {
        Self(component)
    }

    /// The scale of a layer, and factors on the learning rates of its A and B.
    ///
    /// # Errors
    /// When the policy fails, or answers what is not finite, or a learning rate below 0.
    pub fn scale(&self, layer: &Layer) -> Result<AlphaReply, PluginError> {
        let request = AlphaRequest {
            layer: layer.clone(),
        };
        let place = format!("layer {}", layer.name);
        let invocation = Invocation {
            method: "scale",
            place: &place,
            tensors: &[],
            scope: Scope::default(),
            records: false,
        };
        let reply: AlphaReply = self.0.invoke(&request, invocation)?.message;
        let AlphaReply { scale, lr_a, lr_b } = reply;
        if !scale.is_finite() {
            let message = "its scale is not finite (NaN or infinity)";
            return Err(self.0.error("scale", &place, message));
        }
        if !(lr_a.is_finite() && lr_b.is_finite() && lr_a >= 0.0 && lr_b >= 0.0) {
            let message = format!(
                "its factors {lr_a} and {lr_b} on the learning rates are not both finite and 0 or more"
            );
            return Err(self.0.error("scale", &place, message));
        }
        Ok(reply)
    }
}
