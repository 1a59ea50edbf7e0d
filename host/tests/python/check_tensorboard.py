"""Reads event files back with TensorBoard itself and compares them with the runs' metrics.jsonl.

    python check_tensorboard.py OUTPUT EVENTS     an output folder, and the folder that lorahost report --tensorboard wrote
"""

import json
import math
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def expected(folder):
    """Scalars of a run by tag: steps and values, as metrics.jsonl has them."""
    scalars = {}
    add = lambda tag, step, value: value is not None and scalars.setdefault(tag, []).append((step, value))
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        event = json.loads(line)
        step = event.get("step")
        match event["event"]:
            case "step":
                add("train/loss", step, event.get("loss"))
                add("train/lr", step, event["lr"])
            case "evaluation":
                add(f"{event['split']}/loss", step, event["loss"])
                for name, value in event["metrics"].items():
                    add(f"{event['split']}/{name}", step, value)
            case "diagnostics":
                for name, value in event["total"].items():
                    add(f"norms/{name}", step, value)
                add("cost/tokens", step, event["tokens"])
                add("cost/multiply_adds", step, event["multiply_adds"])
                for layer in event["layers"]:
                    for name, value in layer.items():
                        if name != "name":
                            add(f"layers/{layer['name']}/{name}", step, value)
    return scalars


def main():
    output, events = Path(sys.argv[1]), Path(sys.argv[2])
    folders = {path.parent.name[-8:]: path.parent for path in events.rglob("events.out.tfevents.*")}
    count = 0
    for run in sorted((output / "runs").iterdir()):
        accumulator = EventAccumulator(str(folders.pop(run.name[:8])), size_guidance={"scalars": 0})
        accumulator.Reload()
        scalars = expected(run)
        tags = set(accumulator.Tags()["scalars"])
        assert tags == set(scalars), tags ^ set(scalars)
        for tag, values in scalars.items():
            found = [(scalar.step, scalar.value) for scalar in accumulator.Scalars(tag)]
            assert len(found) == len(values), (tag, found, values)
            for (step, value), (wanted_step, wanted) in zip(found, values):
                assert step == wanted_step, (tag, step, wanted_step)
                assert math.isclose(value, wanted, rel_tol=1e-6), (tag, step, value, wanted)
                count += 1
    assert not folders, f"event files of no run: {folders}"
    assert count, "no scalars"
    print(f"{count} scalars agree")


if __name__ == "__main__":
    main()
