//! Models and data sets by id, from a hub on this machine.

use std::fs;

use serde_json::{Value, json};

use crate::hub_server::{Fault, Repository};
use crate::hub_world::{TOKEN, WEIGHTS, World, files_of, transfers};
use crate::sandbox::{copy_model, small, workspace};

#[test]
fn what_is_on_the_hub_trains_as_what_is_here() {
    let world = World::new();
    let local = world.sandbox.train_one("--output local");
    let flags = "--model org/tiny --data org/topics --output hub";
    let outcome = world.run_with(flags, &[("HF_TOKEN", TOKEN)]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!(outcome.err.clone() + &outcome.out).contains(TOKEN));
    let runs = world.sandbox.runs("hub");
    assert_eq!(runs[0].record.spec.id, local.record.spec.id);
    assert_eq!(runs[0].numbers(), local.numbers());

    // The id stays as it was typed, with the commits beside it.
    let spec = &runs[0].record.spec.spec;
    assert_eq!(spec.model.path, "org/tiny");
    assert_eq!(spec.data.path.as_deref(), Some("org/topics"));
    let revisions = &runs[0].record.result.provenance.revisions;
    assert_eq!(revisions.model.as_ref(), Some(&world.model));
    assert_eq!(revisions.data.as_ref(), Some(&world.data));

    let seen = world.server.seen();
    assert!(seen.iter().any(|seen| seen.on_cdn));
    for request in &seen {
        let expected = (!request.on_cdn).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(request.authorization, expected, "{request:?}");
    }
    assert_eq!(
        transfers(&seen).len(),
        3 + 1 + 3,
        "each file once, and one redirect"
    );

    // What is here is not fetched again: not by name, not by commit, not offline, not without a server.
    let again = world.run(&format!("{flags}2"));
    assert_eq!(again.code, 0, "{}", again.err);
    let seen = world.server.seen();
    assert!(
        seen.iter().all(|seen| seen.path.starts_with("/api/")),
        "{seen:?}"
    );
    let (model, data) = (&world.model, &world.data);
    let pinned = format!("--model org/tiny@{model} --data org/topics@{data} --output pinned");
    let pinned = world.run(&pinned);
    assert_eq!(pinned.code, 0, "{}", pinned.err);
    assert!(world.server.seen().is_empty());
    let offline = world.sandbox.lorahost(&small(&format!("{flags}3")));
    assert_eq!(
        (offline.code, offline.err.contains("hub")),
        (0, false),
        "{}",
        offline.err
    );
    let gone = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    let gone = world.run_with(&format!("{flags}4"), &gone);
    assert_eq!(gone.code, 0, "{}", gone.err);
    assert!(gone.err.contains("as the cache has it"), "{}", gone.err);
    assert!(world.sandbox.path("hub4/results.json").exists());
}

#[test]
fn an_adapter_has_the_id_of_its_base_and_the_commit_apart() {
    let world = World::new();
    let (sandbox, commit) = (&world.sandbox, &world.model);
    let copy = world.server.put(
        "models/org/copy",
        Repository::of(files_of(&sandbox.path("model"))),
    );
    let outcome = world.run("--model org/tiny@main --save adapter");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let run = sandbox.runs("out").remove(0);
    let config = |words: &str, folder: &str| {
        let outcome = world.online(words, &[]);
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.err);
        let config = fs::read(sandbox.path(folder).join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        ["base_model_name_or_path", "revision"].map(|key| config[key].clone())
    };
    let exported = config(
        &format!("export {} adapter", run.folder.display()),
        "adapter",
    );
    assert_eq!(exported, [json!("org/tiny"), json!(commit)]);
    let card = fs::read_to_string(sandbox.path("adapter/README.md")).unwrap();
    assert!(card.contains("base_model: \"org/tiny\"\n"), "{card}");

    let imported = config("import adapter --output same", "same");
    assert_eq!(imported, exported);
    let imported = config(
        "import adapter --model org/copy@main --output other",
        "other",
    );
    assert_eq!(imported, [json!("org/copy"), json!(copy)]);
    let imported = config("import adapter --model model --output here", "here");
    let here = sandbox.path("model").canonicalize().unwrap();
    assert_eq!(imported, [json!(here), Value::Null]);
}

