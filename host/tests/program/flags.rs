//! Every setting of a run has the effect that it promises.

use std::collections::BTreeMap;

use lorahost::record::Event;

use crate::sandbox::{Run, Sandbox, close, tensors};

/// One sweep over an axis, by the cell's part that tells its values apart.
fn axis(flags: &str) -> (Sandbox, BTreeMap<String, Run>) {
    let sandbox = Sandbox::new();
    sandbox.train(flags);
    let cells = sandbox.cells("out").into_iter().map(|(cell, run)| {
        let part = cell.strip_prefix("lora-r4-").unwrap_or(&cell);
        (part.to_owned(), run)
    });
    let cells = cells.collect();
    (sandbox, cells)
}

#[test]
fn targets_choose_the_layers() {
    let (_sandbox, runs) = axis("--targets all attention mlp query$ --max-steps 2");
    let wrapped: Vec<(&str, usize)> = runs
        .iter()
        .map(|(name, run)| (name.as_str(), run.size().0))
        .collect();
    assert_eq!(
        wrapped,
        [
            ("targets=all", 12),
            ("targets=attention", 8),
            ("targets=mlp", 4),
            ("targets=query_", 2)
        ]
    );
}

#[test]
fn the_head_is_trained_or_lies_under_lora() {
    let (_sandbox, runs) = axis("--head-mode train lora --save adapter --max-steps 4");
    let saved = |name: &str| tensors(&runs[name].folder.join("adapter.safetensors"));
    let (train, lora) = (saved("head-mode=train"), saved("head-mode=lora"));
    assert!(
        train.contains_key("classifier.weight") && !train.contains_key("classifier.lora_A.weight")
    );
    assert!(
        lora.contains_key("classifier.lora_A.weight") && !lora.contains_key("classifier.weight")
    );
    assert_eq!(runs["head-mode=train"].size().0, 12);
    assert_eq!(runs["head-mode=lora"].size().0, 14);
}

#[test]
fn dropout_acts_in_training_alone() {
    let (_sandbox, runs) = axis("--dropout 0 0.5 --lora-dropout 0 0.5");
    let untrained = |run: &Run| run.record.result.measured.untrained_val_loss;
    let losses: Vec<_> = runs.values().map(Run::losses).collect();
    let first = &runs["dropout=0-lora-dropout=0"];
    for (name, run) in &runs {
        assert_eq!(untrained(run), untrained(first), "{name}");
    }
    for (place, one) in losses.iter().enumerate() {
        assert!(
            losses[..place].iter().all(|other| other != one),
            "each dropout has its own losses"
        );
    }
}

#[test]
fn products_in_bfloat16_stay_near_those_in_float32() {
    for flags in ["", "--full-finetune"] {
        let sandbox = Sandbox::new();
        sandbox.train(&format!(
            "{flags} --dropout 0.1 --set model.precision=float32,bfloat16"
        ));
        let runs: Vec<Run> = sandbox.cells("out").into_values().collect();
        let [low, exact] = runs.as_slice() else {
            panic!("{} runs", runs.len())
        };
        assert_eq!(low.losses().len(), exact.losses().len());
        assert_ne!(low.losses(), exact.losses());
        close(&low.losses(), &exact.losses(), 0.02);
    }
}

#[test]
fn schedules_and_warm_up_set_the_rate_of_each_step() {
    let (_sandbox, runs) = axis("--schedule constant linear cosine --warmup 0 2");
    let rates = |name: &str| runs[name].rates();
    assert_eq!(rates("schedule=constant-warmup=0"), [1e-3; 8]);
    assert_eq!(rates("schedule=constant-warmup=2")[..3], [0.0, 5e-4, 1e-3]);
    let eighths: Vec<f64> = (0..8)
        .map(|step| 1e-3 * (1.0 - f64::from(step) / 8.0))
        .collect();
    assert_eq!(rates("schedule=linear-warmup=0"), eighths);
    let cosine = rates("schedule=cosine-warmup=0");
    assert!(
        (cosine[4] - 5e-4).abs() < 1e-12,
        "half of it half-way: {cosine:?}"
    );
    assert_eq!(rates("schedule=cosine-warmup=2")[2], 1e-3);
    // A step of rate 0 leaves the model: the second loss is that of the second batch, untrained.
    let losses = runs["schedule=constant-warmup=2"].losses();
    assert_eq!(losses[0], runs["schedule=constant-warmup=0"].losses()[0]);
    assert_ne!(losses[2], runs["schedule=constant-warmup=0"].losses()[2]);
}

#[test]
fn steps_and_evaluations_are_counted() {
    let (_sandbox, runs) = axis("--max-steps 3 5 --eval-every 2");
    for (name, steps, evaluated) in [
        ("max-steps=3", 3, vec![0, 2, 3]),
        ("max-steps=5", 5, vec![0, 2, 4, 5]),
    ] {
        let run = &runs[name];
        assert_eq!(run.losses().len(), steps);
        assert_eq!(run.record.result.measured.steps, steps);
        let validations: Vec<usize> = run
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Evaluation {
                    split: lorahost::record::Split::Validation,
                    step,
                    ..
                } => Some(*step),
                _ => None,
            })
            .collect();
        assert_eq!(validations, evaluated, "{name}");
    }
}

