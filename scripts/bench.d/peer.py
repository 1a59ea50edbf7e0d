"""One of those that lorahost is measured against, in a process of its own: `peer.py KIND JOB`, JOB a JSON object.

Each line on standard input asks for one repetition; the answer is one line of JSON with `tokens` (real ones, padding
not counted), `steps`, `seconds` and `peak_memory_bytes`. Kinds:

  peft            PEFT on transformers, batches padded to their longest row, SDPA, fused AdamW
  peft-grouped    the same, rows of like length together
  peft-compiled   as peft, under torch.compile
  peft-full       transformers without PEFT: full fine-tuning
  peft-evaluate   as peft, forward only, on batches in the file's order
  peft-causal     a language model under PEFT, on blocks of `block` tokens, `batch` of them a step
  original        the original study's way: its own LoRA layer, every row padded to 512
"""

import json
import math
import os
import resource
import sys
import time

import rows as data

KIND, JOB = sys.argv[1], json.loads(sys.argv[2])
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402  (after the environment is set)
from torch import nn  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils import logging  # noqa: E402

logging.set_verbosity_error()
logging.disable_progress_bar()

LAYERS = r".*encoder\.layer\..*\.(query|key|value|dense)"
DECODER_LAYERS = r".*\.(c_attn|c_proj|c_fc|[qkvo]_proj|(gate|up|down)_proj)"


class OriginalLora(nn.Module):
    """The original's layer: W x + (alpha / r) (x A) B, in its own order of products."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        bound = 1 / math.sqrt(linear.in_features)
        self.a = nn.Parameter(torch.empty(linear.in_features, rank).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(rank, linear.out_features))
        self.scale = alpha / rank

    def forward(self, x):
        return self.linear(x) + self.scale * (x @ self.a @ self.b)


def put_original(model, rank, alpha):
    for parameter in model.parameters():
        parameter.requires_grad = False

    def replace(module):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, OriginalLora(child, rank, alpha))
            else:
                replace(child)

    replace(model)
    return model


def put_peft(model, rank, alpha, layers=LAYERS, trained=("pooler", "classifier")):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=layers, modules_to_save=list(trained) or None, lora_dropout=0.0
    )
    return get_peft_model(model, config)


def fused_adamw(model, fused=True):
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(learning, lr=JOB["lr"], weight_decay=1e-3, fused=fused)


def answer_each(batches, warm, do, tokens, repeats_first=False):
    """One repetition for each line of standard input: `warm` batches, then the others, timed."""
    print(json.dumps({"ready": True}), flush=True)
    first = True
    for _ in sys.stdin:
        # One compilation is not held against anyone, nor the first step of a repetition.
        for batch in batches[:warm] * (2 if first and repeats_first else 1):
            do(batch)
        first = False
        started = time.perf_counter()
        for batch in batches[warm:]:
            do(batch)
        seconds = time.perf_counter() - started
        answer = {
            "tokens": sum(tokens(batch) for batch in batches[warm:]),
            "steps": len(batches) - warm,
            "seconds": seconds,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(answer), flush=True)


def causal():
    """The kind peft-causal."""
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])
    blocks = data.blocks(JOB["train"], tokenizer, JOB["block"])[: JOB["rows"]]
    if JOB["random"]:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(JOB["model"]))
    else:
        model = AutoModelForCausalLM.from_pretrained(JOB["model"], dtype=torch.float32)
    model = put_peft(model, JOB["rank"], JOB["alpha"], DECODER_LAYERS, ())
    optimizer = fused_adamw(model)
    model.train()

    def step(batch):
        ids = torch.tensor([blocks[row] for row in batch])
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    batches = data.random_batches(len(blocks), JOB["warm"] + JOB["steps"], JOB["batch"])
    answer_each(batches, JOB["warm"], step, lambda batch: len(batch) * JOB["block"])


def main():
    torch.set_num_threads(JOB["threads"])
    torch.manual_seed(0)
    if KIND == "peft-causal":
        return causal()
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])
    rows = data.read(JOB["train"], JOB["rows"])
    encoded = [tokenizer(text, truncation=True, max_length=data.LONGEST)["input_ids"] for _, text in rows]
    model = AutoModelForSequenceClassification.from_pretrained(JOB["model"], num_labels=data.CLASSES)
    if KIND == "original":
        model = put_original(model, JOB["rank"], JOB["alpha"])
    elif KIND != "peft-full":
        model = put_peft(model, JOB["rank"], JOB["alpha"])
    optimizer = fused_adamw(model, fused=KIND != "original")
    model.train(KIND != "peft-evaluate")
    if KIND == "peft-compiled":
        model = torch.compile(model, dynamic=True)

    warm, steps = JOB["warm"], JOB["steps"]
    if KIND == "peft-grouped":
        batches = data.grouped_batches([len(ids) for ids in encoded], warm + steps)
    elif KIND == "peft-evaluate":
        batches = [list(range(at, at + data.BATCH)) for at in range(0, (warm + steps) * data.BATCH, data.BATCH)]
    else:
        batches = data.random_batches(len(rows), warm + steps)

    def tensors(batch):
        padded = {"padding": "max_length", "max_length": data.LONGEST} if KIND == "original" else {"padding": True}
        inputs = tokenizer.pad({"input_ids": [encoded[row] for row in batch]}, return_tensors="pt", **padded)
        return dict(inputs, labels=torch.tensor([rows[row][0] for row in batch]))

    def step(batch):
        loss = model(**tensors(batch)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    @torch.no_grad()
    def evaluate(batch):
        return model(**tensors(batch)).loss.item()

    do = evaluate if KIND == "peft-evaluate" else step
    tokens = lambda batch: sum(len(encoded[row]) for row in batch)  # noqa: E731
    answer_each(batches, warm, do, tokens, repeats_first=KIND == "peft-compiled")


main()
