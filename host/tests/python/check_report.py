"""Recomputes an analysis from the records of its runs, with NumPy and SciPy, and compares.

    python check_report.py OUTPUT [FILE]     an output folder, and what has the analysis: its summary.json, or the report.json
                                             of a report (default OUTPUT/report/report.json)

Nothing of lorahost is used: records are read as JSON, means, fits, intervals and tests computed anew. Exit code 0 if all agree.
"""

import json
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import optimize, stats

LEVEL = 0.9
# On each side of the best point the parabola sees the points up to the first that is so many decades away; the cubic likewise
# on the flatter side; and the interval is stretched by so much of their difference.
REACH, WIDE_REACH, STRETCH = 0.45, 0.95, 1.5


def read_cells(output):
    """The runs of each cell: those that differ in learning rate, seeds, and where plugin files lie alone."""
    cells = defaultdict(list)
    for folder in sorted((output / "runs").iterdir()):
        spec = json.loads((folder / "spec.json").read_text())
        done = (folder / "done.json").exists()
        result = json.loads((folder / "result.json").read_text()) if done else None
        events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] if done else []
        norms = [event["total"] for event in events if event["event"] == "diagnostics"]
        seeds = spec["spec"].pop("seeds")
        same = len(set(seeds.values())) == 1
        label = str(seeds["init"]) if same else "-".join(f"{k}{seeds[k]}" for k in ("init", "data", "dropout", "head"))
        lr = spec["spec"]["train"].pop("lr")
        for kind in ("init", "alpha", "optimizer", "head"):
            (spec["spec"].get(kind) or {}).pop("file", None)
        cells[json.dumps(spec["spec"], sort_keys=True)].append(
            {"id": spec["id"], "lr": lr, "seed": label, "result": result, "norms": norms[-1] if norms else None}
        )
    return list(cells.values())


def completed(run):
    return run["result"] is not None and run["result"]["status"] == "completed"


def test_figure(run, name):
    test = run["result"].get("test")
    if test is None:
        return None
    return test["loss"] if name == "loss" else test["metrics"].get(name)


def table(runs):
    """Learning rates and seeds that have a part in figures, losses of the ones by the others, and the rates that were tried."""
    by_lr = defaultdict(dict)
    for run in runs:
        by_lr[run["lr"]][run["seed"]] = run
    usable = {
        lr: seeds
        for lr, seeds in sorted(by_lr.items())
        if not any(r["result"] and r["result"]["status"] == "diverged" for r in seeds.values())
        and any(completed(r) for r in seeds.values())
    }
    seeds = sorted({run["seed"] for run in runs}, key=lambda s: (int(s) if s.isdigit() else math.inf, s))
    has = lambda lr, seed: seed in usable[lr] and completed(usable[lr][seed])
    kept = [s for s in seeds if 2 * sum(has(lr, s) for lr in usable) > len(usable)]
    lrs = [lr for lr in usable if kept and all(has(lr, s) for s in kept)]
    losses = [[usable[lr][s]["result"]["best_val_loss"] for lr in lrs] for s in kept]
    tried = [lr for lr, seeds in sorted(by_lr.items()) if any(r["result"] and r["result"]["status"] != "failed" for r in seeds.values())]
    return np.array(lrs), kept, np.array(losses), tried, by_lr


