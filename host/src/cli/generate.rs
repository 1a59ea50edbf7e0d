//! `lorahost generate`: text from a decoder, as it is written.

use std::borrow::Cow;
use std::fs;

use serde_json::json;

use super::args::GenerateArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{offer, print};
use crate::generate::{GenerateError, Sampling, Stop, Writer};
use crate::train::resolve_device;

/// Writes the prompt and what follows it, or one JSON object.
pub fn run(args: &GenerateArgs) -> Result<Exit, Failure> {
    let prompt = prompt(args)?;
    let device = resolve_device(args.device)?;
    let writer = Writer::open(&args.model, args.base.as_deref(), device)?;
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k.map(usize::from),
        top_p: args.top_p,
    };
    let prompt_tokens = writer.prompt(&prompt)?;
    let mut tokens = writer.write(&prompt_tokens, args.max_new_tokens, sampling, args.seed)?;
    let mut stream = writer.text_after(&prompt_tokens)?;

    let show = |piece: &str| if args.json { Ok(true) } else { offer(piece) };
    let mut reading = show(&prompt)?;
    let (mut written, mut text) = (Vec::new(), String::new());
    while reading && let Some(token) = tokens.next() {
        let token = token?;
        let piece = stream.push(token).map_err(GenerateError::from)?;
        reading = show(&piece)?;
        written.push(token);
        text.push_str(&piece);
    }
    if args.json {
        let value = json!({
            "model": args.model,
            "prompt": prompt,
            "text": text,
            "prompt_tokens": prompt_tokens,
            "tokens": written,
            "stop": tokens.stop().map(Stop::name),
            "seed": args.seed,
        });
        print(&format!("{value:#}\n"))?;
    } else if reading {
        print("\n")?;
    }
    Ok(Exit::Ok)
}

/// The text to go on with; a file's last line end is no part of it.
fn prompt(args: &GenerateArgs) -> Result<Cow<'_, str>, Failure> {
    let Some(path) = &args.prompt_file else {
        return Ok(Cow::Borrowed(args.prompt.as_deref().unwrap_or_default()));
    };
    let mut text = fs::read_to_string(path).map_err(|source| Failure::Input {
        path: path.clone(),
        source,
    })?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(Cow::Owned(text))
}
