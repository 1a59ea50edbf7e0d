"""Parquet files as the packages `datasets` and `pyarrow` write them, for the tests of host/src/data.

    python scripts/references/parquet.py

Needs `datasets` (made with 5.2.0). Writes into host/src/data/references/parquet: a data set of two parts with the names of
its classes in the files' metadata, one of tagged words, and a file of pyarrow's own with every form of column.
"""

import pathlib

import datasets
import pyarrow
import pyarrow.parquet

OUT = pathlib.Path(__file__).parents[2] / "host/src/data/references/parquet"


def write(dataset, *path):
    path = OUT.joinpath(*path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(str(path))


def main():
    label = datasets.ClassLabel(names=["negative", "positive"])
    reviews = datasets.Dataset.from_dict(
        {"text": ["bad", "good", "worse", "Käse 🙂", "better"], "label": [0, 1, 0, 1, 1]},
        features=datasets.Features({"text": datasets.Value("string"), "label": label}),
    )
    for part in range(2):
        write(reviews.shard(2, part, contiguous=True), "reviews/data", f"train-{part:05}-of-00002.parquet")
    without = reviews.select([1, 2]).map(lambda row: {"label": -1})
    write(without, "reviews/data/test-00000-of-00001.parquet")

    tags = datasets.List(datasets.ClassLabel(names=["O", "B-PER", "B-LOC"]))
    words = datasets.Dataset.from_dict(
        {"tokens": [["Ada", "lives", "in", "Paris"], [], ["Nobody"]], "ner_tags": [[1, 0, 0, 2], [], [0]]},
        features=datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags}),
    )
    write(words, "words", "train.parquet")

    schema = pyarrow.schema(
        [
            pyarrow.field("required", pyarrow.string(), nullable=False),
            ("optional", pyarrow.string()),
            ("bool", pyarrow.bool_()),
            ("int8", pyarrow.int8()),
            ("int64", pyarrow.int64()),
            ("float", pyarrow.float32()),
            ("double", pyarrow.float64()),
            ("bytes", pyarrow.binary()),
            ("day", pyarrow.date32()),
            ("record", pyarrow.struct([("x", pyarrow.int32()), ("y", pyarrow.string())])),
            ("single", pyarrow.struct([("x", pyarrow.int32())])),
            ("list", pyarrow.list_(pyarrow.string())),
            pyarrow.field("full", pyarrow.list_(pyarrow.field("element", pyarrow.int32(), nullable=False)), nullable=False),
            ("deep", pyarrow.list_(pyarrow.list_(pyarrow.int32()))),
            ("records", pyarrow.list_(pyarrow.struct([("x", pyarrow.int32())]))),
        ]
    )
    rows = [
        ["a", "b", True, 1, 2**40, 0.5, 0.1, b"x", 1, {"x": 1, "y": "z"}, {"x": 1}, ["p", None, "q"], [1, 2], [[1]], [{"x": 1}]],
        ["c", None, None, None, None, None, None, None, None, None, None, None, [], None, None],
        ["d", "", False, -1, -1, -1.5, 1e300, b"", 0, {"x": None, "y": None}, {"x": None}, [], [3], [], []],
    ]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(schema.names)}
    table = pyarrow.table(columns, schema=schema)
    pyarrow.parquet.write_table(table, OUT / "forms.parquet", compression="zstd", row_group_size=2)


main()