def optimum(lrs, losses, tried):
    """Source, lr, best tried, edge, noise and interval in log10 (None where there is none)."""
    found = {"source": "none", "lr": None, "best": None, "edge": None, "noise": None, "interval": None}
    if not len(lrs):
        return found
    means = losses.mean(axis=0)
    best = int(np.argmin(means))
    found["best"] = lrs[best]
    place = tried.index(lrs[best])
    if len(tried) == 1:
        return found | {"edge": "only"}
    found |= {"source": "tried", "lr": lrs[best]}
    if place in (0, len(tried) - 1):
        return found | {"edge": "smallest" if place == 0 else "largest"}
    if tried[place - 1] not in lrs or tried[place + 1] not in lrs:
        return found
    x = np.log10(lrs)
    u = x - x[best]

    def window(reach):
        first = max([i for i in range(best) if u[i] <= -reach], default=0)
        last = min([i for i in range(best + 1, len(u)) if u[i] >= reach], default=len(u) - 1)
        return list(range(first, last + 1))

    near, wide = window(REACH), window(WIDE_REACH)
    left = [i for i in range(near[0]) if i in wide] or ([near[0] - 1] if near[0] > 0 else [])
    right = [i for i in range(near[-1] + 1, len(u)) if i in wide] or ([near[-1] + 1] if near[-1] + 1 < len(u) else [])
    if left and right:
        more = right if means[left].mean() > means[right].mean() else left
    else:
        more = left or right
    seen = sorted(near + more)
    parabola = np.polynomial.polynomial.Polynomial(np.polynomial.polynomial.polyfit(u[near], means[near], 2))
    _, c1, c2 = parabola.coef
    vertex = -c1 / (2 * c2)
    inside = c2 > 0 and u[near[0]] <= vertex <= u[near[-1]]
    if inside:
        found |= {"source": "fit", "lr": 10 ** (x[best] + vertex)}
    seeds = losses.shape[0]
    if seeds < 2:
        return found
    part = losses[:, seen]
    residuals = part - part.mean(axis=0) - part.mean(axis=1, keepdims=True) + part.mean()
    degrees = (seeds - 1) * (len(seen) - 1)
    variance = (residuals**2).sum() / degrees
    found |= {"noise": variance**0.5}
    if not inside:
        return found | {"interval": (-math.inf, math.inf)}
    design = np.vander(u[near], 3, increasing=True)
    covariance = np.linalg.inv(design.T @ design) * variance / seeds
    quantile = stats.t.ppf((1 + LEVEL) / 2, degrees)

    def excess(at):
        """Positive where the slope is certainly not 0."""
        gradient = np.array([0, 1, 2 * at])
        return (c1 + 2 * c2 * at) ** 2 - quantile**2 * gradient @ covariance @ gradient

    if 4 * (c2**2 - quantile**2 * covariance[2, 2]) <= 0:
        return found | {"interval": (-math.inf, math.inf)}
    ends = []
    for side in (-1, 1):
        step = 1e-6
        while excess(vertex + side * step) < 0:
            step *= 2
        inner = vertex if excess(vertex) < 0 else vertex - side * 1e-12
        ends.append(optimize.brentq(excess, inner, vertex + side * step, xtol=1e-14) if excess(inner) < 0 else vertex)
    if len(seen) >= 4:
        cubic = np.polynomial.polynomial.Polynomial(np.polynomial.polynomial.polyfit(u[seen], means[seen], 3))
        low, high = u[near[0]], u[near[-1]]
        inside = [r.real for r in cubic.deriv().roots() if abs(r.imag) < 1e-12 and low <= r.real <= high]
        beyond = STRETCH * (min([low, high, *inside], key=cubic) - vertex)
        ends = [ends[0] + min(beyond, 0), ends[1] + max(beyond, 0)]
    return found | {"interval": (x[best] + ends[0], x[best] + ends[1])}


class Comparison:
    def __init__(self):
        self.count, self.wrong = 0, []

    def same(self, what, found, expected, tolerance=1e-6):
        self.count += 1
        both = found is not None and expected is not None
        if both and isinstance(expected, (int, float)) and not isinstance(expected, bool):
            fits = math.isclose(found, expected, rel_tol=tolerance, abs_tol=1e-9)
        else:
            fits = found == expected
        if not fits:
            self.wrong.append(f"{what}: the report says {found}, the records give {expected}")

    def interval(self, what, found, expected, tolerance=1e-5):
        if expected is None or found is None:
            self.same(what, found, expected)
            return
        for end, value in zip(("low", "high"), expected):
            self.same(f"{what} {end}", found[end], value if math.isfinite(value) else None, tolerance)


