//! A plugin that was compiled against ABI 1 as it was frozen works in this host: `host/tests/frozen`.

use lorahost::plugins::PluginFile;
use lorahost::spec::Method;

use crate::sandbox::{Run, Sandbox, close, small, test_plugin};

/// LoRA and full fine-tuning at two learning rates.
fn sweep(sandbox: &Sandbox, components: &str, output: &str) -> Vec<Run> {
    let flags = format!("--with-full-finetune --lrs 1e-3 3e-3 {components} --output {output}");
    let outcome = sandbox.lorahost(&small(&flags));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let runs = sandbox.runs(output);
    assert_eq!(runs.len(), 4);
    runs
}

/// Method, learning rate, and the losses with the test figures.
fn figures(run: &Run) -> (String, Vec<f64>) {
    let spec = &run.record.spec.spec;
    let test = run.record.result.measured.test.as_ref().unwrap();
    let mut figures = run.losses();
    figures.extend([test.loss, test.metrics["accuracy"]]);
    (format!("{:?} {}", spec.method, spec.train.lr), figures)
}

#[test]
fn a_plugin_of_abi_1_gives_the_numbers_of_the_catalogue() {
    let sandbox = Sandbox::new();
    let catalogue = "--init uniform --optimizer adamw:weight_decay=0.01";
    let catalogue = sweep(&sandbox, catalogue, "catalogue");
    let mut expected: Vec<_> = catalogue.iter().map(figures).collect();
    expected.sort_by(|(one, _), (other, _)| one.cmp(other));

    // The file selects its own of each kind; the alpha policy is that of `small` but for the name.
    let of_its_own = "--plugin TEST/abi1 --alpha-policy abi1:alpha=8";
    let frozen = sweep(&sandbox, of_its_own, "frozen");
    let file = PluginFile::read(&test_plugin("abi1")).unwrap();
    assert_eq!(file.manifest.abi, 1);
    for run in &frozen {
        let mut kinds = Vec::new();
        for plugin in &run.record.result.provenance.plugins {
            assert_eq!(plugin.name, "abi1", "{}", plugin.kind);
            assert_eq!(plugin.version.as_deref(), Some("1.0.0"));
            assert_eq!(plugin.sha256, file.sha256, "{}", plugin.kind);
            kinds.push(plugin.kind.as_str());
        }
        kinds.sort_unstable();
        let expected: &[&str] = match run.record.spec.spec.method {
            Method::Lora => &["alpha", "head", "init", "optimizer"],
            Method::Full => &["head", "optimizer"],
        };
        assert_eq!(kinds, expected);
    }
    let mut found: Vec<_> = frozen.iter().map(figures).collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    // The catalogue's head looks at one hidden state a row, and the last block computes no others: other sums.
    for ((run, found), (same, expected)) in found.iter().zip(&expected) {
        assert_eq!(run, same);
        close(found, expected, 1e-6);
    }

    // With all that a host lends.
    let everything = format!("{of_its_own} --init abi1:looks=true --head abi1:by_hand=true");
    let everything = sweep(&sandbox, &everything, "everything");
    let mut found: Vec<_> = everything.iter().map(figures).collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len(), "{name}");
        close(found, expected, 1e-5);
    }
}

#[test]
fn a_plugin_of_abi_1_passes_the_check_of_today() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost("plugin check TEST/abi1");
    assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.err);
    let inspected = sandbox.lorahost("plugin inspect TEST/abi1");
    assert!(
        inspected.out.starts_with("abi1 1.0.0 (ABI 1, "),
        "{}",
        inspected.out
    );
}
