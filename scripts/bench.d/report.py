"""How long `lorahost report` takes over many runs: makes an output folder of N runs after the form of one that is done, and times
the report of it.

    python3 scripts/bench.d/report.py FORM FOLDER [N]     FORM is an output folder with a completed run of LoRA; FOLDER is made (N: 10000)

The runs differ in rank, alpha, learning rate and seed; their losses are a U with noise; their metrics are the form's.
"""

import hashlib
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

LRS = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
RANKS = [2, 4, 8, 16, 32, 64, 128]
SEEDS = 3


def write(folder, name, content, seals):
    data = content if isinstance(content, bytes) else (json.dumps(content) + "\n").encode()
    (folder / name).write_bytes(data)
    seals[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def is_form(folder):
    spec, result = (json.loads((folder / name).read_text()) for name in ("spec.json", "result.json"))
    return spec["spec"]["method"] == "lora" and result["status"] == "completed"


def main():
    form, output = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10_000
    runs = [f for f in (form / "runs").iterdir() if is_form(f)]
    spec, result = (json.loads((runs[0] / name).read_text()) for name in ("spec.json", "result.json"))
    metrics = (runs[0] / "metrics.jsonl").read_bytes()
    (output / "runs").mkdir(parents=True)
    (output / "lorahost.json").write_bytes((form / "lorahost.json").read_bytes())
    draw = random.Random(0)
    for number in range(count):
        rest, seed = divmod(number, SEEDS)
        rest, lr = divmod(rest, len(LRS))
        alpha, rank = divmod(rest, len(RANKS))
        lr, rank = LRS[lr], RANKS[rank]
        loss = 0.3 + 0.1 * math.log10(lr / (1e-3 / (alpha + 1) ** 0.3)) ** 2 + draw.gauss(0, 0.01)
        name = f"{number:016x}"
        spec.update(id=name, cell=f"lora-r{rank}-alpha={alpha + 1}")
        spec["spec"]["train"]["lr"] = lr
        spec["spec"]["lora"]["rank"] = rank
        spec["spec"]["alpha"]["parameters"] = {"alpha": alpha + 1}
        spec["spec"]["seeds"] = {key: seed for key in spec["spec"]["seeds"]}
        result.update(best_val_loss=loss, val_losses=[loss])
        folder = output / "runs" / name
        folder.mkdir()
        seals = {}
        write(folder, "spec.json", spec, seals)
        write(folder, "metrics.jsonl", metrics, seals)
        write(folder, "result.json", result, seals)
        done = {"version": 1, "id": name, "status": result["status"], "files": seals}
        (folder / "done.json").write_text(json.dumps(done) + "\n")
    program = Path(__file__).parents[2] / "target/release/lorahost"
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([program, "report", output, "--quiet"], check=True)
        print(f"{count} runs: {time.monotonic() - start:.2f} s")


if __name__ == "__main__":
    main()
