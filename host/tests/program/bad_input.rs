//! What a user can get wrong: one line that says what, where and what to do, exit code 2, and no output folder.

use std::fs;

use lorahost::record::Status;
use safetensors::tensor::{Dtype, TensorView};

use crate::sandbox::{Sandbox, copy_model, small, workspace};

/// What the program says to flags that it must refuse.
fn refusals<'a>(sandbox: &Sandbox, cases: impl IntoIterator<Item = &'a str>) -> String {
    let lines = cases.into_iter().map(|flags| {
        let outcome = sandbox.lorahost(&small(flags));
        assert!(!sandbox.path("out").exists(), "{flags}");
        format!("{flags}\n  => {}\n", outcome.refused())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn settings() {
    let sandbox = Sandbox::new();
    let cases = [
        "--rank 0",
        "--lrs 0",
        "--lrs fast",
        "--init gausian",
        "--init gaussian:std=1",
        "--init gaussian:std_a=-1",
        "--optimizer adamw:beta1=2",
        "--optimizer sgd:momentum=fast",
        "--alpha-policy proportional --alpha 8",
        "--head regresion",
        "--set lora.rnk=4",
        "--config absent.toml",
        "--targets nothing_of_that_name",
        "--warmup 8",
    ];
    insta::assert_snapshot!(refusals(&sandbox, cases));
}

#[test]
fn models() {
    let sandbox = Sandbox::new();
    let copy = |name: &str| {
        for file in ["config.json", "model.safetensors", "vocab.txt"] {
            let content = fs::read(sandbox.path("model").join(file)).unwrap();
            sandbox.write(&format!("{name}/{file}"), content);
        }
    };
    for name in [
        "no-config",
        "no-weights",
        "no-tokenizer",
        "bad-config",
        "other-type",
        "bad-setting",
        "more-words",
        "no-shard",
        "bad-index",
        "elsewhere",
    ] {
        copy(name);
    }
    let config = fs::read_to_string(sandbox.path("model/config.json")).unwrap();
    let setting = config.replace("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"gelu_9\"");
    assert_ne!(setting, config);
    sandbox.write("bad-setting/config.json", setting);
    let mut words = fs::read_to_string(sandbox.path("model/vocab.txt")).unwrap();
    words.extend((0..200).map(|number| format!("word{number}\n")));
    sandbox.write("more-words/vocab.txt", words);
    for (name, index) in [
        (
            "no-shard",
            r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#,
        ),
        ("bad-index", r#"{"weight_map": {"a": 1}}"#),
        (
            "elsewhere",
            r#"{"weight_map": {"a": "../model/model.safetensors"}}"#,
        ),
    ] {
        let weights = sandbox.path(name).join("model.safetensors");
        let shard = sandbox.path(name).join("model-00001-of-00002.safetensors");
        fs::rename(weights, shard).unwrap();
        sandbox.write(&format!("{name}/model.safetensors.index.json"), index);
    }
    fs::remove_file(sandbox.path("no-config/config.json")).unwrap();
    fs::remove_file(sandbox.path("no-weights/model.safetensors")).unwrap();
    fs::remove_file(sandbox.path("no-tokenizer/vocab.txt")).unwrap();
    sandbox.write("bad-config/config.json", "{\"model_type\": ");
    sandbox.write("other-type/config.json", "{\"model_type\": \"mamba\"}");
    let cases = [
        "--model absent",
        "--model builtin:huge-bert",
        "--model no-config",
        "--model no-weights",
        "--model no-tokenizer",
        "--model bad-config",
        "--model other-type",
        "--model bad-setting",
        "--model more-words",
        "--model more-words --lrs 1e-4 1e-3 --rank 2 4 --with-full-finetune",
        "--model no-shard",
        "--model bad-index",
        "--model elsewhere",
        "--model data/train.csv",
        "--max-length 2",
    ];
    insta::assert_snapshot!(refusals(&sandbox, cases));
}

#[test]
fn weights_that_do_not_fit() {
    let sandbox = Sandbox::new();
    let whole = fs::read(sandbox.path("model/model.safetensors")).unwrap();
    let original = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let config = fs::read_to_string(sandbox.path("model/config.json")).unwrap();
    let folder = |name: &str, config: &str, weights: &[u8]| {
        sandbox.write(&format!("{name}/config.json"), config);
        sandbox.write(&format!("{name}/model.safetensors"), weights);
        let vocabulary = fs::read(sandbox.path("model/vocab.txt")).unwrap();
        sandbox.write(&format!("{name}/vocab.txt"), vocabulary);
    };
    folder("empty", &config, &[]);
    folder("truncated", &config, &whole[..whole.len() - 100]);
    folder(
        "garbage",
        &config,
        b"these are not the weights you are looking for",
    );
    folder(
        "wider",
        &config.replace("\"hidden_size\": 48", "\"hidden_size\": 96"),
        &whole,
    );
    folder(
        "deeper",
        &config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        &whole,
    );
    folder(
        "fewer-words",
        &config.replace("\"vocab_size\": 200", "\"vocab_size\": 20"),
        &whole,
    );

    let renamed = original
        .tensors()
        .into_iter()
        .map(|(name, view)| (name.replace("query", "queri"), view));
    folder(
        "renamed",
        &config,
        &safetensors::serialize(renamed, None).unwrap(),
    );
    let integers: Vec<u8> = vec![0; 200 * 48 * 4];
    let typed = original.tensors().into_iter().map(|(name, view)| {
        if name.ends_with("word_embeddings.weight") {
            (
                name,
                TensorView::new(Dtype::I32, vec![200, 48], &integers).unwrap(),
            )
        } else {
            (name, view)
        }
    });
    folder(
        "typed",
        &config,
        &safetensors::serialize(typed, None).unwrap(),
    );

    let cases = [
        "--model empty",
        "--model truncated",
        "--model garbage",
        "--model wider",
        "--model deeper",
        "--model fewer-words",
        "--model renamed",
        "--model typed",
    ];
    insta::assert_snapshot!(refusals(&sandbox, cases));
}

#[test]
fn data() {
    let sandbox = Sandbox::new();
    let rows = "label,text\n0,goal\n1,bank\n0,medal\n1,market\n";
    sandbox.write("sound.csv", rows);
    sandbox.write("empty.csv", "");
    sandbox.write("header.csv", "label,text\n");
    sandbox.write("short.csv", "label,text\n0,goal\n1\n0,medal\n");
    sandbox.write("long.csv", "label,text\n0,goal\n1,bank\n0,medal,gold\n");
    sandbox.write("quote.csv", "label,text\n0,goal\n1,\"bank\n0,medal\n");
    sandbox.write("bytes.csv", b"label,text\n0,goal\n1,b\xe4nk\n");
    sandbox.write("negative.csv", "label,text\n0,goal\n-1,bank\n");
    sandbox.write("many.csv", "label,text\n0,goal\n1,bank\n99999999,medal\n");
    sandbox.write("outside.csv", "label,text\n0,goal\n7,bank\n");
    sandbox.write("unlabelled.csv", "label,text\n0,goal\n,bank\n");
    sandbox.write(
        "names.csv",
        "label,text\nsport,goal\nmoney,bank\nsport,medal\n",
    );
    sandbox.write("slip.csv", "label,text\nsport,goal\nmony,bank\n");
    sandbox.write("columns.csv", "label,words\n0,goal\n1,bank\n");
    sandbox.write("sheet.xlsx", "PK");
    sandbox.write("broken.jsonl", "{\"text\": \"goal\"}\n{\"text\": \"bank\n");
    let lines: String = (1..=20)
        .map(|line| match line {
            17 => "{\"text\": \"goal\" \"label\": 0}\n",
            _ => "{\"text\": \"goal\", \"label\": 0}\n",
        })
        .collect();
    sandbox.write("line17.jsonl", lines);
    let whole = workspace().join("host/src/data/references/parquet/forms.parquet");
    let whole = fs::read(whole).unwrap();
    sandbox.write("cut.parquet", &whole[..whole.len() / 2]);
    sandbox.write("scores.jsonl", "{\"text\": \"goal\", \"label\": 0.25}\n");
    sandbox.write("array.json", "[{\"text\": \"goal\"}]\n");
    sandbox.write(
        "number.jsonl",
        "{\"text\": \"goal\", \"label\": 0}\n{\"text\": 3, \"label\": 1}\n",
    );
    sandbox.write(
        "nested.jsonl",
        "{\"text\": {\"en\": \"goal\"}, \"label\": 0}\n",
    );
    sandbox.write("scores.csv", "label,text\n0.25,goal\n1,bank\n");
    sandbox.write("short.parquet", "PAR1");
    sandbox.write("text.parquet", "label,text\n0,goal\n1,bank\n");
    sandbox.write("sets/small/train.csv", rows);
    sandbox.write("sets/large/train.csv", rows);
    sandbox.write("parts/train-00000-of-00002.csv", rows);
    sandbox.write("bare/readme.md", "nothing here");
    let cases = [
        "--data absent",
        "--data builtin:topic",
        "--data sets",
        "--data parts",
        "--data bare",
        "--train-file absent.csv",
        "--train-file empty.csv",
        "--train-file header.csv",
        "--train-file short.csv",
        "--train-file long.csv",
        "--train-file quote.csv",
        "--train-file bytes.csv",
        "--train-file negative.csv",
        "--train-file many.csv",
        "--train-file unlabelled.csv",
        "--train-file columns.csv",
        "--train-file sheet.xlsx",
        "--train-file broken.jsonl",
        "--train-file line17.jsonl",
        "--train-file array.json",
        "--train-file number.jsonl",
        "--train-file nested.jsonl",
        "--train-file scores.csv",
        "--train-file scores.jsonl",
        "--train-file short.parquet",
        "--train-file cut.parquet",
        "--train-file text.parquet",
        "--train-file data",
        "--train-file sound.csv --text-column txt",
        "--train-file sound.csv --label-column lable",
        "--train-file sound.csv --test-file outside.csv",
        "--train-file names.csv --test-file slip.csv",
        "--train-file names.csv --test-file absent.csv",
    ];
    insta::assert_snapshot!(refusals(&sandbox, cases));
}

#[test]
fn texts_that_are_cut_are_told_once_a_data_set() {
    let sandbox = Sandbox::new();
    let long = "goal ".repeat(50);
    sandbox.write(
        "long.csv",
        format!("label,text\n0,{long}\n1,bank\n0,medal\n1,{long}\n"),
    );
    let flags = "--train-file long.csv --validation-file short.csv --lrs 1e-4 1e-3 --rank 2 4";
    sandbox.write("short.csv", "label,text\n0,goal\n1,bank\n");
    let told = |flags: &str| {
        let outcome = sandbox.lorahost(&small(flags));
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        outcome.err
    };
    // The model has 40 positions, and the text 52 tokens with the two around it.
    let by_model = "2 of 6 texts of long.csv are longer than 40 tokens and lose their end, the longest has 52: \
                    the model takes no more\n";
    let err = told(flags);
    assert_eq!(err.matches("lose their end").count(), 1, "{err}");
    assert!(err.contains(by_model), "{err}");
    // Also where the tokens are there from before.
    let err = told(&format!("{flags} --epochs 2"));
    assert!(err.contains(by_model), "{err}");
    let err = told(&format!("{flags} --max-length 20 --output shorter"));
    assert!(
        err.contains(
            "longer than 20 tokens and lose their end, the longest has 52: --max-length keeps up to"
        ),
        "{err}"
    );
    assert!(!told("--output sound").contains("lose"));
}

#[test]
fn blocks_that_are_longer_than_the_positions_are_refused() {
    let sandbox = Sandbox::new();
    copy_model("tiny-gpt2-reference", &sandbox.path("gpt2"));
    let words = fs::read(sandbox.path("model/vocab.txt")).unwrap();
    sandbox.write("gpt2/vocab.txt", words);
    sandbox.write("tale/train.txt", "the goal says\n".repeat(256));
    let flags = "--model gpt2 --data tale --plugin PLUGIN/causal_lm_head --set data.block_size";
    let outcome = sandbox.lorahost(&small(&format!("{flags}=41")));
    assert_eq!(
        outcome.refused(),
        "data.block_size 41 is more than the model's 40 positions"
    );
    let outcome = sandbox.lorahost(&small(&format!("{flags}=40")));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
}

#[test]
fn output_folders() {
    let sandbox = Sandbox::new();
    sandbox.write("thesis/chapter1.tex", "all my work");
    for output in ["thesis", "data/train.csv"] {
        let outcome = sandbox.lorahost(&small(&format!("--output {output}")));
        insta::assert_snapshot!(output.replace('/', "_"), outcome.refused());
    }
    assert_eq!(fs::read_dir(sandbox.path("thesis")).unwrap().count(), 1);
}

#[test]
fn a_loss_that_is_not_finite_ends_its_run_as_diverged() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost(&small("--lrs 1e-3 1e30 --with-full-finetune"));
    assert_eq!(outcome.code, 0, "divergence is a result: {}", outcome.err);
    for run in sandbox.runs("out") {
        let result = &run.record.result;
        if run.record.spec.spec.train.lr < 1.0 {
            assert_eq!(result.status, Status::Completed);
            assert!(result.measured.test.is_some());
        } else {
            assert_eq!(result.status, Status::Diverged, "{result:?}");
            assert!(result.error.is_none());
        }
    }
    assert!(outcome.out.contains("diverged"), "{}", outcome.out);
}
