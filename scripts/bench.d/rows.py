"""The rows that everyone trains on: those of the train file in lorahost's order, cut into batches."""

import csv
import hashlib
import random

MASK = (1 << 64) - 1
BATCH = 32
LONGEST = 512
CLASSES = 4
SEED = 42


def order(rows, seed=SEED, epoch=1):
    """The order of the train rows that lorahost draws: `data::order` of host/src/data/batch.rs."""
    stream = _stream(seed, "data", f"order/{epoch}")
    items = list(range(rows))
    for last in range(rows - 1, 0, -1):
        other = _below(stream, last + 1)
        items[last], items[other] = items[other], items[last]
    return items


def read(path, count):
    """The first rows of a CSV file with the header label,text: a list of (label, text)."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [(int(row["label"]), row["text"]) for row in csv.DictReader(file)]
    return rows[:count]


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        writer.writerows(rows)


def random_batches(rows, count, size=BATCH):
    """The first batches of lorahost's first epoch: lists of row numbers."""
    drawn = order(rows)
    return [drawn[start : start + size] for start in range(0, count * size, size)]


def blocks(path, tokenizer, length):
    """A text cut into blocks of tokens as transformers' run_clm.py and lorahost do it."""
    with open(path, encoding="utf-8") as file:
        joined = [token for ids in tokenizer(list(file))["input_ids"] for token in ids]
    return [joined[start : start + length] for start in range(0, len(joined) - length + 1, length)]


def grouped_batches(lengths, count):
    """Batches of like length, as transformers' LengthGroupedSampler makes them (rows in random order, sorted by length
    within 50 batches), and of those a random choice: the sampler's own first ones are its longest."""
    drawn = order(len(lengths))
    batches = []
    for start in range(0, len(drawn), 50 * BATCH):
        group = sorted(drawn[start : start + 50 * BATCH], key=lambda row: -lengths[row])
        batches += [group[at : at + BATCH] for at in range(0, len(group), BATCH)]
    whole = [batch for batch in batches if len(batch) == BATCH]
    return random.Random(SEED).sample(whole, count)


def _stream(seed, purpose, name):
    digest = hashlib.sha256(seed.to_bytes(8, "little"))
    for part in (purpose, name):
        digest.update(len(part.encode()).to_bytes(8, "little") + part.encode())
    state = int.from_bytes(digest.digest()[:8], "little")
    words = []
    for _ in range(4):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        words.append(z ^ (z >> 31))
    return _xoshiro(words)


def _xoshiro(state):
    def turn(value, by):
        return ((value << by) | (value >> (64 - by))) & MASK

    a, b, c, d = state
    while True:
        yield (turn((a + d) & MASK, 23) + a) & MASK
        t = (b << 17) & MASK
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= t
        d = turn(d, 45)


def _below(stream, n):
    rejected = (-n & MASK) % n
    while True:
        product = next(stream) * n
        if product & MASK >= rejected:
            return product >> 64
