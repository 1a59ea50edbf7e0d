//! What is predicted, counted and measured, on the fake host; gradients are the real host's affair.

use lorahost_plugin_api::testing::{self, TestHead, integers, json, live_handles, tensor};

use super::*;

const VOCABULARY: usize = 5;

fn head(chunk: usize) -> Result<TestHead<CausalLm>> {
    let task = Task {
        vocab_size: VOCABULARY,
        ..Task::default()
    };
    TestHead::new(testing::params(json!({ "chunk": chunk }))?, &task, 1)
}

/// Rows of tokens, and hidden states `[total, 5]` that are the logits of a head without layers.
struct Packed {
    rows: Vec<Vec<i64>>,
    tokens: Tensor,
    offsets: Tensor,
    hidden: Tensor,
    bytes: Option<u64>,
}

/// The hidden state of a token depends on it and its place in the row alone.
fn logits(token: i64, place: usize) -> Vec<f64> {
    let value = |at: usize| ((token * 7 + at as i64 * 3 + place as i64) % 11) as f64 / 4.0;
    (0..VOCABULARY).map(value).collect()
}

impl Packed {
    fn new(rows: &[&[i64]]) -> Result<Self> {
        let mut offsets = vec![0];
        let (mut tokens, mut hidden) = (Vec::new(), Vec::new());
        for row in rows {
            for (place, &token) in row.iter().enumerate() {
                tokens.push(token);
                hidden.extend(logits(token, place));
            }
            offsets.push(tokens.len() as i64);
        }
        Ok(Self {
            rows: rows.iter().map(|row| row.to_vec()).collect(),
            tokens: integers(&tokens)?,
            offsets: integers(&offsets)?,
            hidden: tensor(&hidden, &[tokens.len() as i64, VOCABULARY as i64])?,
            bytes: None,
        })
    }

    fn batch(&self) -> Batch<'_> {
        Batch {
            tokens: &self.tokens,
            offsets: &self.offsets,
            labels: None,
            bytes: self.bytes,
        }
    }

    /// The loss token by token.
    fn brute_force(&self) -> f64 {
        let mut sum = 0.0;
        for row in &self.rows {
            for (place, pair) in row.windows(2).enumerate() {
                let logits = logits(pair[0], place);
                let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
                sum += total.ln() - logits[usize::try_from(pair[1]).unwrap()];
            }
        }
        sum
    }
}

const ROWS: [&[i64]; 4] = [&[1, 2, 3, 4, 0], &[2, 2], &[3], &[0, 4, 1]];

#[test]
fn each_token_is_predicted_from_the_one_before_in_its_row() -> Result<()> {
    let packed = Packed::new(&ROWS)?;
    let mut head = head(0)?;
    assert_eq!(head.plan().layout, "causal");
    assert_eq!(head.plan().outputs, None);
    for training in [true, false] {
        let (sum, count) = head.forward(&packed.hidden, &packed.batch(), training)?;
        let expected = packed.brute_force();
        assert!((sum - expected).abs() < 1e-12, "{sum}, not {expected}");
        assert_eq!(count, 4 + 1 + 2);
    }
    Ok(())
}

#[test]
fn order_and_packing_of_rows_do_not_matter() -> Result<()> {
    let mut head = head(0)?;
    let mut loss = |rows: &[&[i64]]| {
        let packed = Packed::new(rows)?;
        head.forward(&packed.hidden, &packed.batch(), true)
    };
    let (sum, count) = loss(&ROWS)?;
    let [a, b, c, d] = ROWS;
    let (turned, as_many) = loss(&[d, c, b, a])?;
    assert!((turned - sum).abs() < 1e-12 && as_many == count);
    let (one, two) = (loss(&[a, d])?, loss(&[b, c])?);
    assert!((one.0 + two.0 - sum).abs() < 1e-12 && one.1 + two.1 == count);
    // A row of one token predicts nothing.
    assert_eq!(loss(&[c])?, (0.0, 0));
    Ok(())
}

#[test]
fn chunks_of_any_size_give_the_same_loss() -> Result<()> {
    let packed = Packed::new(&ROWS)?;
    for chunk in [1, 2, 3, 6, 7, 100] {
        let mut head = head(chunk)?;
        let before = live_handles();
        let (sum, count) = head.forward(&packed.hidden, &packed.batch(), false)?;
        assert_eq!(live_handles(), before, "nothing leaks");
        assert!((sum - packed.brute_force()).abs() < 1e-12, "{chunk}");
        assert_eq!(count, 7);
    }
    // The stand-in has no autograd, and says so where chunks of a training pass need it.
    let error = head(3)?.forward(&packed.hidden, &packed.batch(), true);
    let error = error.expect_err("no autograd").to_string();
    assert!(
        error.starts_with("the fake host has no autograd"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_chunk_is_sized_by_its_logits_where_nobody_says() -> Result<()> {
    let sized = |chunk: usize, vocab_size| {
        let mut head = testing::params::<CausalLm>(json!({ "chunk": chunk }))?;
        head.plan(&Task {
            vocab_size,
            ..Task::default()
        })?;
        Ok::<_, Error>(head.chunk())
    };
    // 667 rows of 50257 logits of 4 bytes are 128 MiB less 0.1.
    assert_eq!(sized(0, 50257)?, 667);
    assert_eq!(sized(0, 100_000_000)?, 1);
    assert_eq!(sized(9, 50257)?, 9);
    Ok(())
}

#[test]
fn bits_per_byte_need_the_bytes_of_every_batch() -> Result<()> {
    let mut packed = Packed::new(&ROWS)?;
    let mut head = head(0)?;
    let mut sums = 0.0;
    head.reset()?;
    for bytes in [30, 11] {
        packed.bytes = Some(bytes);
        sums += head.forward(&packed.hidden, &packed.batch(), false)?.0;
    }
    // A training pass in between is not measured.
    head.forward(&packed.hidden, &packed.batch(), true)?;
    let metrics = head.metrics(sums / 14.0)?;
    let bits = sums / std::f64::consts::LN_2;
    assert!((metrics.values["bits_per_byte"] - bits / 41.0).abs() < 1e-12);
    assert!((metrics.values["perplexity"] - (sums / 14.0).exp()).abs() < 1e-12);
    assert_eq!(metrics.values["nll"], sums / 14.0);
    assert_eq!(
        (metrics.headline.as_str(), metrics.short.as_str()),
        ("perplexity", "ppl")
    );
    assert!(!metrics.higher_is_better);

    packed.bytes = None;
    head.forward(&packed.hidden, &packed.batch(), false)?;
    assert!(!head.metrics(1.0)?.values.contains_key("bits_per_byte"));
    Ok(())
}
