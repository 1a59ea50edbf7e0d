"""Reference values of the task heads' metrics: seqeval's for entities, scipy's for correlations.

    pip install seqeval==1.2.2 scipy==1.17.1
    python scripts/references/heads.py

writes plugins/token_classification_head/tests/seqeval.json and plugins/regression_head/tests/scipy.json.
"""

import json
import random
import warnings
from pathlib import Path

from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

ROOT = Path(__file__).resolve().parents[2]
SCHEMES = {
    "iob2": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-MISC-x", "I-MISC-x"],
    "iobes": ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC"],
    "untyped": ["O", "B", "I", "B-_"],
}


def entities(draw):
    """Rows of true and predicted tags, by number, and what seqeval makes of them."""
    cases = []
    for scheme, names in SCHEMES.items():
        for agreement in (0.0, 0.6, 0.95, 1.0):
            labels, predicted = [], []
            for _ in range(12):
                row = [draw.randrange(len(names)) for _ in range(draw.randrange(1, 9))]
                labels.append(row)
                predicted.append([tag if draw.random() < agreement else draw.randrange(len(names)) for tag in row])
            cases.append(measured(scheme, names, labels, predicted))
        nothing = [[0, 0, 0], [0]]
        something = [[1, 2, 0], [1]]
        cases.append(measured(scheme, names, nothing, nothing))
        cases.append(measured(scheme, names, nothing, something))
        cases.append(measured(scheme, names, something, nothing))
    return cases


def measured(scheme, names, labels, predicted):
    true = [[names[tag] for tag in row] for row in labels]
    found = [[names[tag] for tag in row] for row in predicted]
    with warnings.catch_warnings():
        # Divisions by zero count as 0, which is what the warning says.
        warnings.simplefilter("ignore")
        figures = {
            "precision": precision_score(true, found),
            "recall": recall_score(true, found),
            "f1": f1_score(true, found),
            "accuracy": accuracy_score(true, found),
        }
    return {
        "scheme": scheme,
        "names": names,
        "labels": labels,
        "predicted": predicted,
        **{name: float(value) for name, value in figures.items()},
    }


def correlations(draw):
    """Lists without ties, with some, with many; weakly and strongly related, small, and far from 0."""
    cases = []
    for count, digits, noise, offset in ((2, 3, 1.0, 0.0), (50, 6, 0.1, 0.0), (50, 1, 1.0, 0.0), (200, 0, 3.0, 1e4)):
        labels = [round(draw.gauss(0, 1) + offset, digits) for _ in range(count)]
        predicted = [round(-0.5 * label + draw.gauss(0, noise), digits) for label in labels]
        cases.append(
            {
                "labels": labels,
                "predicted": predicted,
                "pearson": float(pearsonr(labels, predicted).statistic),
                "spearman": float(spearmanr(labels, predicted).statistic),
            }
        )
    return cases


def write(plugin, name, cases):
    path = ROOT / "plugins" / plugin / "tests" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    print(f"{path.relative_to(ROOT)}: {len(cases)} cases")


write("token_classification_head", "seqeval.json", entities(random.Random(1)))
write("regression_head", "scipy.json", correlations(random.Random(2)))
