//! Init schemes: A and B of a layer.

use lorahost_plugin_api::abi::RANKS;
use lorahost_plugin_api::protocol::{
    Factor, InitReply, InitRequest, Layer, RanksReply, RanksRequest,
};
use tch::{Device, Kind, Tensor};

use crate::plugins::component::{Invocation, Reply};
use crate::plugins::scope::Scope;
use crate::plugins::{Component, InitAccess, PluginError};

/// An init scheme of a plugin.
pub struct InitScheme {
    component: Component,
    seed: u64,
    access: InitAccess,
}

/// What a scheme gave for a layer, checked.
#[derive(Debug)]
pub struct LayerFactors {
    /// `[rank, fan_in]`
    pub a: Tensor,
    /// `[fan_out, rank]`
    pub b: Tensor,
    /// The base weight is to become W - s B A.
    pub compensate: bool,
    pub frozen: Option<Factor>,
}

impl InitScheme {
    #[must_use]
    pub fn new(component: Component, seed: u64, access: InitAccess) -> Self {
        Self {
            component,
            seed,
            access,
        }
    }

    /// Whether the scheme is to be asked for [`ranks`](Self::ranks).
    #[must_use]
    pub fn chooses_ranks(&self) -> bool {
        self.component.requires(RANKS)
    }

    /// The rank of each layer, 0 for one that is to have no factors; none if all keep theirs.
    ///
    /// # Errors
    /// When the scheme fails, or answers for another number of layers, or leaves none with factors.
    pub fn ranks(
        &self,
        layers: &[Layer],
        device: Device,
    ) -> Result<Option<Vec<usize>>, PluginError> {
        let request = RanksRequest {
            layers: layers.to_vec(),
        };
        let invocation = Invocation {
            method: "ranks",
            place: "",
            tensors: &[],
            scope: Scope {
                streams: Some((self.seed, "init", "ranks".to_owned())),
                init: Some(self.access.clone()),
                defaults: Some((Kind::Float, device)),
                ..Scope::default()
            },
            records: false,
        };
        let reply: RanksReply = self.component.invoke(&request, invocation)?.message;
        let Some(ranks) = reply.ranks else {
            return Ok(None);
        };
        let wrong = if ranks.len() != layers.len() {
            format!(
                "it answered {} ranks for {} layers",
                ranks.len(),
                layers.len()
            )
        } else if ranks.iter().all(|&rank| rank == 0) {
            "it answered rank 0 for every layer".to_owned()
        } else {
            return Ok(Some(ranks));
        };
        Err(self.component.error("ranks", "", wrong))
    }

    /// The factors of a layer whose weight is W `[fan_out, fan_in]`; they have its dtype and device.
    ///
    /// # Errors
    /// When the scheme fails, or answers other shapes, or values that are not finite.
    pub fn init(&self, layer: &Layer, weight: &Tensor) -> Result<LayerFactors, PluginError> {
        let place = format!("layer {}", layer.name);
        let (kind, device) = (weight.kind(), weight.device());
        let scope = Scope {
            streams: Some((self.seed, "init", layer.name.clone())),
            weight: Some(weight.detach().copy()),
            init: Some(self.access.clone()),
            defaults: Some((kind, device)),
            ..Scope::default()
        };
        let request = InitRequest {
            layer: layer.clone(),
        };
        let invocation = Invocation {
            method: "init",
            place: &place,
            tensors: &[],
            scope,
            records: false,
        };
        let Reply { message, tensors } = self
            .component
            .invoke::<_, InitReply>(&request, invocation)?;
        let [a, b]: [Tensor; 2] = tensors.try_into().map_err(|other: Vec<Tensor>| {
            self.component.error(
                "init",
                &place,
                format!("it answered {} tensors, not A and B", other.len()),
            )
        })?;
        let check = |name, tensor: Tensor, shape: [usize; 2]| {
            checked(&tensor, shape, kind, device).map_err(|message| {
                self.component
                    .error("init", &place, format!("{name} {message}"))
            })
        };
        Ok(LayerFactors {
            a: check("A", a, [layer.rank, layer.fan_in])?,
            b: check("B", b, [layer.fan_out, layer.rank])?,
            compensate: message.compensate,
            frozen: message.frozen,
        })
    }
}

/// The tensor as a leaf of its own, if it is what was asked for.
fn checked(
    tensor: &Tensor,
    shape: [usize; 2],
    kind: Kind,
    device: Device,
) -> Result<Tensor, String> {
    let found = tensor.size();
    if !found.iter().copied().eq(shape.map(|size| size as i64)) {
        return Err(format!("has shape {found:?}, expected {shape:?}"));
    }
    if tensor.kind() != kind || tensor.device() != device {
        return Err(format!(
            "is {:?} on {:?}, expected {kind:?} on {device:?}",
            tensor.kind(),
            tensor.device()
        ));
    }
    let finite = tensor
        .f_isfinite()
        .and_then(|finite| finite.f_all()?.f_int64_value(&[]));
    if finite.map_err(unusable)? == 0 {
        return Err("holds values that are not finite (NaN or infinity)".to_owned());
    }
    let leaf = tensor.f_detach().and_then(|tensor| tensor.f_contiguous());
    leaf.map_err(unusable)
}

#[expect(clippy::needless_pass_by_value, reason = "that is what map_err gives")]
fn unusable(error: tch::TchError) -> String {
    format!("cannot be used: {error}")
}
