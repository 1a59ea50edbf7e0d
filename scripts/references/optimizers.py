"""Reference trajectories of the optimizers, in float64.

    pip install torch==2.11.0 numpy peft==0.21.2 lion-pytorch==0.2.5 schedulefree==1.4.1 prodigyopt==1.1.2
    python scripts/references/optimizers.py [NAME...]

writes plugins/NAME_optimizer/tests/NAME.json. Each optimizer is computed by another program than this project's: by
torch.optim, by its authors' package, by PEFT, or, where none of them fits, from the paper's formula in NumPy.
"""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
STEPS = 5


def parameter(shape, lr=1.0, decay=True, role="base", pair=None, scale=1.0):
    """What the host says of a parameter; lr is the factor on the learning rate."""
    return {"shape": shape, "lr": lr, "decay": decay, "role": role, "pair": pair, "scale": scale}


PLAIN = {
    "w": parameter([2, 3]),
    "v": parameter([4], lr=4.0, role="bias"),
    "n": parameter([2], decay=False, role="norm"),
}
# Two pairs, the B of the first 0 as at the start of a run; and what is no factor.
PAIRS = {
    "first.A": parameter([2, 5], role="a", pair=3, scale=2.0),
    "second.B": parameter([4, 3], role="b", pair=7, scale=0.5),
    "first.B": parameter([4, 2], role="b", pair=3, scale=2.0, decay=False),
    "second.A": parameter([3, 4], lr=0.5, role="a", pair=7, scale=0.5),
    "head": parameter([2, 2], role="head"),
    "bias": parameter([3], role="bias", decay=False),
}


def draw(parameters, seed):
    """Start values, and gradients for each step; one parameter has none in the second step."""
    generator = torch.Generator().manual_seed(seed)

    def values():
        return {
            name: torch.randn(about["shape"], generator=generator, dtype=torch.float64).mul(1e3).round().div(1e3)
            for name, about in parameters.items()
        }

    start = values()
    grads = [values() for _ in range(STEPS)]
    if "v" in parameters:
        grads[1]["v"] = None
    else:
        start["first.B"].zero_()
        # The gradient of A has B as a factor.
        grads[0]["first.A"].zero_()
        grads[1]["bias"] = None
    return start, grads


class Torch:
    """An optimizer of torch's kind on its own parameters; `make` gets groups with lr and weight_decay."""

    def __init__(self, parameters, start, lr, weight_decay, make):
        self.values = {name: start[name].clone().requires_grad_() for name in parameters}
        groups = [
            {
                "params": [self.values[name]],
                "lr": lr * about["lr"],
                "weight_decay": weight_decay if about["decay"] else 0.0,
            }
            for name, about in parameters.items()
        ]
        self.optimizer = make(groups)

    def step(self, grads):
        for name, value in self.values.items():
            value.grad = None if grads[name] is None else grads[name].clone()
        self.optimizer.step()


class NumPy:
    """AdamW of the formula (arXiv 1711.05101) on gradients that `adjust` makes of all values and gradients."""

    def __init__(self, parameters, start, lr, weight_decay, adjust, beta1=0.9, beta2=0.999, eps=1e-8):
        self.parameters, self.lr, self.weight_decay, self.adjust = parameters, lr, weight_decay, adjust
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.arrays = {name: start[name].numpy().copy() for name in parameters}
        self.moments = {name: [0.0, 0.0, 0] for name in parameters}

    @property
    def values(self):
        return {name: torch.from_numpy(array.copy()) for name, array in self.arrays.items()}

    def step(self, grads):
        grads = {name: None if grad is None else grad.numpy() for name, grad in grads.items()}
        for name, g in self.adjust(self.parameters, self.arrays, grads).items():
            if g is None:
                continue
            m, v, t = self.moments[name]
            m, v, t = self.beta1 * m + (1 - self.beta1) * g, self.beta2 * v + (1 - self.beta2) * g * g, t + 1
            self.moments[name] = [m, v, t]
            about = self.parameters[name]
            rate = self.lr * about["lr"]
            direction = m / (1 - self.beta1**t) / (np.sqrt(v / (1 - self.beta2**t)) + self.eps)
            decay = self.weight_decay if about["decay"] else 0.0
            self.arrays[name] = (1 - rate * decay) * self.arrays[name] - rate * direction


def trajectory(parameters, start, grads, make, lr, weight_decay):
    """Every parameter after every step, and as an evaluation sees it where the optimizer has `evaluated`."""
    program = make(parameters, start, lr, weight_decay)
    after, evaluated = [], []
    for grad in grads:
        program.step(grad)
        after.append(flat({name: value.detach() for name, value in program.values.items()}))
        if hasattr(program, "evaluated"):
            evaluated.append(flat(program.evaluated()))
    return {"after": after, "evaluated": evaluated} if evaluated else {"after": after}


def flat(tensors):
    return {name: None if value is None else value.flatten().tolist() for name, value in tensors.items()}


