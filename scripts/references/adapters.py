"""Makes adapters with PEFT, and the logits that they give, for lorahost's tests of reading them.

    python scripts/references/adapters.py

Needs torch 2.11, transformers 5, peft 0.21 and safetensors. Writes host/tests/data/peft: an adapter a folder, on the
small random models beside it, and cases.json with the logits of some rows, one at a time and without padding.
"""

import json
import shutil
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parents[2] / "host" / "tests"
sys.path.insert(0, str(HERE / "python"))
import peft_cases  # noqa: E402

ROWS = [[5, 9, 17, 30, 8], [12], [7, 7, 21, 33, 6, 11, 20, 9]]

CASES = [
    {
        "name": "distilbert-rslora-patterns",
        "model": "tiny-distilbert-reference",
        "layout": "pooled",
        "outputs": 3,
        "config": {
            "task_type": "SEQ_CLS",
            "r": 2,
            "lora_alpha": 5,
            "use_rslora": True,
            "target_modules": ["q_lin", "v_lin", "lin1"],
            "rank_pattern": {"lin1": 4, r"layer\.1\.attention\.q_lin": 3},
            "alpha_pattern": {"layer.0.attention.v_lin": 7},
        },
    },
    {
        "name": "bert-expression-norms",
        "model": "tiny-bert-reference",
        "layout": "tokens",
        "outputs": 5,
        "config": {
            "task_type": "TOKEN_CLS",
            "r": 2,
            "lora_alpha": 3,
            "target_modules": r".*layer\.\d+\.(attention\.self\.(query|key)|output\.dense)",
            "modules_to_save": ["embeddings.LayerNorm"],
        },
    },
    {
        "name": "bert-head-under-lora",
        "model": "tiny-bert-reference",
        "layout": "vocabulary",
        "outputs": 0,
        "config": {"r": 2, "target_modules": ["query", "transform.dense"]},
    },
    {
        "name": "bert-whole-head",
        "model": "tiny-bert-reference",
        "layout": "vocabulary",
        "outputs": 0,
        "config": {"r": 2, "target_modules": ["value"], "modules_to_save": ["transform"]},
    },
    {
        "name": "gpt2-classes",
        "model": "tiny-gpt2-reference",
        "layout": "pooled",
        "outputs": 4,
        "config": {
            "task_type": "SEQ_CLS",
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["c_attn", "c_fc", "c_proj"],
            "fan_in_fan_out": True,
        },
    },
    {
        "name": "llama-one-layer",
        "model": "decoders/llama",
        "layout": "causal",
        "outputs": 0,
        "config": {
            "task_type": "CAUSAL_LM",
            "r": 4,
            "target_modules": ["q_proj", "o_proj", "down_proj"],
            "exclude_modules": ["self_attn.o_proj"],
            "layers_to_transform": [1],
        },
    },
    {
        "name": "qwen2-half",
        "model": "decoders/qwen2",
        "layout": "causal",
        "outputs": 0,
        "dtype": "bfloat16",
        "config": {"task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 1, "target_modules": ["gate_proj", "v_proj"]},
    },
]


def main():
    folder = HERE / "data" / "peft"
    shutil.rmtree(folder, ignore_errors=True)
    results = []
    for case in CASES:
        out = folder / case["name"]
        # Scores of every word are many: one row of them will do.
        rows = ROWS if case["outputs"] else ROWS[:1]
        inputs = {**case, "base": str(HERE / "data" / case["model"]), "folder": str(out), "rows": rows}
        logits = peft_cases.made(inputs)
        (out / "README.md").unlink()
        config = json.loads((out / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = case["model"]
        (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        (out / "adapter_model.safetensors").chmod(0o644)
        result = {key: case[key] for key in ("name", "model", "layout", "outputs")}
        results.append({**result, "rows": rows, "logits": [[round(x, 6) for x in row] for row in logits]})
    (folder / "cases.json").write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
