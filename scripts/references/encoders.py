"""Makes the reference values of the encoder tests from transformers and PEFT.

    python scripts/references/encoders.py [MINILM_FOLDER]

Needs torch 2.11, transformers 5, peft 0.21 and safetensors. Writes host/tests/data/tiny-bert-reference,
tiny-distilbert-reference, tiny-roberta-reference, tiny-gpt2-reference (small random models as Hugging Face folders,
each with reference.json and lora_a.safetensors), and, where the folder of all-MiniLM-L6-v2 is named, minilm.safetensors.

Padded inputs go through transformers in evaluation mode; the same rows, packed, go through lorahost.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification
from transformers import DistilBertConfig, DistilBertForMaskedLM, DistilBertForSequenceClassification
from transformers import DistilBertForTokenClassification
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2ForTokenClassification, GPT2LMHeadModel
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaForSequenceClassification
from transformers import RobertaForTokenClassification

HERE = Path(__file__).resolve().parents[2] / "host" / "tests" / "data"
VOCABULARY, POSITIONS, LABELS, STEPS, BATCHES, ROWS = 200, 40, 4, 20, 4, 6
LR, WEIGHT_DECAY, RANK, ALPHA = 1e-3, 1e-3, 8, 16

SENTENCES = [
    "The harbour was quiet before the first boats came in.",
    "Two teams met in the rain, and nobody scored until the last minute.",
    "Shares fell.",
    "A telescope as wide as a tennis court will look for water on worlds far away, its makers say, "
    "although the mirror is not polished yet and the money for the rocket has to be found first.",
]


def rows(generator, count, padding):
    """Token ids of uneven lengths, all above the one of padding."""
    lengths = torch.randint(1, POSITIONS + 1, (count,), generator=generator)
    lengths[0], lengths[1] = 1, POSITIONS
    return [torch.randint(padding + 1, VOCABULARY, (int(n),), generator=generator) for n in lengths]


def pad(rows, padding):
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()


def disturb(model, generator):
    """Biases away from 0 and norms away from 1, so that a forgotten one shows."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def steps(model, batches, labels):
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=WEIGHT_DECAY
    )
    losses = []
    for step in range(STEPS):
        ids, mask = pad(batches[step % BATCHES], model.config.pad_token_id)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels[step % BATCHES]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def buffers(config):
    """The causal masks that older files of GPT-2 hold, named without prefix."""
    mask = torch.ones(1, 1, POSITIONS, POSITIONS, dtype=torch.uint8).tril()
    return {f"h.{layer}.attn.bias": mask.clone() for layer in range(config.n_layer)}


def family(folder, config, classes, layout, targets, heads, dtype, strip, buffers=lambda config: {}, **lora):
    """`classes` are those of the layouts `pooled`, `layout` (a score of every word) and `tokens`."""
    classifier, masked, tagger = classes
    padding = config.pad_token_id
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    folder = HERE / folder
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)

    model, language = classifier(config), masked(config)
    disturb(model, generator)
    disturb(language, generator)
    base = model.base_model_prefix + "."
    state = {name: tensor for name, tensor in language.state_dict().items()}
    state.update(model.state_dict())
    if "classifier.weight" not in state:
        tags = tagger(config)
        disturb(tags, generator)
        state.update({name: tags.state_dict()[name] for name in ("classifier.weight", "classifier.bias")})
    tied = set(language._tied_weights_keys or {})
    tied |= {"cls.predictions.decoder.bias"}
    state = {n: t.to(dtype).contiguous() for n, t in state.items() if n not in tied}
    named = {n.removeprefix(base) if strip else n: t for n, t in state.items()}
    save_file(named | buffers(config), folder / "model.safetensors", {"format": "pt"})
    state = {n: t.float() for n, t in state.items()}

    def fresh(kind):
        made = kind(config)
        missing, _ = made.load_state_dict(state, strict=False)
        assert set(missing) <= tied, missing
        made.tie_weights()
        return made.eval()

    probe = rows(generator, 5, padding)
    ids, mask = pad(probe, padding)
    with torch.no_grad():
        logits = fresh(classifier)(input_ids=ids, attention_mask=mask).logits
        scores = fresh(masked)(input_ids=ids, attention_mask=mask).logits[mask.bool()]

    batches = [rows(generator, ROWS, padding) for _ in range(BATCHES)]
    labels = [torch.randint(0, LABELS, (ROWS,), generator=generator) for _ in range(BATCHES)]
    full = steps(fresh(classifier), batches, labels)

    lora |= dict(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=targets, modules_to_save=heads)
    wrapped = get_peft_model(fresh(classifier), LoraConfig(task_type="SEQ_CLS", **lora)).eval()
    factors = {}
    for name, parameter in wrapped.named_parameters():
        if ".lora_A." in name:
            module = name.removeprefix("base_model.model.").split(".lora_A.")[0]
            factors[module] = parameter.detach().clone()
    save_file(factors, folder / "lora_a.safetensors")
    adapted = steps(wrapped, batches, labels)
    with torch.no_grad():
        tags = fresh(tagger)(input_ids=ids, attention_mask=mask).logits[mask.bool()]

    reference = {
        "rank": RANK,
        "alpha": ALPHA,
        "full_lr": LR,
        "lora_lr": LR,
        "weight_decay": WEIGHT_DECAY,
        "rows": [row.tolist() for row in probe],
        "classification_logits": logits.tolist(),
        "token_logits": tags.tolist(),
        "vocabulary_layout": layout,
        "vocabulary_logits_sum": scores.double().sum(1).tolist(),
        "vocabulary_logits_first": scores[:, :8].tolist(),
        "batches": [[row.tolist() for row in batch] for batch in batches],
        "labels": [label.tolist() for label in labels],
        "full_losses": full,
        "lora_losses": adapted,
    }
    (folder / "reference.json").write_text(json.dumps(reference) + "\n")
    print(folder.name, "wrapped", len(factors), "full", full[0], full[-1], "lora", adapted[0], adapted[-1])


