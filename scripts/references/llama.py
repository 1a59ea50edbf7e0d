"""Makes the reference values of the decoder tests from transformers and PEFT.

    python scripts/references/llama.py [STORIES260K_FOLDER SMOLLM2_FOLDER WIKITEXT_FILE]

Needs torch 2.11, transformers 5, peft 0.21 and safetensors. Writes host/tests/data/decoders/NAME (small random models
as Hugging Face folders, each with reference.json and lora_a.safetensors), and, where the folders of stories260K and
SmolLM2-135M-Instruct and a file of WikiText-2 are named, host/tests/data/decoders/pretrained.json, which holds no text
of WikiText: losses, a few logits and a hash of the token ids.

Rows go through transformers one by one; packed, they go through lorahost.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parents[2] / "host" / "tests" / "data" / "decoders"
VOCABULARY, POSITIONS, LABELS, STEPS, BATCHES, ROWS = 96, 48, 3, 10, 2, 5
LR, WEIGHT_DECAY, RANK, ALPHA = 2e-3, 1e-3, 4, 8
NEW_TOKENS = 24
SHAPE = dict(
    vocab_size=VOCABULARY,
    max_position_embeddings=POSITIONS,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    initializer_range=0.2,
    pad_token_id=0,
    num_labels=LABELS,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=24,
)
# Name: family, its settings, and how config.json of transformers 4 has the positions, where that is to be read.
MODELS = {
    "llama": ("Llama", dict(rope_parameters=LLAMA3, tie_word_embeddings=True), None),
    "llama-untied": (
        "Llama",
        dict(
            num_key_value_heads=1,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
            rope_parameters=dict(rope_type="linear", rope_theta=1000.0, factor=2.0),
        ),
        dict(rope_theta=1000.0, rope_scaling=dict(type="linear", factor=2.0)),
    ),
    "qwen2": ("Qwen2", dict(rope_parameters=dict(rope_type="default", rope_theta=1e6), tie_word_embeddings=True), None),
    "qwen3": ("Qwen3", dict(head_dim=12, num_key_value_heads=4, tie_word_embeddings=False), None),
}


def rows(generator, count):
    """Token ids of uneven lengths from 2 on, 0 left for padding."""
    lengths = torch.randint(2, POSITIONS + 1, (count,), generator=generator)
    lengths[0], lengths[1] = 2, POSITIONS
    return [torch.randint(1, VOCABULARY, (int(n),), generator=generator) for n in lengths]


def disturb(model, generator):
    """Biases away from 0 and norms away from 1, so that a forgotten one shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def classification_loss(model, batch, labels):
    logits = torch.cat([model(input_ids=row[None]).logits for row in batch])
    return torch.nn.functional.cross_entropy(logits, labels)


def causal_loss(model, batch, _):
    """The mean over every token that is predicted."""
    logits = torch.cat([model(input_ids=row[None]).logits[0, :-1] for row in batch])
    return torch.nn.functional.cross_entropy(logits, torch.cat([row[1:] for row in batch]))


def steps(model, loss_of, batches, labels):
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=LR, weight_decay=WEIGHT_DECAY)
    losses = []
    for step in range(STEPS):
        which = step % BATCHES
        loss = loss_of(model, batches[which], labels[which])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def adapted(model, task, trained, factors):
    """Under LoRA on every linear layer of the decoder; A is drawn for the first model and kept for the second."""
    config = LoraConfig(
        task_type=task,
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=r".*layers.*\.(\w+_proj)",
        modules_to_save=trained,
    )
    wrapped = get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_A." in name:
                module = name.removeprefix("base_model.model.").split(".lora_A.")[0]
                parameter.copy_(factors.setdefault(module, parameter.detach().clone()))
    return wrapped


def greedy(model, prompt, count):
    """The likeliest tokens after `prompt`, and by how much each was likelier than the second."""
    with torch.no_grad():
        ids, margins = list(prompt), []
        for _ in range(count):
            best = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
            ids.append(best.indices[0].item())
            margins.append((best.values[0] - best.values[1]).item())
    generated = model.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=count, eos_token_id=None, pad_token_id=0
    )
    assert generated[0].tolist() == ids
    return ids[len(prompt) :], min(margins)