#[test]
fn clipping_bounds_the_step() {
    let (_sandbox, runs) =
        axis("--grad-clip 1e-3 1e9 --optimizer sgd --save adapter --max-steps 1 --lrs 1");
    let unclipped = Sandbox::new().train_one("--optimizer sgd --max-steps 1 --lrs 1");
    let losses = |name: &str| runs[name].record.result.measured.val_losses[0];
    let free = unclipped.record.result.measured.val_losses[0];
    assert_eq!(
        losses("grad-clip=1000000000"),
        free,
        "a bound that is not met changes nothing"
    );
    let untrained = unclipped.record.result.measured.untrained_val_loss.unwrap();
    let moved = |loss: f64| (loss - untrained).abs();
    assert!(moved(losses("grad-clip=0.001")) < moved(free) / 10.0);
}

#[test]
fn accumulated_batches_are_one_larger_batch() {
    let sandbox = Sandbox::new();
    let run = |flags: &str, output: &str| {
        sandbox.train_one(&format!("--epochs 2 --dropout 0 {flags} --output {output}"))
    };
    let whole = run("--batch-size 8", "whole");
    let halves = run("--batch-size 4 --accumulate 2", "halves");
    assert_eq!(whole.losses().len(), 16);
    close(&halves.losses(), &whole.losses(), 1e-4);
    close(&[halves.test_loss()], &[whole.test_loss()], 1e-4);
    let lone = run("--batch-size 4", "lone");
    assert_eq!(lone.losses().len(), 32);
}

#[test]
fn the_loss_of_an_epoch_is_the_mean_over_its_batches() {
    let sandbox = Sandbox::new();
    // Steps too small to move anything; 64 rows make batches of 24, 24 and 16.
    let flags = "--batch-size 24 --dropout 0 --lrs 1e-30";
    let losses = |accumulate: usize| {
        let run = sandbox.train_one(&format!(
            "{flags} --accumulate {accumulate} --output by-{accumulate}"
        ));
        assert_eq!(run.losses().len(), 3_usize.div_ceil(accumulate));
        run.record.result.measured.train_losses
    };
    close(&losses(2), &losses(1), 1e-6);
}

#[test]
fn a_step_that_counts_nothing_has_no_loss() {
    let sandbox = Sandbox::new();
    let run = sandbox.train_one("--head masked-lm:mask_probability=0.1 --batch-size 1");
    let steps = run.events.iter().filter_map(|event| match event {
        Event::Step { loss, .. } => Some(*loss),
        _ => None,
    });
    let steps: Vec<Option<f64>> = steps.collect();
    let counted: Vec<f64> = steps.iter().copied().flatten().collect();
    assert_eq!(steps.len(), 64);
    assert!((1..64).contains(&counted.len()), "{}", counted.len());
    assert!(counted.iter().all(|loss| *loss > 0.0));
    let mean = counted.iter().sum::<f64>() / counted.len() as f64;
    close(&run.record.result.measured.train_losses, &[mean], 1e-12);
}

#[test]
fn what_is_saved_in_full_is_the_model_that_was_tested() {
    let sandbox = Sandbox::new();
    for (method, flags) in [("lora", ""), ("full", "--full-finetune")] {
        let run = sandbox.train_one(&format!("{flags} --save full --lrs 5e-3 --output {method}"));
        let model = run.folder.join("model");
        // A step of rate 1e-30 changes nothing: the test figure is that of the saved model.
        let again = sandbox.train_one(&format!(
            "--model {} --full-finetune --max-steps 1 --lrs 1e-30 --output again-{method}",
            model.display()
        ));
        close(&[again.test_loss()], &[run.test_loss()], 1e-5);
        assert!(
            (again.test_loss() - run.record.result.measured.untrained_val_loss.unwrap()).abs()
                > 1e-3
        );
    }
}

#[test]
fn parameters_of_the_init_scheme_arrive() {
    let sandbox = Sandbox::new();
    let flags = "--init gaussian:unit=absolute,std_a=0.02,std_b=0 gaussian:unit=absolute,std_a=0.2,std_b=0 \
                 --save adapter --set train.lr_a=0 --max-steps 1";
    sandbox.train(flags);
    for (cell, run) in sandbox.cells("out") {
        let expected = if cell.ends_with("std_a=0.02") {
            0.02
        } else {
            0.2
        };
        let saved = tensors(&run.folder.join("adapter.safetensors"));
        let factors: Vec<_> = saved
            .iter()
            .filter(|(name, _)| name.ends_with("lora_A.weight"))
            .collect();
        let flat: Vec<tch::Tensor> = factors.iter().map(|(_, a)| a.flatten(0, -1)).collect();
        let std = tch::Tensor::cat(&flat, 0).std(true).double_value(&[]);
        assert!((std / expected - 1.0).abs() < 0.05, "{cell}: {std}");
    }
}

/// With Adam and a vanishing eps, (alpha, A, lr of A, lr of B) and (alpha/(pq), pA, p lr, q lr) are the same run
/// ("LoRA Without Regret", Thinking Machines 2025); with powers of two, to the last bit.
#[test]
fn scales_and_rates_trade_against_each_other() {
    let sandbox = Sandbox::new();
    let (p, q) = (4.0, 0.5);
    let adam =
        "--optimizer adamw:eps=1e-30,weight_decay=0 --head-mode lora --epochs 2 --dropout 0.1";
    let run =
        |flags: &str, output: &str| sandbox.train_one(&format!("{adam} {flags} --output {output}"));
    let plain = run("--alpha 8", "plain");
    let traded = run(
        &format!(
            "--alpha {} --set lora.init_scale_a={p} train.lr_a={p} train.lr_b={q}",
            8.0 / (p * q)
        ),
        "traded",
    );
    assert_eq!(plain.losses().len(), 16);
    assert_eq!(plain.losses(), traded.losses());
    assert_eq!(plain.test_loss(), traded.test_loss());
    let other = run(&format!("--alpha 8 --set train.lr_b={q}"), "other");
    assert_ne!(plain.losses(), other.losses());
}