def minilm(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
        pooled = model(**batch).pooler_output
    mask = batch["attention_mask"].bool()
    lengths = mask.sum(1)
    save_file(
        {
            "ids": batch["input_ids"][mask].to(torch.int32),
            "offsets": torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]).to(torch.int32),
            "first_token": hidden[:, 0].contiguous(),
            "mean": torch.stack([h[m].mean(0) for h, m in zip(hidden, mask)]),
            "pooled": pooled,
        },
        HERE / "minilm.safetensors",
    )
    print("minilm", lengths.tolist(), "max |hidden|", hidden.abs().max().item())


def main():
    torch.set_num_threads(1)
    shape = dict(vocab_size=VOCABULARY, max_position_embeddings=POSITIONS, initializer_range=0.1)
    names = dict(id2label={i: f"LABEL_{i}" for i in range(LABELS)}, label2id={f"LABEL_{i}": i for i in range(LABELS)})
    encoder = r".*encoder.*\.(query|key|value|dense)"
    family(
        "tiny-bert-reference",
        BertConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, **shape, **names),
        (BertForSequenceClassification, BertForMaskedLM, BertForTokenClassification),
        "vocabulary",
        encoder,
        ["classifier", "pooler"],
        torch.float32,
        strip=False,
    )
    family(
        "tiny-distilbert-reference",
        DistilBertConfig(dim=64, n_layers=2, n_heads=4, hidden_dim=128, activation="gelu", **shape, **names),
        (DistilBertForSequenceClassification, DistilBertForMaskedLM, DistilBertForTokenClassification),
        "vocabulary",
        r".*transformer.*\.(q_lin|k_lin|v_lin|out_lin|lin1|lin2)",
        ["pre_classifier", "classifier"],
        torch.float16,
        strip=True,
    )
    # Two more entries than positions: they begin at 2.
    longer = shape | dict(max_position_embeddings=POSITIONS + 2)
    small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    family(
        "tiny-roberta-reference",
        RobertaConfig(hidden_act="relu", layer_norm_eps=1e-5, type_vocab_size=1, **small, **longer, **names),
        (RobertaForSequenceClassification, RobertaForMaskedLM, RobertaForTokenClassification),
        "vocabulary",
        encoder,
        ["classifier"],
        torch.float16,
        strip=False,
    )
    family(
        "tiny-gpt2-reference",
        GPT2Config(n_embd=32, n_layer=2, n_head=4, n_inner=80, pad_token_id=0, **shape, **names),
        (GPT2ForSequenceClassification, GPT2LMHeadModel, GPT2ForTokenClassification),
        "causal",
        r".*\.(c_attn|c_proj|c_fc)",
        ["score"],
        torch.float16,
        strip=True,
        buffers=buffers,
        fan_in_fan_out=True,
    )
    if len(sys.argv) > 1:
        minilm(sys.argv[1])


if __name__ == "__main__":
    main()
