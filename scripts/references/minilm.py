"""Makes host/tests/data/minilm.json: logits, and losses of training, of all-MiniLM-L6-v2 by transformers and PEFT.

    python scripts/references/minilm.py MINILM_FOLDER

Needs torch 2.11, transformers 5 and peft 0.21. The classifier and every layer's A are `noise` of their names, which
host/tests/program/minilm.rs computes too, so that token ids and results are all that is kept.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, BertForSequenceClassification

OUT = Path(__file__).resolve().parents[2] / "host" / "tests" / "data" / "minilm.json"
LABELS, STEPS, ROWS = 4, 20, 8
WEIGHT_DECAY, RANK, ALPHA = 1e-3, 16, 32
LR = {"full": 1e-4, "lora": 1e-3}

# Label and text; each batch has the four labels twice.
SENTENCES = [
    (0, "The two governments agreed to open the border again in spring."),
    (1, "She won the final set after saving three match points."),
    (2, "The airline will sell a quarter of its fleet to pay its debts."),
    (3, "A new chip does the same work with half of the current."),
    (0, "Voters queued in the rain until the last polling station closed."),
    (1, "The goalkeeper broke a finger and still played on."),
    (2, "Coffee prices rose."),
    (3, "The probe sent its first pictures of the icy moon, and engineers cheered."),
    (0, "Rebels let the aid trucks pass."),
    (1, "Nobody had run the marathon faster on that hilly course, not even downhill."),
    (2, "Quarterly profit doubled, yet the shares of the bank fell by a tenth."),
    (3, "Researchers found a hole in the router's software."),
    (0, "The minister resigned over a letter that he says he never wrote."),
    (1, "Both teams missed from the spot."),
    (2, "The merger needs the consent of regulators on two continents."),
    (3, "Old telephones make good cameras for counting wild bees in orchards."),
]


def noise(name, rows, columns):
    """`[rows, columns]` within 1 / sqrt(columns), a function of the name: quadratic residues of 2^32, exact in float64."""
    start = sum(name.encode()) * 65537
    values = [(start + k) ** 2 * 2654435761 % 2**32 / 2**31 - 1 for k in range(rows * columns)]
    return (torch.tensor(values, dtype=torch.float64) / columns**0.5).float().view(rows, columns)


def pad(rows):
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()


def fresh(folder):
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=LABELS, dtype=torch.float32)
    with torch.no_grad():
        model.classifier.weight.copy_(noise("classifier", *model.classifier.weight.shape))
        model.classifier.bias.zero_()
    return model.eval()


def adapted(folder):
    model = get_peft_model(
        fresh(folder),
        LoraConfig(
            task_type="SEQ_CLS",
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=0.0,
            target_modules=r".*encoder.*\.(query|key|value|dense)",
            modules_to_save=["classifier", "pooler"],
        ),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_A." in name:
                layer = name.removeprefix("base_model.model.").split(".lora_A.")[0]
                parameter.copy_(noise(layer, *parameter.shape))
    return model.eval()


def logits(model, batch):
    ids, mask = pad(batch)
    return model(input_ids=ids, attention_mask=mask).logits


def steps(model, batches, labels, lr):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=WEIGHT_DECAY)
    losses = []
    for step in range(STEPS):
        which = step % len(batches)
        loss = torch.nn.functional.cross_entropy(logits(model, batches[which]), torch.tensor(labels[which]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    torch.set_num_threads(1)
    folder = sys.argv[1]
    rows = AutoTokenizer.from_pretrained(folder)([text for _, text in SENTENCES])["input_ids"]
    labels = [label for label, _ in SENTENCES]
    batches = [rows[at : at + ROWS] for at in range(0, len(rows), ROWS)]
    labels = [labels[at : at + ROWS] for at in range(0, len(labels), ROWS)]
    # The same texts with other labels keep the loss away from 0, where float32 has few digits.
    batches += batches
    labels += [[(label + 1) % LABELS for label in batch] for batch in labels]
    with torch.no_grad():
        plain = [logits(fresh(folder), batch).tolist() for batch in batches]
    reference = {
        "rank": RANK,
        "alpha": ALPHA,
        "full_lr": LR["full"],
        "lora_lr": LR["lora"],
        "weight_decay": WEIGHT_DECAY,
        "batches": batches,
        "labels": labels,
        "logits": plain,
        "full_losses": steps(fresh(folder), batches, labels, LR["full"]),
        "lora_losses": steps(adapted(folder), batches, labels, LR["lora"]),
    }
    OUT.write_text(json.dumps(reference) + "\n")
    for name in ("full_losses", "lora_losses"):
        print(name, reference[name])


if __name__ == "__main__":
    main()
