"""Reference trajectories of torch.optim's SGD and AdamW, in float64.

    python scripts/references/optimizers.py

writes plugins/sgd_optimizer/tests/sgd.json and host/tests/data/adamw.json. Made with torch 2.11.0 on a CPU.
"""

import json
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"w": [2, 3], "v": [4], "n": [2]}
# Factor on the learning rate, and whether weight decay applies.
SETTINGS = {"w": (1.0, True), "v": (4.0, True), "n": (1.0, False)}
STEPS = 5


def draw(seed):
    """Start values, and gradients for each step; `v` has none in the second step."""
    generator = torch.Generator().manual_seed(seed)

    def values():
        return {
            name: torch.randn(shape, generator=generator, dtype=torch.float64).mul(1e3).round().div(1e3)
            for name, shape in SHAPES.items()
        }

    start = values()
    grads = [values() for _ in range(STEPS)]
    grads[1]["v"] = None
    return start, grads


def trajectory(start, grads, make, lr, weight_decay):
    """Every parameter after every step."""
    parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
    groups = [
        {
            "params": [parameters[name]],
            "lr": lr * factor,
            "weight_decay": weight_decay if decay else 0.0,
        }
        for name, (factor, decay) in SETTINGS.items()
    ]
    optimizer = make(groups)
    after = []
    for grad in grads:
        for name, parameter in parameters.items():
            parameter.grad = None if grad[name] is None else grad[name].clone()
        optimizer.step()
        after.append(flat({name: value.detach() for name, value in parameters.items()}))
    return after


def flat(tensors):
    return {
        name: None if value is None else value.flatten().tolist() for name, value in tensors.items()
    }


def write(path, seed, lr, cases):
    start, grads = draw(seed)
    document = {
        "torch": torch.__version__.split("+")[0],
        "lr": lr,
        "parameters": [
            {"name": name, "shape": shape, "lr": SETTINGS[name][0], "decay": SETTINGS[name][1]}
            for name, shape in SHAPES.items()
        ],
        "start": flat(start),
        "grads": [flat(grad) for grad in grads],
        "cases": [
            {"options": options, "after": trajectory(start, grads, make, lr, options.get("weight_decay", 0.0))}
            for options, make in cases
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document.items())
    path.write_text(f"{{\n{lines}\n}}\n")


def sgd(**options):
    taken = {key: value for key, value in options.items() if key != "weight_decay"}
    return options, lambda groups: torch.optim.SGD(groups, **taken)


def adamw(**options):
    betas = (options.get("beta1", 0.9), options.get("beta2", 0.999))
    eps = options.get("eps", 1e-8)
    return options, lambda groups: torch.optim.AdamW(groups, betas=betas, eps=eps)


write(
    ROOT / "plugins/sgd_optimizer/tests/sgd.json",
    seed=1,
    lr=0.1,
    cases=[
        sgd(),
        sgd(weight_decay=0.05),
        sgd(momentum=0.9),
        sgd(momentum=0.9, weight_decay=0.05),
        sgd(momentum=0.8, nesterov=True, weight_decay=0.05),
    ],
)
write(
    ROOT / "host/tests/data/adamw.json",
    seed=2,
    lr=0.01,
    cases=[
        adamw(weight_decay=0.0),
        adamw(weight_decay=0.1),
        adamw(weight_decay=0.1, beta1=0.8, beta2=0.95, eps=1e-4),
    ],
)