#[test]
fn a_folder_goes_before_an_id_and_results_have_readable_names() {
    let world = World::new();
    for file in ["config.json", WEIGHTS, "vocab.txt"] {
        let bytes = fs::read(world.sandbox.path("model").join(file)).unwrap();
        world.sandbox.write(&format!("org/tiny/{file}"), bytes);
    }
    let words = small("--model org/tiny --data org/topics").replace("--output out", "");
    let outcome = world.online(&words, &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let seen = world.server.seen();
    assert!(
        seen.iter().all(|seen| seen.path.contains("datasets/")),
        "{seen:?}"
    );
    let runs = fs::read_dir(world.sandbox.path("runs")).unwrap();
    let names: Vec<_> = runs.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names[0].to_str().unwrap().starts_with("tiny-topics-"),
        "{names:?}"
    );
}

#[test]
fn a_repository_that_moved_is_found_under_its_old_name() {
    let world = World::new();
    world.server.put(
        "models/old",
        Repository {
            moved_to: Some("models/org/tiny"),
            ..Repository::default()
        },
    );
    let outcome = world.run("--model old");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(world.cached("models--old/refs/main").exists());
}

#[test]
fn a_gated_repository_says_what_to_do() {
    let world = World::new();
    let gated = Repository {
        gate: Some(TOKEN),
        ..Repository::of(files_of(&world.sandbox.path("model")))
    };
    world.server.put("models/org/gated", gated);
    let error = world.fails(2, "--model org/gated");
    assert!(
        error.contains("/org/gated is open only to those who accepted its terms"),
        "{error}"
    );
    assert!(error.contains("set HF_TOKEN"), "{error}");
    let other = world.run_with("--model org/gated", &[("HF_TOKEN", "hf_other")]);
    assert_eq!(other.code, 2);
    assert!(
        other.err.contains("HF_TOKEN belongs to that account"),
        "{}",
        other.err
    );
    world.sandbox.write("hf/token", format!("{TOKEN}\n"));
    let outcome = world.run("--model org/gated");
    assert_eq!(outcome.code, 0, "the token file is read: {}", outcome.err);
}

#[test]
fn what_the_hub_does_not_have_is_refused() {
    let world = World::new();
    let pickled = [
        ("config.json", "{}"),
        ("pytorch_model.bin", "PK"),
        ("a/model.bin", ""),
    ];
    world
        .server
        .put("models/org/pickled", Repository::of(pickled));
    world
        .server
        .put("models/org/bare", Repository::of([("README.md", "")]));
    for (flags, reason) in [
        (
            "--model org/absent",
            "no model `org/absent`: no path of that name is here",
        ),
        ("--model org/tiny@v9", "no revision `v9`"),
        ("--model a/b/c", "neither a path that exists here nor an id"),
        ("--model org/tiny:x", "a model has no configurations"),
        (
            "--model org/pickled",
            "no safetensors weights but pytorch_model.bin",
        ),
        ("--model org/bare", "no config.json"),
        ("--data org/absent", "no data set `org/absent`"),
    ] {
        let error = world.fails(2, flags);
        assert!(error.contains(reason), "{flags}: {error}");
    }
}

