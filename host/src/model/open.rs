//! The model as a whole: opening it, giving it a head and factors, running its encoder.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use super::{
    Architecture, Cache, Config, Draw, Encoder, Head, HeadLayerKind, Loader, ModelError,
    ModelFiles, PackedBatch, Part, WeightFile,
};
use crate::adapter::{
    AdapterError, Factors, LayerInfo, Linear, ModuleKind, Parameter, Role, Targets,
};
use crate::dropout::Pass;
use crate::machine;
use crate::spec::{HeadMode, Method, Seeds, Weights};

/// How a model is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub weights: Weights,
    /// Replaces every dropout probability of `config.json`.
    pub dropout: Option<f64>,
    pub device: Device,
    pub seeds: Seeds,
}

/// An encoder, its head, and what they were made of.
#[derive(Debug)]
pub struct Model {
    architecture: &'static Architecture,
    config: Config,
    files: ModelFiles,
    weights: Option<WeightFile>,
    options: Options,
    shapes_only: bool,
    encoder: Box<dyn Encoder>,
    head: Option<Head>,
}

impl Model {
    /// Opens `builtin:NAME` or a folder with `config.json` and, for pretrained weights, `model.safetensors`.
    ///
    /// # Errors
    /// Files that are absent, malformed or do not fit each other; settings that are not served.
    pub fn open(path: &str, options: Options) -> Result<Self, ModelError> {
        if options.weights == Weights::Random {
            // Weights of a file are as large as the file; drawn ones as a few digits of config.json say.
            Self::outline(path, options)?.refuse_beyond_memory()?;
        }
        let model = Self::load(path, options, false)?;
        model.refuse_unknown_settings()?;
        Ok(model)
    }

