"""Reference factors of the init schemes, by NumPy in float64; those that PEFT has are checked against it.

    python scripts/references/inits.py

writes host/tests/data/inits.json. Made with numpy, torch 2.11.0, transformers 5.23.0 and peft 0.21.2 (which needs attrs for CorDA) on a CPU.

The signs of singular vectors, eigenvectors and rows of R are those of lorahost: the largest component of each left
singular vector and of each eigenvector is positive, and so is R's diagonal.

Where PEFT differs, and is not the reference: EVA there subtracts the inputs' mean; CorDA there divides each batch of
inputs by its largest value, which moves size between A and B and leaves their product; LoRA-GA there multiplies B by
the singular values and divides both factors by a root of the scale.
"""

import json
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {"tall": (12, 8), "wide": (6, 10)}
ROWS = 40
RANK = 3
SCALE = 0.5
GAMMA_GA, GAMMA_ONE = 16.0, 128.0


def measured(fan_out, fan_in):
    """W, dL/dW and the inputs of a layer, rounded so that float32 holds nearly the same."""
    rng = np.random.default_rng(1000 * fan_out + fan_in)

    def draw(*shape):
        return rng.standard_normal(shape).round(3)

    mix = draw(fan_in, fan_in)
    return {"weight": draw(fan_out, fan_in), "gradient": draw(fan_out, fan_in), "inputs": draw(ROWS, fan_in) @ mix}


def dominant(columns):
    """The sign of the largest component of each column."""
    return np.sign(columns[np.abs(columns).argmax(0), np.arange(columns.shape[1])])


def svd(matrix):
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    signs = dominant(u)
    return u * signs, s, vt * signs[:, None]


def pissa(x):
    u, s, vt = svd(x["weight"])
    root = np.sqrt(s[:RANK] / SCALE)
    return root[:, None] * vt[:RANK], u[:, :RANK] * root


def milora(x):
    u, s, vt = svd(x["weight"])
    root = np.sqrt(s[-RANK:] / SCALE)
    return root[:, None] * vt[-RANK:], u[:, -RANK:] * root


def olora(x):
    q, r = np.linalg.qr(x["weight"])
    signs = np.sign(np.diagonal(r))
    return (r * signs[:, None])[:RANK], (q * signs)[:, :RANK]


def mica(x):
    u, _, _ = svd(x["weight"])
    return np.zeros((RANK, x["weight"].shape[1])), u[:, -RANK:]


def eva(x):
    _, _, vt = np.linalg.svd(x["inputs"], full_matrices=False)
    return vt[:RANK] * dominant(vt[:RANK].T)[:, None], np.zeros((x["weight"].shape[0], RANK))


def corda(x, mode):
    covariance = x["inputs"].T @ x["inputs"] / ROWS
    # These inputs have an accurate inverse at once; doubling is tried in the plugin's own tests.
    covariance = covariance + np.eye(len(covariance)) * np.diagonal(covariance).mean() * 0.01
    u, s, vt = svd(x["weight"] @ covariance)
    vt = np.linalg.solve(covariance.T, vt.T).T
    chosen = slice(0, RANK) if mode == "ipm" else slice(len(s) - RANK, len(s))
    root = np.sqrt(s[chosen] / SCALE)
    return root[:, None] * vt[chosen], u[:, chosen] * root


def lora_ga(x):
    u, _, vt = svd(x["gradient"])
    size = x["gradient"].shape[0] ** 0.25 / GAMMA_GA**0.5
    return vt[:RANK] * size, u[:, RANK : 2 * RANK] * size


def lora_one(x):
    u, s, vt = svd(-x["gradient"])
    root = np.sqrt(s[:RANK] / s[0] / GAMMA_ONE)
    return root[:, None] * vt[:RANK], u[:, :RANK] * root


CASES = [
    ("pissa", {}, pissa),
    ("milora", {}, milora),
    ("olora", {}, olora),
    ("mica", {}, mica),
    ("eva", {}, eva),
    ("corda", {"mode": "ipm"}, lambda x: corda(x, "ipm")),
    ("corda", {"mode": "kpm"}, lambda x: corda(x, "kpm")),
    ("lora-ga", {"gamma": GAMMA_GA}, lora_ga),
    ("lora-one", {"gamma": GAMMA_ONE}, lora_one),
]


class Single(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.layer.weight.data = torch.tensor(weight, dtype=torch.float32)

    def forward(self, x):
        return self.layer(x)


def by_peft(scheme, options, x):
    """A and B as PEFT starts them, where it has the same scheme."""
    model = Single(x["weight"])
    settings = {"r": RANK, "lora_alpha": SCALE * RANK, "target_modules": ["layer"], "init_lora_weights": scheme}
    if scheme == "corda":
        settings["corda_config"] = CordaConfig(corda_method=options["mode"])
    elif scheme not in ("pissa", "olora", "mica"):
        return None
    config = LoraConfig(**settings)
    if scheme == "corda":
        preprocess_corda(model, config, run_model=lambda: model(torch.tensor(x["inputs"], dtype=torch.float32)))
    layer = get_peft_model(model, config).base_model.model.layer
    return layer.lora_A["default"].weight.detach().numpy(), layer.lora_B["default"].weight.detach().numpy()


def main():
    layers = {name: measured(*shape) for name, shape in LAYERS.items()}
    cases = []
    for scheme, options, make in CASES:
        for layer, x in layers.items():
            a, b = make(x)
            peft = by_peft(scheme, options, x)
            if peft is not None:
                np.testing.assert_allclose(b @ a, peft[1] @ peft[0], atol=1e-4, err_msg=scheme)
                if scheme == "mica":
                    np.testing.assert_allclose(b @ b.T, peft[1] @ peft[1].T, atol=1e-4)
            cases.append({"scheme": scheme, "options": options, "layer": layer, "a": flat(a), "b": flat(b)})
    for x in layers.values():
        x["covariance"] = x["inputs"].T @ x["inputs"] / ROWS
        del x["inputs"]
    reference = {
        "rank": RANK,
        "scale": SCALE,
        "layers": {
            name: {"shape": LAYERS[name]} | {key: flat(value) for key, value in x.items()}
            for name, x in layers.items()
        },
        "cases": cases,
    }
    path = ROOT / "host/tests/data/inits.json"
    path.write_text(json.dumps(reference) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


def flat(matrix):
    return [float(f"{value:.9g}") for value in matrix.flatten()]


if __name__ == "__main__":
    main()
