"""Recomputes the analysis in an output folder's summary.json from the runs' own records, with NumPy and SciPy.

    python scripts/references/analysis.py DIR

Optima, intervals, ratios and regrets are computed from runs/*/spec.json and result.json by other means than lorahost's
(QR least squares, SciPy's t, roots of Fieller's inequality), and compared. Needs numpy and scipy. Exit codes: 0 all agree, 1
some differ.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats

REACH, WIDE_REACH, STRETCH, LEVEL = 0.45, 0.95, 1.5, 0.9
COMPARED = {"agree": 0, "differ": 0}


def main(folder):
    analysis = json.loads((folder / "summary.json").read_text())["analysis"]
    runs = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")}
    cells = {cell["cell"]: cell for cell in analysis["cells"]}
    optima = {name: optimum(cell, runs) for name, cell in cells.items()}
    for name, cell in cells.items():
        found, expected = cell["optimum"], optima[name]
        compare(f"{name}: best tried", found["best_tried"], expected["best"])
        if "fit" not in expected:
            continue
        compare(f"{name}: optimum", found["lr"], 10 ** expected["x"])
        compare(f"{name}: noise", found["fit"]["noise"], expected["noise"])
        ends(f"{name}: interval", found["interval"], expected["interval"])
        if cell["ratio_to_full"]:
            ratio(name, cell["ratio_to_full"], expected, optima[cell["ratio_to_full"]["full"]])
        if cell["regret"]:
            regret(name, cell, cells[cell["regret"]["full"]], runs)
    print(f"{COMPARED['agree']} figures agree, {COMPARED['differ']} differ")
    return 0 if COMPARED["agree"] and not COMPARED["differ"] else 1


def optimum(cell, runs):
    """Only of folders in which every seed is done: then a learning rate counts where all runs completed."""
    table, tried = {}, []
    for point in cell["points"]:
        results = {run["seed"]: runs[run["id"]] for run in point["runs"] if run["id"] in runs}
        states = {result["status"] for result in results.values()}
        if states & {"completed", "diverged"}:
            tried.append(np.log10(point["lr"]))
        if states == {"completed"} and len(results) == len(cell["seeds"]):
            table[np.log10(point["lr"])] = [results[seed]["best_val_loss"] for seed in cell["seeds"]]
    x = np.array(sorted(table))
    losses = np.array([table[one] for one in x]).T
    means = losses.mean(axis=0)
    best = int(means.argmin())
    answer = {"best": 10 ** x[best], "x": x[best]}
    place = tried.index(x[best])
    if not 0 < place < len(tried) - 1 or {tried[place - 1], tried[place + 1]} - set(x):
        return answer

    u = x - x[best]
    near = window(u, best, REACH)
    wide = window(u, best, WIDE_REACH)
    left = np.arange(min(wide[0], max(near[0] - 1, 0)), near[0])
    right = np.arange(near[-1] + 1, min(max(wide[-1], near[-1] + 1), len(u) - 1) + 1)
    flatter_left = len(left) and (not len(right) or means[left].mean() <= means[right].mean())
    points = np.concatenate([left, near]) if flatter_left else np.concatenate([near, right])

    design = np.vander(u[near], 3, increasing=True)
    parabola = np.linalg.lstsq(design, means[near], rcond=None)[0]
    vertex = -parabola[1] / (2 * parabola[2])
    cubic = np.polynomial.Polynomial.fit(u[points], means[points], 3) if len(points) > 3 else None
    answer["x"] = x[best] + vertex
    answer["fit"] = parabola

    part = losses[:, points]
    residuals = part - part.mean(axis=0) - part.mean(axis=1, keepdims=True) + part.mean()
    degrees = (len(part) - 1) * (len(points) - 1)
    if degrees == 0:
        return {**answer, "noise": None, "interval": None}
    variance = (residuals**2).sum() / degrees
    covariance = variance / len(part) * np.linalg.inv(design.T @ design)
    t = stats.t.ppf((1 + LEVEL) / 2, degrees)
    # (c1 + 2 c2 u)^2 = t^2 (v11 + 4 u v12 + 4 u^2 v22), highest power first.
    inequality = [
        4 * (parabola[2] ** 2 - t**2 * covariance[2, 2]),
        4 * (parabola[1] * parabola[2] - t**2 * covariance[1, 2]),
        parabola[1] ** 2 - t**2 * covariance[1, 1],
    ]
    if inequality[0] <= 0:
        interval = (-np.inf, np.inf)
    else:
        interval = sorted(np.roots(inequality).real)
        beyond = 0.0
        if cubic is not None:
            grid = np.linspace(u[near[0]], u[near[-1]], 2_000_001)
            beyond = STRETCH * (grid[cubic(grid).argmin()] - vertex)
        interval = (interval[0] + min(beyond, 0), interval[1] + max(beyond, 0))
    return {**answer, "noise": variance**0.5, "interval": tuple(x[best] + end for end in interval)}


def window(u, best, reach):
    """Up to the first point that is `reach` away, on each side."""
    first = max(np.flatnonzero(u <= -reach), default=0)
    last = min(np.flatnonzero(u >= reach), default=len(u) - 1)
    return np.arange(min(first, best - 1), max(last, best + 1) + 1)


def ratio(name, found, own, full):
    if found["bound"] != "inside" or "fit" not in full:
        return
    compare(f"{name}: ratio", found["value"], 10 ** (own["x"] - full["x"]))
    if own["interval"] is None or full["interval"] is None:
        return
    (low, high), (full_low, full_high) = own["interval"], full["interval"]
    difference = own["x"] - full["x"]
    low = difference - np.hypot(own["x"] - low, full_high - full["x"])
    high = difference + np.hypot(high - own["x"], full["x"] - full_low)
    ends(f"{name}: ratio's interval", found["interval"], (low, high))


def regret(name, cell, full, runs):
    def at_best(cell):
        point = next(p for p in cell["points"] if p["lr"] == cell["optimum"]["best_tried"])
        return {run["seed"]: runs[run["id"]] for run in point["runs"]}

    own, other = at_best(cell), at_best(full)
    seeds = sorted(own.keys() & other.keys())
    figures = {"loss": lambda run: run["test"]["loss"], "metric": lambda run: run["test"]["metrics"][run["headline"]]}
    for kind, figure in figures.items():
        found = cell["regret"][kind]
        pairs = np.array([[figure(own[seed]), figure(other[seed])] for seed in seeds])
        compare(f"{name}: {kind} less full", found["value"], (pairs[:, 0] - pairs[:, 1]).mean())
        if len(seeds) > 1:
            test = stats.ttest_rel(pairs[:, 0], pairs[:, 1])
            compare(f"{name}: p of {kind}", found["p"], test.pvalue)
            interval = test.confidence_interval(LEVEL)
            compare(f"{name}: {kind} from", found["interval"]["low"], interval.low)
            compare(f"{name}: {kind} to", found["interval"]["high"], interval.high)


def ends(name, found, expected):
    if expected is None or found is None:
        compare(name, found, expected)
        return
    for end, x in zip(("low", "high"), expected):
        compare(f"{name}, {end}", found[end], None if np.isinf(x) else 10**x)


def compare(name, found, expected):
    same = found == expected if found is None or expected is None else np.isclose(found, expected, rtol=1e-5, atol=1e-12)
    COMPARED["agree" if same else "differ"] += 1
    if not same:
        print(f"{name}: {found}, recomputed {expected}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