    /// As [`Model::open`], with parameters that have names and shapes but no values: for counting, at once and in no
    /// memory, whatever the model's size.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn outline(path: &str, options: Options) -> Result<Self, ModelError> {
        Self::load(path, options, true)
    }

    fn refuse_beyond_memory(&self) -> Result<(), ModelError> {
        let parts = self.parts();
        let parameters = parts.iter().flat_map(|part| part.parameters(0));
        let parameters: u64 = parameters.map(|one| one.tensor.numel() as u64).sum();
        let bytes = parameters * size_of::<f32>() as u64;
        match machine::memory() {
            Some(memory) if bytes > memory => Err(ModelError::BeyondMemory {
                origin: self.config.origin().to_owned(),
                parameters,
                bytes,
                memory,
            }),
            _ => Ok(()),
        }
    }

    fn load(path: &str, options: Options, shapes_only: bool) -> Result<Self, ModelError> {
        let files = ModelFiles::find(path)?;
        let (bytes, origin) = files.config()?;
        let config = Config::parse(&bytes, &origin, options.dropout)?;
        let architecture = Architecture::of(&config)?;
        let weights = match options.weights {
            Weights::Pretrained => Some(files.weights(|name| architecture.canonical(name))?),
            Weights::Random => None,
        };
        let draw = match options.weights {
            Weights::Pretrained => None,
            Weights::Random => Some(Draw {
                seed: options.seeds.init,
                purpose: "weights",
                std: initializer_range(&config)?,
            }),
        };
        let mut loader =
            Loader::new(weights.as_ref(), draw, options.device).shapes_only(shapes_only);
        let encoder = (architecture.encoder)(&config, &mut loader)?;
        loader.finish(|name| architecture.is_harmless(name))?;
        Ok(Self {
            architecture,
            config,
            files,
            weights,
            options,
            shapes_only,
            encoder,
            head: None,
        })
    }

    /// Gives the model the head of `layout` with that many outputs. Layers that the weights hold are pretrained, others
    /// are drawn from the head's seed; a last layer of another number of outputs is drawn anew.
    ///
    /// # Errors
    /// A layout that the architecture has not; weights that do not fit.
    pub fn build_head(&mut self, layout: &str, outputs: i64) -> Result<&Head, ModelError> {
        if outputs < 1 {
            return Err(ModelError::NoOutputs {
                layout: layout.to_owned(),
            });
        }
        let description = (self.architecture.layout(layout)?.describe)(&self.config, outputs)?;
        let draw = Draw {
            seed: self.options.seeds.head,
            purpose: "head",
            std: initializer_range(&self.config)?,
        };
        let mut loader = Loader::new(self.weights.as_ref(), Some(draw), self.options.device)
            .shapes_only(self.shapes_only);
        for layer in description
            .layers
            .iter()
            .filter(|layer| layer.fan_out == outputs && !layer.tied)
        {
            let name = format!("{}.weight", layer.name);
            let found = self
                .weights
                .as_ref()
                .and_then(|weights| weights.shape(&name));
            if let (HeadLayerKind::Linear, Some(&[rows, columns])) = (layer.kind, found)
                && rows != outputs
                && columns == layer.fan_in
            {
                tracing::info!(
                    "`{}` of the model has {rows} outputs, the task {outputs}: it starts anew",
                    layer.name
                );
                loader.ignore(&layer.name);
            }
        }
        let head = Head::load(description, &mut loader, self.encoder.words())?;
        loader.finish(|_| true)?;
        Ok(self.head.insert(head))
    }

    /// The head.
    ///
    /// # Errors
    /// Where [`Model::build_head`] was not called.
    pub fn head(&self) -> Result<&Head, ModelError> {
        self.head.as_ref().ok_or(ModelError::NoHead)
    }

    /// Packs the token ids `[total]` of sequences that are cut at `offsets` (one number more than sequences, from 0 to
    /// the total), for [`Model::forward`] of this model.
    ///
    /// # Errors
    /// Ids or sequence lengths beyond the model's tables; offsets that do not cut the ids into sequences of at least one
    /// token.
    pub fn pack(&self, ids: &Tensor, offsets: &[i64]) -> Result<PackedBatch, ModelError> {
        PackedBatch::new(
            ids,
            offsets,
            self.vocabulary(),
            self.encoder.max_positions(),
        )
    }

    /// Hidden states of every token, `[total, hidden]`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        Ok(self.encoder.forward(batch, pass)?.f_to_kind(Kind::Float)?)
    }

    /// Hidden states of each sequence's first token, `[rows, hidden]`; the last block computes no others.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward_first(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        let hidden = self.encoder.forward_first(batch, pass)?;
        Ok(hidden.f_to_kind(Kind::Float)?)
    }

    /// Hidden states `[new, hidden]` of `ids`, the tokens that go on with the one sequence in `cache`; the cache then
    /// holds them too. Without gradients and dropout.
    ///
    /// # Errors
    /// Ids or positions beyond the model's tables, no ids; what libtorch reports.
    pub fn step(&self, ids: &[i64], cache: &mut Cache) -> Result<Tensor, ModelError> {
        let (vocabulary, positions) = (self.vocabulary(), self.encoder.max_positions());
        let hidden = tch::no_grad(|| {
            let tensor = Tensor::f_from_slice(ids)?.f_to_device(self.device())?;
            let batch = PackedBatch::following(cache.length(), &tensor, vocabulary, positions)?;
            self.encoder.step(&batch, cache)
        })?;
        cache.see(ids);
        Ok(hidden)
    }

    /// The longest sequence that the model takes, in tokens.
    #[must_use]
    pub fn max_positions(&self) -> i64 {
        self.encoder.max_positions()
    }

    #[must_use]
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    #[must_use]
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// Settings of `config.json` that neither the encoder nor any head takes notice of, though they may say something of
    /// the model.
    #[must_use]
    pub fn unknown_settings(&self) -> Vec<String> {
        for layout in self.architecture.layouts {
            // A head that this model cannot have still knows its settings.
            let _ = (layout.describe)(&self.config, 1);
        }
        self.config.unread()
    }

    /// Refuses a model of which [`Model::unknown_settings`] may say something.
    ///
    /// # Errors
    /// All those settings.
    pub fn refuse_unknown_settings(&self) -> Result<(), ModelError> {
        let _ = self.unknown_settings();
        self.config.refuse_unread()
    }

    /// The weight files, where the weights are pretrained.
    #[must_use]
    pub fn weights(&self) -> Option<&WeightFile> {
        self.weights.as_ref()
    }

    #[must_use]
    pub fn device(&self) -> Device {
        self.options.device
    }

    /// Number of token ids that the model knows.
    #[must_use]
    pub fn vocabulary(&self) -> i64 {
        self.encoder.words().weight().size()[0]
    }

    /// The full name of the table of input tokens.
    #[must_use]
    pub fn words_name(&self) -> String {
        self.encoder.words().weight_name()
    }

    /// Every module that has parameters, the head's last.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = self.encoder.parts();
        parts.extend(self.head.iter().flat_map(Head::parts));
        parts
    }

    /// Every linear layer, the head's last; a layer's position here is its index.
    #[must_use]
    pub fn linears(&self) -> Vec<&Linear> {
        let linear = |part| {
            if let Part::Linear(linear) = part {
                Some(linear)
            } else {
                None
            }
        };
        self.parts().into_iter().filter_map(linear).collect()
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut linears = self.encoder.linears_mut();
        linears.extend(self.head.iter_mut().flat_map(Head::linears_mut));
        linears
    }

    /// The layers that are to get LoRA: the encoder's that `targets` chooses, and with [`HeadMode::Lora`] the head's.
    /// Layers whose weight is another module's own are left out.
    ///
    /// # Errors
    /// Where `targets` chooses none; the error lists the names.
    pub fn targets(&self, targets: &Targets, head: HeadMode) -> Result<Vec<LayerInfo>, ModelError> {
        let linears = self.linears();
        let in_encoder = |linear: &Linear| linear.kind() != ModuleKind::Head;
        if !linears
            .iter()
            .any(|linear| in_encoder(linear) && targets.choose(linear))
        {
            let names = linears.iter().filter(|linear| in_encoder(linear));
            return Err(ModelError::Adapter(AdapterError::NothingMatches {
                pattern: targets.to_string(),
                names: names.map(|linear| linear.name().to_owned()).collect(),
            }));
        }
        let chosen = |linear: &Linear| match linear.kind() {
            ModuleKind::Head => head == HeadMode::Lora && !linear.is_tied(),
            _ => targets.choose(linear),
        };
        let layers = linears
            .iter()
            .enumerate()
            .filter(|(_, linear)| chosen(linear));
        Ok(layers.map(|(index, linear)| linear.info(index)).collect())
    }

    /// The smallest `min(fan_in, fan_out)` among the layers that [`Model::targets`] chooses, and that layer's name: a rank
    /// above it adds parameters there but no rank of the update.
    ///
    /// # Errors
    /// As [`Model::targets`].
    pub fn rank_bound(
        &self,
        targets: &Targets,
        head: HeadMode,
    ) -> Result<(i64, String), ModelError> {
        let layers = self.targets(targets, head)?.into_iter();
        let bounds = layers.map(|layer| (layer.fan_in.min(layer.fan_out), layer.name));
        // The first of equals; there is at least one layer.
        Ok(bounds
            .min_by_key(|(bound, _)| *bound)
            .unwrap_or((i64::MAX, String::new())))
    }

    /// Merges the factors of every layer into its weight.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn merge(&mut self) -> Result<(), ModelError> {
        Ok(self.linears_mut().into_iter().try_for_each(Linear::merge)?)
    }

    /// Puts LoRA on the linear layer `index`. A rank above [`Model::rank_bound`] is allowed.
    ///
    /// # Errors
    /// Factors of wrong shape or with values that are not finite.
    ///
    /// # Panics
    /// Where `index` is not that of a layer from [`Model::targets`].
    pub fn attach(&mut self, index: usize, factors: Factors) -> Result<(), ModelError> {
        let rank = factors.a.size().first().copied().unwrap_or(0);
        let mut linears = self.linears_mut();
        let linear = &mut *linears[index];
        linear.attach(factors)?;
        let bound = linear.fan_in().min(linear.fan_out());
        if rank > bound {
            let name = linear.name();
            tracing::info!("rank {rank} is above min(fan_in, fan_out) = {bound} of `{name}`");
        }
        Ok(())
    }

    /// Lets those parameters learn that `method` trains, and freezes all others. Full fine-tuning trains everything;
    /// LoRA its factors and, with [`HeadMode::Train`], the head.
    pub fn train(&self, method: Method, head: HeadMode) {
        let full = method == Method::Full;
        for part in self.encoder.parts() {
            part.train(full);
        }
        for part in self.head.iter().flat_map(Head::parts) {
            part.train(full || head == HeadMode::Train);
        }
    }

    /// Makes the products of all linear layers in bfloat16 from now on. To be called when [`Model::train`] has settled what
    /// learns, which stays float32; hidden states and what the head's layers give are float32 as before.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn lower(&self) -> Result<(), ModelError> {
        let lowered = self.linears().into_iter().map(Linear::lower);
        Ok(lowered.collect::<Result<(), _>>()?)
    }

    /// Lets further parameters learn, by their full names.
    pub fn train_also(&self, names: &BTreeSet<String>) {
        for parameter in self.all_parameters() {
            if names.contains(&parameter.name) {
                let _ = parameter.tensor.set_requires_grad(true);
            }
        }
    }

    /// Every parameter, frozen ones too, always in the same order.
    #[must_use]
    pub fn all_parameters(&self) -> Vec<Parameter> {
        let mut index = 0;
        let mut parameters = Vec::new();
        for part in self.parts() {
            parameters.extend(part.parameters(index));
            index += usize::from(matches!(part, Part::Linear(_)));
        }
        parameters
    }

    /// The parameters that learn, always in the same order.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        self.all_parameters()
            .into_iter()
            .filter(|parameter| parameter.tensor.requires_grad())
            .collect()
    }

    /// Whether a parameter is a LoRA factor.
    pub(super) fn is_factor(parameter: &Parameter) -> bool {
        matches!(parameter.role, Role::A | Role::B)
    }
}

fn initializer_range(config: &Config) -> Result<f64, ModelError> {
    config.positive("initializer_range", 0.02)
}
