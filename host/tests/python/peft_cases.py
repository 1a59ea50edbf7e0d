"""Opens what lorahost exported, and makes adapters for it to open, with transformers and PEFT.

    python peft_cases.py logits CASES.json OUT.json
    python peft_cases.py make CASES.json OUT.json

A case of `logits` is {base, adapter, layout, outputs, rows}: the logits of each row, alone and without padding, by
`PeftModel.from_pretrained` on the base, or by the base itself where `adapter` is null. A case of `make` is {base,
folder, layout, outputs, rows, config}: an adapter with random factors and random modules saved whole is written to the
folder. Both write a list of one result a case, each a list of one list of numbers a row.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification
from transformers import AutoModelForTokenClassification

CLASSES = {
    "pooled": AutoModelForSequenceClassification,
    "tokens": AutoModelForTokenClassification,
    "causal": AutoModelForCausalLM,
    "vocabulary": AutoModelForMaskedLM,
}


def base(case):
    labels = {"num_labels": case["outputs"], "ignore_mismatched_sizes": True} if case["layout"] in ("pooled", "tokens") else {}
    torch.manual_seed(99)
    return CLASSES[case["layout"]].from_pretrained(case["base"], dtype=torch.float32, **labels)


def logits(model, rows):
    model.eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([row])).logits.flatten().tolist() for row in rows]


def opened(case):
    model = base(case)
    if case["adapter"] is None:
        return logits(model, case["rows"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(model, case["adapter"])
    lost = [str(w.message) for w in caught if "missing" in str(w.message) or "unexpected" in str(w.message)]
    assert not lost, lost
    return logits(model, case["rows"])


def made(case):
    """In bfloat16 the factors are rounded before they are saved, and the logits are theirs."""
    model = get_peft_model(base(case), LoraConfig(**case["config"]))
    kind = getattr(torch, case.get("dtype", "float32"))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(parameter.to(kind))
    model.save_pretrained(case["folder"])
    if kind != torch.float32:
        path = Path(case["folder"]) / "adapter_model.safetensors"
        save_file({name: tensor.to(kind) for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    return logits(model, case["rows"])


if __name__ == "__main__":
    what, cases, out = sys.argv[1:]
    act = {"logits": opened, "make": made}[what]
    results = [act(case) for case in json.load(open(cases))]
    json.dump(results, open(out, "w"))
