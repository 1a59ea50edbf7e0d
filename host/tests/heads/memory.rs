//! How much memory the output projection of a large vocabulary takes. A measurement, run by name:
//!
//!     cargo test --release -p lorahost --test heads memory -- --ignored --nocapture

use std::io::Write as _;
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use lorahost::plugins::HeadAccess;
use tch::{Device, Kind, Tensor};

use crate::lent::{Layer, Lent, Outcome, batch, chunk, forward, head, task};

/// The rows of a chunk in the child that measures.
const CHUNK: &str = "LORAHOST_TEST_CHUNK";
const THIS: &str = "memory::of_the_shape_of_distilgpt2";
/// 8 blocks of 512 tokens, hidden states of 768, 50257 tokens.
const BLOCKS: usize = 8;
const BLOCK: i64 = 512;
const HIDDEN: i64 = 768;
const VOCABULARY: i64 = 50257;
/// A chunk that no batch fills.
const ALL: usize = 1 << 40;

#[test]
#[ignore = "a measurement of minutes and 3 GB"]
fn of_the_shape_of_distilgpt2() -> Outcome {
    if let Ok(rows) = std::env::var(CHUNK) {
        return measure(rows.parse()?);
    }
    let peak = |rows: usize| -> Result<f64, Box<dyn std::error::Error>> {
        let child = Command::new(std::env::current_exe()?)
            .args([THIS, "--exact", "--ignored", "--nocapture"])
            .env(CHUNK, rows.to_string())
            .output()?;
        let text = String::from_utf8_lossy(&child.stdout);
        let found = text.lines().find_map(|line| line.split_once("peak "));
        let (_, figures) = found.ok_or_else(|| format!("the child said: {text}"))?;
        let which = match rows {
            0 => "default chunks".to_owned(),
            ALL => "all at once".to_owned(),
            rows => format!("chunks of {rows}"),
        };
        writeln!(std::io::stderr().lock(), "{which}: {figures}")?;
        Ok(figures.split(' ').next().unwrap_or_default().parse()?)
    };
    let plain = peak(ALL)?;
    for rows in [0, 512, 1024] {
        let chunked = peak(rows)?;
        assert!(chunked < 0.5 * plain, "{chunked} MB, {plain} MB at once");
    }
    Ok(())
}

/// One step of full fine-tuning of the projection, and what it took beyond weights, hidden states and gradients that any
/// way needs.
fn measure(rows: usize) -> Outcome {
    tch::set_num_threads(1);
    let learns =
        |shape: [i64; 2]| Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let weight = learns([VOCABULARY, HIDDEN]);
    let batch = batch(&[BLOCK; BLOCKS], None, VOCABULARY);
    let hidden = learns([BLOCKS as i64 * BLOCK, HIDDEN]);
    let lent = Lent(vec![Layer {
        name: "lm_head",
        weight: weight.shallow_clone(),
        bias: None,
        factors: None,
    }]);
    let head = head(
        "causal_lm_head",
        "causal-lm",
        &chunk(rows),
        &task(&[], VOCABULARY as usize),
    )?;
    head.layers(&lent.message(None))?;
    let access: Rc<dyn HeadAccess> = Rc::new(lent);
    let before = peak()?;
    let start = Instant::now();
    let loss = forward(&head, &hidden, &batch, &access)?;
    (loss.sum / loss.count as f64).f_backward()?;
    let seconds = start.elapsed().as_secs_f64();
    assert!(weight.grad().defined() && hidden.grad().defined());
    writeln!(
        std::io::stdout().lock(),
        "peak {:.0} MB, {before:.0} MB of them before the step; {seconds:.1} s on one thread",
        peak()?,
    )?;
    Ok(())
}

/// The largest resident memory of this process so far, in MB.
fn peak() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmHWM in /proc/self/status")?.parse::<f64>()? * 1024.0 / 1e6)
}