def main():
    output = Path(sys.argv[1])
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else output / "report/report.json"
    analysis = json.loads(file.read_text())["analysis"]
    compare = Comparison()
    ids = lambda cell: sorted(run["id"] for point in cell["points"] for run in point["runs"])
    cells = {tuple(sorted(run["id"] for run in runs)): runs for runs in read_cells(output)}
    compare.same("runs by cells", sorted(map(ids, analysis["cells"])), sorted(map(list, cells)))
    compare.same("names of cells", len({cell["cell"] for cell in analysis["cells"]}), len(cells))
    if compare.wrong:
        sys.exit("\n".join(compare.wrong))
    cells = {cell["cell"]: cells[tuple(ids(cell))] for cell in analysis["cells"]}
    optima, tables = {}, {}
    for name, runs in cells.items():
        lrs, _, losses, tried, by_lr = table(runs)
        optima[name], tables[name] = optimum(lrs, losses, tried), by_lr

    def at_best(name, figure):
        runs = tables[name][optima[name]["best"]]
        values = {seed: figure(run) for seed, run in runs.items() if completed(run)}
        return {seed: value for seed, value in values.items() if value is not None}

    def mean(values):
        return None if None in values else np.mean(values)

    for cell in analysis["cells"]:
        name = cell["cell"]
        runs, found = cells[name], optima[name]
        for status in ("completed", "diverged", "failed"):
            count = sum(r["result"] is not None and r["result"]["status"] == status for r in runs)
            compare.same(f"{name} {status}", cell["counts"][status], count)
        lrs, kept, losses, _, by_lr = table(runs)
        for point in cell["points"]:
            what = f"{name} at {point['lr']}"
            place = np.flatnonzero(lrs == point["lr"])
            if not len(place):
                for figure in ("val_loss", "interval", "metric", "norms"):
                    compare.same(f"{what}: {figure}", point[figure], None)
                continue
            values = losses[:, place[0]]
            compare.same(f"{what}: mean loss", point["val_loss"], values.mean())
            interval = stats.t.interval(LEVEL, len(values) - 1, values.mean(), stats.sem(values)) if len(values) > 1 else None
            compare.interval(f"{what}: interval", point["interval"], interval)
            averaged = [by_lr[point["lr"]][seed] for seed in kept]
            metric = mean([test_figure(run, cell["headline"]) for run in averaged])
            compare.same(f"{what}: metric", point["metric"], metric)
            norms = [run["norms"] for run in averaged]
            for norm, value in (point["norms"] or {}).items():
                compare.same(f"{what}: {norm}", value, mean([of_run.get(norm) for of_run in norms]))
        told = cell["optimum"]
        compare.same(f"{name}: source", told["source"], found["source"])
        compare.same(f"{name}: edge", told["edge"], found["edge"])
        compare.same(f"{name}: optimum", told["lr"], found["lr"])
        compare.same(f"{name}: best tried", told["best_tried"], found["best"])
        compare.same(f"{name}: noise", (told["fit"] or {}).get("noise"), found["noise"])
        interval = found["interval"] and tuple(10.0**end for end in found["interval"])
        compare.interval(f"{name}: interval", told["interval"], interval)

        if cell["ratio_to_full"]:
            full = optima[cell["ratio_to_full"]["full"]]
            if cell["ratio_to_full"]["value"] is not None:
                compare.same(f"{name}: ratio", cell["ratio_to_full"]["value"], found["lr"] / full["lr"])
            if cell["ratio_to_full"]["interval"]:
                own, other = np.log10(found["lr"]), np.log10(full["lr"])
                down = math.hypot(own - found["interval"][0], full["interval"][1] - other)
                up = math.hypot(found["interval"][1] - own, other - full["interval"][0])
                expected = (10 ** (own - other - down), 10 ** (own - other + up))
                compare.interval(f"{name}: interval of the ratio", cell["ratio_to_full"]["interval"], expected)
        regret = cell["regret"] or {}
        for key in ("loss", "metric"):
            difference = regret.get(key)
            if not difference:
                continue
            if difference["of"] == "validation loss":
                figure = lambda run: run["result"]["best_val_loss"]
            else:
                of = "loss" if key == "loss" else difference["of"]
                figure = lambda run: test_figure(run, of)
            own, full = at_best(name, figure), at_best(regret["full"], figure)
            seeds = sorted(own.keys() & full.keys())
            own, full = np.array([own[s] for s in seeds]), np.array([full[s] for s in seeds])
            what = f"{name}: {difference['of']} less full's"
            compare.same(what, difference["value"], (own - full).mean())
            if len(seeds) > 1 and np.ptp(own - full) > 0:
                test = stats.ttest_rel(own, full)
                compare.same(f"{what}, t", difference["t"], test.statistic)
                compare.same(f"{what}, p", difference["p"], test.pvalue)
                compare.interval(f"{what}, interval", difference["interval"], tuple(test.confidence_interval(LEVEL)))
    for wrong in compare.wrong:
        print(wrong)
    print(f"{compare.count} numbers compared, {len(compare.wrong)} differ")
    return 1 if compare.wrong or not compare.count else 0


if __name__ == "__main__":
    sys.exit(main())