def write(name, parameters, seed, lr, cases):
    start, grads = draw(parameters, seed)
    path = ROOT / f"plugins/{name}_optimizer/tests/{name}.json"
    document = {
        "torch": torch.__version__.split("+")[0],
        "lr": lr,
        "parameters": [{"name": name, **about} for name, about in parameters.items()],
        "start": flat(start),
        "grads": [flat(grad) for grad in grads],
        "cases": [
            {
                "options": options,
                **trajectory(parameters, start, grads, make, lr, options.get("weight_decay", 0.0)),
            }
            for options, make in cases
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document.items())
    path.write_text(f"{{\n{lines}\n}}\n")


def of_torch(options, make):
    return options, lambda *run: Torch(*run, make)


def sgd(**options):
    taken = {key: value for key, value in options.items() if key != "weight_decay"}
    return of_torch(options, lambda groups: torch.optim.SGD(groups, **taken))


def torch_adamw(groups, options):
    betas = (options.get("beta1", 0.9), options.get("beta2", 0.999))
    return torch.optim.AdamW(groups, betas=betas, eps=options.get("eps", 1e-8))


def adamw(**options):
    return of_torch(options, lambda groups: torch_adamw(groups, options))


def lion(**options):
    from lion_pytorch import Lion

    betas = (options.get("beta1", 0.9), options.get("beta2", 0.99))
    return of_torch(options, lambda groups: Lion(groups, betas=betas))


def adafactor(**options):
    eps = (options.get("eps1", torch.finfo(torch.float32).eps), options.get("eps2", 1e-3))
    taken = {"beta2_decay": options.get("beta2_decay", -0.8), "d": options.get("clip", 1.0)}
    return of_torch(options, lambda groups: torch.optim.Adafactor(groups, eps=eps, foreach=False, **taken))


def lora_plus(**options):
    def make(parameters, start, lr, weight_decay):
        ratio = options.get("ratio", 16.0)
        faster = {
            name: {**about, "lr": about["lr"] * ratio} if about["role"] == "b" else about
            for name, about in parameters.items()
        }
        return Torch(faster, start, lr, weight_decay, lambda groups: torch_adamw(groups, options))

    return options, make


def of_numpy(options, adjust):
    taken = {key: options[key] for key in ("beta1", "beta2", "eps") if key in options}
    return options, lambda *run: NumPy(*run, adjust, **taken)


def partner(parameters, name):
    """The other factor of the pair, by its number."""
    pair = parameters[name]["pair"]
    return next(other for other, about in parameters.items() if other != name and about["pair"] == pair)


def lora_fa(**options):
    damping = options.get("damping", 1e-8)

    def adjust(parameters, values, grads):
        moving = {name: grad for name, grad in grads.items() if parameters[name]["role"] != "a"}
        for name, grad in moving.items():
            about = parameters[name]
            if about["role"] == "b" and grad is not None:
                a = values[partner(parameters, name)]
                gram = a @ a.T + damping * np.eye(len(a))
                moving[name] = np.linalg.solve(gram, grad.T).T / about["scale"] ** 2
        return moving

    return of_numpy(options, adjust)


def riemannian(**options):
    from peft.optimizers.riemannian import _RiemannianPreconditioner

    class Preconditioned(Torch):
        def __init__(self, parameters, *run):
            super().__init__(parameters, *run, lambda groups: torch_adamw(groups, options))
            pairs = [
                (self.values[name], self.values[partner(parameters, name)])
                for name, about in parameters.items()
                if about["role"] == "a"
            ]
            preconditioner = _RiemannianPreconditioner(pairs, reg=options.get("damping", 1e-2))
            self.optimizer.register_step_pre_hook(lambda *_: preconditioner.step())

    return options, Preconditioned


def lora_pro(**options):
    damping = options.get("damping", 1e-8)

    def adjust(parameters, values, grads):
        adjusted = dict(grads)
        for name, about in parameters.items():
            if about["role"] != "a":
                continue
            other = partner(parameters, name)
            a, b, g_a, g_b = values[name], values[other], grads[name], grads[other]
            r, s = len(a), about["scale"]
            p, q = b.T @ b + damping * np.eye(r), a @ a.T + damping * np.eye(r)
            of_a = np.linalg.inv(p) @ g_a / s**2
            # P X + X Q = C as one system in the columns of X.
            system = np.kron(np.eye(r), p) + np.kron(q.T, np.eye(r))
            x = np.linalg.solve(system, -(of_a @ a.T).flatten(order="F")).reshape(r, r, order="F")
            outside = np.eye(len(b)) - b @ np.linalg.inv(p) @ b.T
            adjusted[name] = of_a + x @ a
            adjusted[other] = outside @ g_b @ np.linalg.inv(q) / s**2 - b @ x
        return adjusted

    return of_numpy(options, adjust)


@contextmanager
def without_rounding():
    """Muon of torch rounds to bfloat16 by `Tensor.bfloat16`; here it copies instead."""
    rounding, torch.Tensor.bfloat16 = torch.Tensor.bfloat16, torch.Tensor.clone
    try:
        yield
    finally:
        torch.Tensor.bfloat16 = rounding


def muon(**options):
    matrices = ("a", "b", "base")

    class Both:
        def __init__(self, parameters, start, lr, weight_decay):
            def part(of, make):
                return Torch(of, start, lr, weight_decay, make)

            taken = {"momentum": options.get("momentum", 0.95), "nesterov": options.get("nesterov", True)}
            adjust = options.get("adjust", "original")
            self.matrices = part(
                {name: about for name, about in parameters.items() if about["role"] in matrices},
                lambda groups: torch.optim.Muon(groups, adjust_lr_fn=adjust, **taken),
            )
            self.rest = part(
                {name: about for name, about in parameters.items() if about["role"] not in matrices},
                lambda groups: torch_adamw(groups, options),
            )

        @property
        def values(self):
            return self.matrices.values | self.rest.values

        def step(self, grads):
            with without_rounding():
                self.matrices.step(grads)
            self.rest.step(grads)

    return options, Both


def schedule_free(**options):
    from schedulefree import AdamWScheduleFreeReference

    betas = (options.get("beta1", 0.9), options.get("beta2", 0.999))
    taken = {key: options[key] for key in ("eps", "r", "weight_lr_power") if key in options}

    class Averaged(Torch):
        def __init__(self, *run):
            super().__init__(*run, lambda groups: AdamWScheduleFreeReference(groups, betas=betas, **taken))
            self.optimizer.train()

        def evaluated(self):
            self.optimizer.eval()
            values = {name: value.detach().clone() for name, value in self.values.items()}
            self.optimizer.train()
            return values

    return options, Averaged


def prodigy(**options):
    from prodigyopt import Prodigy

    betas = (options.get("beta1", 0.9), options.get("beta2", 0.999))
    taken = {
        "d0": options.get("d0", 1e-6),
        "d_coef": options.get("d_coef", 1.0),
        "use_bias_correction": options.get("bias_correction", False),
        "safeguard_warmup": options.get("safeguard_warmup", False),
        "eps": options.get("eps", 1e-8),
    }
    return of_torch(options, lambda groups: Prodigy(groups, betas=betas, **taken))


WRITERS = {
    "sgd": (PLAIN, 1, 0.1, lambda: [
        sgd(),
        sgd(weight_decay=0.05),
        sgd(momentum=0.9),
        sgd(momentum=0.9, weight_decay=0.05),
        sgd(momentum=0.8, nesterov=True, weight_decay=0.05),
    ]),
    "adamw": (PLAIN, 2, 0.01, lambda: [
        adamw(weight_decay=0.0),
        adamw(weight_decay=0.1),
        adamw(weight_decay=0.1, beta1=0.8, beta2=0.95, eps=1e-4),
    ]),
    "lion": (PLAIN, 3, 0.01, lambda: [lion(), lion(beta1=0.8, beta2=0.95, weight_decay=0.1)]),
    "adafactor": (PLAIN, 4, 0.01, lambda: [
        adafactor(),
        adafactor(weight_decay=0.1, beta2_decay=-0.5, eps1=0.5, eps2=0.9, clip=2.0),
    ]),
    "lora_plus": (PAIRS, 5, 0.01, lambda: [lora_plus(), lora_plus(ratio=4.0, weight_decay=0.1)]),
    "lora_fa": (PAIRS, 6, 0.01, lambda: [lora_fa(), lora_fa(damping=0.1, weight_decay=0.1, beta1=0.8)]),
    "riemannian": (PAIRS, 7, 0.01, lambda: [riemannian(), riemannian(damping=0.5, weight_decay=0.1, eps=1e-4)]),
    # A seed with which B is of full rank after its first step: where it is not, rounding decides.
    "lora_pro": (PAIRS, 17, 0.1, lambda: [lora_pro(), lora_pro(damping=0.1, weight_decay=0.1)]),
    "muon": (PAIRS, 9, 0.02, lambda: [
        muon(),
        muon(adjust="match_rms_adamw", weight_decay=0.1),
        muon(momentum=0.8, nesterov=False, beta1=0.8),
    ]),
    "schedule_free": (PLAIN, 10, 0.02, lambda: [
        schedule_free(),
        schedule_free(beta1=0.8, beta2=0.99, weight_decay=0.1, r=1.0, weight_lr_power=1.0),
    ]),
    "prodigy": ({name: {**about, "lr": 1.0} for name, about in PLAIN.items()}, 11, 1.0, lambda: [
        prodigy(),
        prodigy(d0=1e-2, d_coef=0.5, weight_decay=0.1, bias_correction=True, safeguard_warmup=True),
        prodigy(beta1=0.8, beta2=0.9, d0=1e-3, eps=1e-2),
    ]),
}

for name in sys.argv[1:] or WRITERS:
    parameters, seed, lr, cases = WRITERS[name]
    write(name, parameters, seed, lr, cases())
