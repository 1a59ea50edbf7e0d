"""The bound: torch's matrix products on the model's own shapes, times the operations that a step needs."""

import json
import sys
import time


def needed(config, rank, tokens, squares):
    """Floating-point operations of a LoRA step on `tokens` tokens in all, `squares` the sum of the sequences' squared
    lengths: per linear layer the product and its gradient for x (but for the first layer's, which nothing needs), A and
    B by products of width r, W + s B A twice; and attention's two products forwards, four backwards."""
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    total = 0
    for layer in range(layers):
        for fan_in, fan_out, first in (
            *[(hidden, hidden, layer == 0)] * 3,
            (hidden, hidden, False),
            (hidden, inner, False),
            (inner, hidden, False),
        ):
            total += tokens * fan_in * fan_out * (1 if first else 2)
            total += 2 * tokens * rank * (fan_in + fan_out) + 2 * rank * fan_in * fan_out
        total += 6 * squares * hidden
    return 2 * total


def main():
    import torch

    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.set_grad_enabled(False)
    hidden, inner, rows = job["config"]["hidden_size"], job["config"]["intermediate_size"], job["rows"]
    shapes = [(hidden, hidden)] * 4 + [(hidden, inner), (inner, hidden)]
    pairs = [(torch.randn(rows, fan_in), torch.randn(fan_out, fan_in)) for fan_in, fan_out in shapes]
    for warm in (True, False):
        best = float("inf")
        for _ in range(2 if warm else 10):
            started = time.perf_counter()
            for x, w in pairs:
                x @ w.t()
            best = min(best, time.perf_counter() - started)
    operations = sum(2 * rows * fan_in * fan_out for fan_in, fan_out in shapes)
    print(json.dumps({"flops": operations / best}))


if __name__ == "__main__":
    main()