#[test]
fn the_shards_of_an_index_are_fetched_and_nothing_else() {
    let world = World::new();
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let files = [
        ("config.json", "{}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", "1"),
        ("model-2.safetensors", "2"),
        ("model-3.safetensors", "3"),
        ("pytorch_model.bin", "pickle"),
        ("README.md", ""),
    ];
    let commit = world
        .server
        .put("models/org/sharded", Repository::of(files));
    // These are no weights; fetching comes first.
    assert_eq!(world.run("--model org/sharded").code, 2);
    let folder = world.cached(&format!("models--org--sharded/snapshots/{commit}"));
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_data_set_is_found_by_its_card_its_names_or_its_conversion() {
    let world = World::new();
    let table =
        |split: &str| fs::read_to_string(world.sandbox.path(format!("data/{split}.csv"))).unwrap();
    let (train, test) = (table("train"), table("test"));
    let card = "---\nconfigs:\n- config_name: raw-v1\n  data_files:\n  - split: train\n    path: raw/a*.csv\n  \
                - split: test\n    path: raw/b.csv\n- config_name: v1\n  data_files: nothing/*\n---\n";
    let files = [
        ("README.md", card),
        ("raw/a1.csv", &train),
        ("raw/b.csv", &test),
    ];
    world.server.put("datasets/org/card", Repository::of(files));
    let error = world.fails(2, "--data org/card");
    assert!(error.contains("org/card:CONFIG`: raw-v1, v1"), "{error}");
    let error = world.fails(2, "--data org/card:raw-v2");
    assert!(error.contains("did you mean `raw-v1`"), "{error}");
    let error = world.fails(2, "--data org/card:v1");
    assert!(
        error.contains("`nothing/*` of the configuration `v1` fits no file"),
        "{error}"
    );

    let script = [("script.py", "import os"), ("README.md", "# Topics\n")];
    let converted = [
        ("default/train/0000.csv", train.as_str()),
        ("default/test/0000.csv", &test),
    ];
    let scripted = Repository::of(script);
    let both = scripted.clone().with("refs/convert/parquet", converted);
    world.server.put("datasets/org/script", scripted);
    let error = world.fails(2, "--data org/script");
    assert!(error.contains("a script, which is not run"), "{error}");
    world.server.put("datasets/org/converted", both);

    let expected =
        world.run("--train-file data/train.csv --test-file data/test.csv --output local");
    assert_eq!(expected.code, 0, "{}", expected.err);
    let expected = world.sandbox.runs("local")[0].record.spec.id.clone();
    for (index, id) in ["org/card:raw-v1", "org/converted"].into_iter().enumerate() {
        let output = format!("out{index}");
        let outcome = world.run(&format!("--data {id} --output {output}"));
        assert_eq!(outcome.code, 0, "{id}: {}", outcome.err);
        assert_eq!(world.sandbox.runs(&output)[0].record.spec.id, expected);
        let offline = world
            .sandbox
            .lorahost(&small(&format!("--data {id} --output {output}b")));
        assert_eq!(offline.code, 0, "{id}: {}", offline.err);
    }
}

#[test]
fn every_command_takes_ids() {
    let world = World::new();
    let out = |words: &str| {
        let outcome = world.online(words, &[]);
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.err);
        outcome.out
    };
    let local = out("model inspect model").replacen("model\n", "org/tiny\n", 1);
    assert_eq!(out("model inspect org/tiny"), local);
    let data = "--model org/tiny --max-length 16";
    assert_eq!(
        out(&format!("data inspect org/topics {data}")),
        out(&format!("data inspect data {data}"))
    );
    // Of the weights no more than their header came, and nothing stays.
    let seen = world.server.seen();
    let weights = transfers(&seen).into_iter().filter(|seen| seen.on_cdn);
    let ranges: Vec<_> = weights.map(|seen| seen.range.clone().unwrap()).collect();
    let bytes = fs::read(world.sandbox.path("model").join(WEIGHTS)).unwrap();
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    assert_eq!(
        ranges,
        ["bytes=0-7".to_owned(), format!("bytes=8-{}", 7 + header)]
    );
    assert!(!world.cached_model(WEIGHTS).exists());
    world.server.fault(WEIGHTS, Fault::NoRange);
    assert_eq!(out("model inspect org/tiny"), local);
    // Weights that are here are looked at where they are.
    world.server.heal();
    assert_eq!(world.run("--model org/tiny").code, 0);
    world.server.seen();
    assert_eq!(out("model inspect org/tiny"), local);
    assert!(transfers(&world.server.seen()).is_empty());
    let absent = world.online("model inspect org/nothing", &[]);
    assert!(absent.refused().contains("org/nothing"), "{}", absent.err);
    let gone = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    for words in [
        "model inspect org/nothing",
        "data inspect org/nothing",
        "generate org/nothing --prompt a",
    ] {
        let outcome = world.online(words, &gone);
        assert_eq!(outcome.code, 1, "{words}: {}", outcome.err);
        assert!(outcome.err.contains("cannot reach"), "{}", outcome.err);
    }
}

