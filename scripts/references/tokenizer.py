"""Token ids by Hugging Face transformers, for the tests of host/src/data/tokenizer.rs.

    python scripts/references/tokenizer.py MINILM_FOLDER AG_NEWS_TEST_CSV

Writes host/src/data/references/tokenizer.json (a small vocabulary, hard texts, their ids) and minilm_ag_news.json
(of the first 200 AG News test rows, title and description joined by a space, the lengths in tokens and the sha256 of
all ids as little-endian 32-bit numbers: the text's licence does not allow to keep more here).
"""

import csv
import hashlib
import json
import pathlib
import struct
import sys
import tempfile

import transformers

OUT = pathlib.Path(__file__).parents[2] / "host/src/data/references"
VOCABULARY = (
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    + list(".,:;!?'-\"()$#&\\")
    + [p + c for c in "abcdefghijklmnopqrstuvwxyz0123456789" for p in ("", "##")]
    + "the run ##ning un ##able play ##er cafe naive 中 国".split()
)
TEXTS = [
    "The runner's RUNNING, unable to play!",
    "Café naïve Ångström",
    "tabs\tand\nlines  and \u00a0 spaces",
    "中国 is split, emoji 🙂 is unknown",
    "remnants #39; and \\backslashes\\ $10 &amp; co.",
    "[MASK] and [SEP] in the text stay special tokens",
    "a" * 120 + " is too long a word",
    "",
    "zero\u200bwidth and contr\u0007ol",
    "the " * 60,
]


def write(name, value):
    (OUT / name).write_text(json.dumps(value, ensure_ascii=False) + "\n")


def main():
    minilm, ag_news = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
        small = transformers.BertTokenizerFast(vocab=str(pathlib.Path(folder, "vocab.txt")))
    ids = small(TEXTS, max_length=32, truncation=True)["input_ids"]
    write("tokenizer.json", {"vocabulary": VOCABULARY, "texts": TEXTS, "max_length": 32, "ids": ids})

    with open(ag_news, newline="") as file:
        texts = [f"{title} {text}" for _, title, text in list(csv.reader(file))[:200]]
    large = transformers.AutoTokenizer.from_pretrained(minilm)
    rows = large(texts, max_length=64, truncation=True)["input_ids"]
    ids = [id for row in rows for id in row]
    digest = hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()
    write("minilm_ag_news.json", {"max_length": 64, "lengths": [len(row) for row in rows], "sha256": digest})


main()
