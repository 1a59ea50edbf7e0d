//! Real text and real weights through the program.

use crate::sandbox::{Sandbox, real};

#[test]
fn minilm_learns_ag_news() {
    let test = "minilm_learns_ag_news";
    let Some(model) = real(test, "LORAHOST_TEST_MODELS", "all-MiniLM-L6-v2") else {
        return;
    };
    let Some(data) = real(test, "LORAHOST_TEST_DATA", "ag_news") else {
        return;
    };
    let sandbox = Sandbox::new();
    let (model, data) = (model.display(), data.display());
    let outcome = sandbox.lorahost(&format!(
        "--model {model} --data {data} --train-size 320 --validation-size 40 --test-size 200 --max-length 64 \
         --rank 16 --alpha-policy constant:alpha=32 --lrs 1e-3 --epochs 1 --batch-size 16 --workers 1 --output out"
    ));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let measured = &sandbox.runs("out")[0].record.result.measured;
    let accuracy = measured.test.as_ref().unwrap().metrics["accuracy"];
    // Guessing gives 0.25.
    assert!(accuracy > 0.7, "accuracy is {accuracy}");
}
