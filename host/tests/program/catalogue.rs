//! Optimizers and alpha policies of the catalogue at work: each trains the built-in model from its file.

use crate::sandbox::{Run, Sandbox};

/// A run on the built-in model and data: 12 steps.
fn train(sandbox: &Sandbox, flags: &str, output: &str) -> Run {
    let data = "--data builtin:topics --train-size 192 --validation-size 32 --test-size 32";
    let run = "--model builtin:tiny-bert --epochs 2 --batch-size 32";
    sandbox.train_one(&format!("{run} {data} {flags} --output {output}"))
}

#[test]
fn every_optimizer_trains() {
    let sandbox = Sandbox::new();
    let adamw = train(&sandbox, "--lrs 3e-3", "adamw").losses();
    for (name, lr) in [
        ("adafactor", "3e-2"),
        ("lion", "1e-3"),
        ("lora_fa", "3e-3"),
        ("lora_plus", "1e-3"),
        ("lora_pro", "3e-3"),
        ("muon", "2e-2"),
        // Twelve steps are few to find a distance in.
        ("prodigy", "1 --optimizer prodigy:d0=1e-3"),
        ("riemannian", "3e-3"),
        ("schedule_free", "1e-2"),
    ] {
        let flags = format!("--plugin PLUGIN/{name}_optimizer --lrs {lr}");
        let losses = train(&sandbox, &flags, name).losses();
        assert_eq!(losses.len(), 12, "{name}");
        assert_eq!(losses[0], adamw[0], "{name}: before the first step");
        let part = losses.len() / 4;
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..part]), mean(&losses[losses.len() - part..]));
        assert!(last < 0.9 * first, "{name}: {losses:?}");
        assert_ne!(losses, adamw, "{name}");
    }
}

#[test]
fn alpha_policies_of_the_same_scale_and_rates_are_the_same_run() {
    let sandbox = Sandbox::new();
    let run = |flags: &str, output: &str| train(&sandbox, &format!("{flags} --rank 4"), output);
    // s = 2 at rank 4.
    let constant = run("--alpha-policy constant:alpha=8", "constant").losses();
    for (file, policy) in [
        ("rslora", "rslora:alpha=4"),
        ("power", "power:alpha=4,p=0.5"),
        ("mu_a", "mu-a:alpha=2,g=0,r0=4"),
    ] {
        let flags = format!("--plugin PLUGIN/{file}_alpha --alpha-policy {policy}");
        assert_eq!(run(&flags, file).losses(), constant, "{policy}");
    }
    // The fourth part of r0 doubles the rates of A and B.
    let doubled = "--set train.lr_a=2 --set train.lr_b=2 --alpha-policy constant:alpha=8";
    let doubled = run(doubled, "doubled").losses();
    assert_ne!(doubled, constant);
    let flags = "--plugin PLUGIN/mu_a_alpha --alpha-policy mu-a:alpha=2,g=0,r0=16";
    assert_eq!(run(flags, "mu_a_r0").losses(), doubled);
}