def random_model(name, family, settings, old_positions):
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    config = getattr(transformers, f"{family}Config")(**{**SHAPE, **settings})
    classifier = getattr(transformers, f"{family}ForSequenceClassification")
    causal = getattr(transformers, f"{family}ForCausalLM")

    config.save_pretrained(folder)
    if old_positions:
        written = json.loads((folder / "config.json").read_text())
        del written["rope_parameters"]
        (folder / "config.json").write_text(json.dumps({**written, **old_positions}, indent=2) + "\n")

    model, language = classifier(config), causal(config)
    disturb(model, generator)
    state = {**language.state_dict(), **model.state_dict()}
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    state = {n: t.half().contiguous() for n, t in state.items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    state = {n: t.float() for n, t in state.items()}

    def fresh(kind):
        made = kind(config)
        missing, _ = made.load_state_dict(state, strict=False)
        assert set(missing) <= {"lm_head.weight"}, missing
        made.tie_weights()
        return made.eval()

    probe = rows(generator, 4)
    with torch.no_grad():
        pooled = torch.cat([fresh(classifier)(input_ids=row[None]).logits for row in probe])
        scores = torch.cat([fresh(causal)(input_ids=row[None]).logits[0] for row in probe])
    batches = [rows(generator, ROWS) for _ in range(BATCHES)]
    labels = [torch.randint(0, LABELS, (ROWS,), generator=generator) for _ in range(BATCHES)]
    factors = {}
    losses = {
        "classification_full": steps(fresh(classifier), classification_loss, batches, labels),
        "classification_lora": steps(
            adapted(fresh(classifier), "SEQ_CLS", ["score"], factors), classification_loss, batches, labels
        ),
        "causal_full": steps(fresh(causal), causal_loss, batches, labels),
        "causal_lora": steps(adapted(fresh(causal), "CAUSAL_LM", None, factors), causal_loss, batches, labels),
    }
    save_file(factors, folder / "lora_a.safetensors")
    prompt = probe[2].tolist()[:5]
    written, margin = greedy(fresh(causal), prompt, NEW_TOKENS)
    reference = {
        "rank": RANK,
        "alpha": ALPHA,
        "lr": LR,
        "weight_decay": WEIGHT_DECAY,
        "rows": [row.tolist() for row in probe],
        "pooled_logits": pooled.tolist(),
        "causal_logits_sum": scores.double().sum(1).tolist(),
        "causal_logits_first": scores[:, :6].tolist(),
        "batches": [[row.tolist() for row in batch] for batch in batches],
        "labels": [label.tolist() for label in labels],
        "losses": losses,
        "prompt": prompt,
        "greedy": written,
    }
    (folder / "reference.json").write_text(json.dumps(reference) + "\n")
    print(name, "wrapped", len(factors), "margin", margin, {k: (v[0], v[-1]) for k, v in losses.items()})


def pretrained(folder, paragraph, prompt, count):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer(paragraph)["input_ids"][:256]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    start = tokenizer(prompt)["input_ids"]
    written, margin = greedy(model, start, count)
    print(folder, len(ids), "tokens, loss", losses.mean().item(), "margin", margin, tokenizer.decode(start + written))
    return {
        "tokens": len(ids),
        "sha256": hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest(),
        "losses": losses.tolist(),
        "logits": logits[::16, :6].tolist(),
        "prompt": prompt,
        "prompt_ids": start,
        "greedy": written,
        "text": tokenizer.decode(start + written, skip_special_tokens=True),
    }


def main():
    torch.set_num_threads(1)
    for name, model in MODELS.items():
        random_model(name, *model)
    if len(sys.argv) > 1:
        stories, smollm2, wikitext = sys.argv[1:]
        lines = Path(wikitext).read_text().splitlines()
        number, paragraph = next((n, line) for n, line in enumerate(lines) if len(line) > 1000)
        values = {
            "line": number,
            "stories260K": pretrained(stories, paragraph, "Once upon a time", 60),
            "smollm2-135m-instruct": pretrained(smollm2, paragraph, "The capital of France is", 16),
        }
        (HERE / "pretrained.json").write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