#[test]
fn text_is_written_by_a_decoder_of_the_hub_as_it_was_when_it_was_trained() {
    let world = World::new();
    copy_model("decoders/llama", &world.sandbox.path("llama"));
    let words = fs::read(world.sandbox.path("model/vocab.txt")).unwrap();
    world.sandbox.write("llama/vocab.txt", words);
    let llama = || files_of(&world.sandbox.path("llama"));
    let first = Repository::of(llama());
    world.server.put("models/org/llama", first.clone());
    let written = |words: &str| {
        let words = format!("generate {words} --prompt treaty --max-new-tokens 8 --json");
        let outcome = world.online(&words, &[]);
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.err);
        let value: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
        value["tokens"].clone()
    };
    assert_eq!(written("org/llama"), written("llama"));

    let outcome = world.run("--model org/llama --save adapter --output trained");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let run = world.sandbox.runs("trained")[0]
        .folder
        .display()
        .to_string();
    let before = written(&run);
    // The model's newest commit has no weights any more.
    let mut newer = llama();
    newer.retain(|(name, _)| name != WEIGHTS);
    let mut moved = Repository::of(newer);
    moved
        .revisions
        .insert("old".to_owned(), first.revisions["main"].clone());
    world.server.put("models/org/llama", moved);
    assert_eq!(written(&run), before);
}

#[test]
fn parquet_of_one_of_several_configurations_trains_with_the_names_of_its_card() {
    let world = World::new();
    let set = workspace().join("host/src/data/references/parquet/reviews/data");
    let card = "---\nconfigs:\n- config_name: reviews\n  data_files:\n  - split: train\n    path: reviews/train-*\n- \
                config_name: other\n  data_files: other/*.csv\ndataset_info:\n- config_name: reviews\n  features:\n  - \
                name: text\n    dtype: string\n  - name: label\n    dtype:\n      class_label:\n        names:\n          \
                '0': bad\n          '1': good\n          '2': unseen\n- config_name: other\n  features:\n  - name: \
                label\n    dtype:\n      class_label:\n        names:\n          '0': left\n          '1': right\n---\n";
    let mut files = vec![
        ("README.md".to_owned(), card.as_bytes().to_vec()),
        (
            "other/train.csv".to_owned(),
            b"label,text\n0,a\n1,b\n1,c\n".to_vec(),
        ),
    ];
    for part in 0..2 {
        let name = format!("train-{part:05}-of-00002.parquet");
        let bytes = fs::read(set.join(&name)).unwrap();
        files.push((format!("reviews/{name}"), bytes));
    }
    world
        .server
        .put("datasets/org/several", Repository::of(files));
    let names = |id: &str| {
        let words = format!("data inspect {id} --json");
        let outcome = world.online(&words, &[]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{id}");
        let found: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
        found["label_names"].clone()
    };
    assert_eq!(
        names("org/several:other"),
        serde_json::json!(["left", "right"])
    );
    // The file's own names go before those of the card.
    let own = serde_json::json!(["negative", "positive"]);
    assert_eq!(names("org/several:reviews"), own);
    let outcome = world.run("--data org/several:reviews --output reviews");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert_eq!(
        world.sandbox.runs("reviews")[0]
            .record
            .result
            .measured
            .steps,
        1
    );
}
