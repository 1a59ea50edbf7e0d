use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use lorahost::adapter::{Factors, Targets};
use lorahost::model::Model;
use lorahost::spec::{HeadMode, Method, Weights};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::folder::{FAMILIES, Outcome, close, hidden, open, open_folder, options, reference};

#[test]
fn every_architecture_and_head_is_written_as_it_was_read() -> Outcome {
    for family in FAMILIES {
        let original = shapes(&reference(family).join("model.safetensors"))?;
        let prefix = open(family)?.architecture().prefix;
        assert!(open(family)?.unknown_settings().is_empty());
        for layout in open(family)?.architecture().layouts {
            let mut model = open(family)?;
            model.build_head(layout.name, 4)?;
            wrap(&mut model)?;
            let changed = hidden(&model)?;
            let scratch = tempfile::tempdir()?;
            let folder = scratch.path().join("saved");
            model.save_full(&folder, &["a".to_owned(), "b".to_owned()])?;

            let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
            assert_eq!(config["architectures"], json!([layout.class]));
            let named = config["id2label"] == json!({"0":"a","1":"b","2":"LABEL_2","3":"LABEL_3"});
            assert_eq!(named, ["pooled", "tokens"].contains(&layout.name));
            for (name, shape) in shapes(&folder.join("model.safetensors"))? {
                let short = name.strip_prefix(prefix).unwrap_or(&name);
                let expected = original.get(&name).or_else(|| original.get(short));
                assert_eq!(expected, Some(&shape), "{name}");
            }
            let mut saved = open_folder(&folder, options(Weights::Pretrained))?;
            close(&hidden(&saved)?, &changed, 1e-4);
            let head = saved.build_head(layout.name, 4)?.description();
            assert!(head.layers.iter().all(|layer| layer.pretrained));
        }
    }
    Ok(())
}

#[test]
fn an_adapter_of_gpt2_has_factors_as_they_are_and_weights_as_files_have_them() -> Outcome {
    let mut model = open("tiny-gpt2-reference")?;
    model.build_head("pooled", 4)?;
    wrap(&mut model)?;
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("adapter.safetensors");
    model.train(Method::Lora, HeadMode::Train);
    model.save_adapter(&path, &[])?;
    let found = shapes(&path)?;
    let layer = "transformer.h.0.attn.c_attn";
    assert_eq!(found[&format!("{layer}.lora_A.weight")], [2, 32]);
    assert_eq!(found[&format!("{layer}.lora_B.weight")], [96, 2]);
    assert_eq!(found["score.weight"], [4, 32]);
    assert_eq!(found.len(), 2 * 8 + 1);
    model.train(Method::Full, HeadMode::Train);
    model.save_adapter(&path, &[])?;
    assert_eq!(shapes(&path)?[&format!("{layer}.weight")], [32, 96]);
    Ok(())
}

fn shapes(path: &Path) -> Result<BTreeMap<String, Vec<i64>>, Box<dyn Error>> {
    let tensors = Tensor::read_safetensors(path)?;
    Ok(tensors
        .into_iter()
        .map(|(name, tensor)| (name, tensor.size()))
        .collect())
}

/// Rank 2 on every linear layer of the encoder, A and B different from 0, s = 0.5.
fn wrap(model: &mut Model) -> Outcome {
    for layer in model.targets(&Targets::parse("all")?, HeadMode::Train)? {
        let ramp = |shape: [i64; 2]| {
            let count = shape[0] * shape[1];
            (Tensor::arange(count, (Kind::Float, Device::Cpu)).sin() * 0.2).reshape(shape)
        };
        let (a, b) = (ramp([2, layer.fan_in]), ramp([layer.fan_out, 2]));
        model.attach(layer.index, Factors::new(a, b, 0.5))?;
    }
    Ok(())
}
