//! `--device cuda` where there is no CUDA.

use crate::sandbox::{Sandbox, skipped, small};

#[test]
fn the_missing_half_of_libtorch_is_named() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost_with(
        &small("--device cuda"),
        &[
            ("LD_LIBRARY_PATH", "/nowhere"),
            ("CUDA_VISIBLE_DEVICES", ""),
        ],
    );
    let line = outcome.refused();
    if line.contains("finds no GPU") {
        skipped(
            "the_missing_half_of_libtorch_is_named",
            "libtorch has its CUDA half here",
        );
        return;
    }
    for part in [
        "libtorch_cuda.so",
        "/nowhere",
        "scripts/setup cuda",
        "--device cpu",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!sandbox.path("out").exists(), "nothing is begun");
    let gpu = sandbox.lorahost(&small("--device gpu"));
    assert!(gpu.refused().contains("expected"), "{}", gpu.err);
}
