//! What is masked and what the loss counts, on the fake host.

use lorahost_plugin_api::testing::{self, TestHead, integers, json, tensor};

use super::*;

const MASK: i64 = 4;
const SPECIAL: [i64; 3] = [1, 2, MASK];
const VOCABULARY: usize = 1000;
/// A token that no random replacement is likely to be.
const WORD: i64 = 777;

fn task() -> Task {
    Task {
        vocab_size: VOCABULARY,
        mask_token: Some(MASK),
        special_tokens: SPECIAL.to_vec(),
        ..Task::default()
    }
}

fn head(mask_probability: f64, seed: u64) -> Result<TestHead<MaskedLm>> {
    let head = testing::params(json!({ "mask_probability": mask_probability }))?;
    TestHead::new(head, &task(), seed)
}

/// Tokens and labels that the model sees of one row.
fn inputs(head: &mut TestHead<MaskedLm>, tokens: &[i64]) -> Result<(Vec<i64>, Vec<i64>)> {
    let count = i64::try_from(tokens.len()).unwrap();
    let (tokens, offsets) = (integers(tokens)?, integers(&[0, count])?);
    let batch = Batch {
        tokens: &tokens,
        offsets: &offsets,
        labels: None,
        bytes: None,
    };
    let Inputs { tokens, labels } = head.inputs(&batch, true)?;
    Ok((tokens.to_i64()?, labels.expect("labels are made").to_i64()?))
}

#[test]
fn shares_are_those_of_bert() -> Result<()> {
    let total = 40_000;
    let (seen, labels) = inputs(&mut head(0.15, 1)?, &vec![WORD; total])?;
    let chosen: Vec<_> = seen
        .iter()
        .zip(&labels)
        .filter(|(_, label)| **label != -100)
        .collect();
    assert!(
        chosen.iter().all(|(_, label)| **label == WORD),
        "labels are the true tokens"
    );
    let untouched = seen
        .iter()
        .zip(&labels)
        .filter(|(_, label)| **label == -100);
    assert!(untouched.into_iter().all(|(token, _)| *token == WORD));

    let share = |part: usize, of: usize| part as f64 / of as f64;
    // Four standard errors each.
    assert!((share(chosen.len(), total) - 0.15).abs() < 0.0072);
    let count = |holds: fn(i64) -> bool| chosen.iter().filter(|(token, _)| holds(**token)).count();
    let masked = share(count(|token| token == MASK), chosen.len());
    let kept = share(count(|token| token == WORD), chosen.len());
    let random = share(count(|token| token != MASK && token != WORD), chosen.len());
    assert!((masked - 0.8).abs() < 0.021, "{masked}");
    assert!((kept - 0.1).abs() < 0.016, "{kept}");
    assert!((random - 0.1).abs() < 0.016, "{random}");
    Ok(())
}

#[test]
fn special_tokens_are_never_predicted() -> Result<()> {
    let tokens: Vec<i64> = (0..4_000).map(|at| [1, WORD, 2, MASK][at % 4]).collect();
    let (seen, labels) = inputs(&mut head(0.99, 1)?, &tokens)?;
    for ((token, seen), label) in tokens.iter().zip(seen).zip(labels) {
        if SPECIAL.contains(token) {
            assert_eq!((seen, label), (*token, -100));
        }
    }
    Ok(())
}

#[test]
fn masks_follow_the_seed_and_change_from_batch_to_batch() -> Result<()> {
    let tokens = vec![WORD; 200];
    let mut first = head(0.3, 1)?;
    let batches = [inputs(&mut first, &tokens)?, inputs(&mut first, &tokens)?];
    assert_ne!(batches[0], batches[1]);
    let mut again = head(0.3, 1)?;
    assert_eq!(inputs(&mut again, &tokens)?, batches[0]);
    assert_ne!(inputs(&mut head(0.3, 2)?, &tokens)?, batches[0]);
    Ok(())
}

#[test]
fn the_loss_counts_hidden_tokens_alone() -> Result<()> {
    let mut head = head(0.15, 1)?;
    assert_eq!(head.plan().layout, "vocabulary");
    let logits = [0.5, -1.0, 2.0, 9.0, 9.0, 9.0, 1.0, 1.5, -0.5];
    let (tokens, offsets) = (integers(&[5, 6, 7])?, integers(&[0, 3])?);
    let (labels, none) = (integers(&[2, -100, 0])?, integers(&[-100; 3])?);
    let batch = Batch {
        tokens: &tokens,
        offsets: &offsets,
        labels: Some(&labels),
        bytes: None,
    };
    let hidden = tensor(&logits, &[3, 3])?;
    let (sum, count) = head.forward(&hidden, &batch, true)?;
    let nll = |row: &[f64], label: usize| {
        row.iter().map(|logit| logit.exp()).sum::<f64>().ln() - row[label]
    };
    let expected = nll(&logits[..3], 2) + nll(&logits[6..], 0);
    assert!((sum - expected).abs() < 1e-12, "{sum}, not {expected}");
    assert_eq!(count, 2);

    let nothing = Batch {
        labels: Some(&none),
        ..batch
    };
    assert_eq!(head.forward(&hidden, &nothing, true)?, (0.0, 0));
    Ok(())
}

#[test]
fn perplexity_is_the_exponential_of_the_loss() -> Result<()> {
    let metrics = head(0.15, 1)?.metrics(2.0)?;
    assert_eq!(metrics.values["nll"], 2.0);
    assert!((metrics.values["perplexity"] - 2.0_f64.exp()).abs() < 1e-12);
    assert!(!metrics.higher_is_better);
    Ok(())
}

#[test]
fn a_tokenizer_without_mask_is_refused() -> Result<()> {
    let task = Task {
        mask_token: None,
        ..task()
    };
    let error = TestHead::new(testing::params::<MaskedLm>(json!({}))?, &task, 1).err();
    let message = error.map(|error| error.to_string());
    assert_eq!(
        message.as_deref(),
        Some("masked-lm needs a tokenizer with a mask token")
    );
    Ok(())
}
