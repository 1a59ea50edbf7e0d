"""Makes host/tests/data/wikitext2.json: what language models of transformers score on blocks of WikiText-2.

    python scripts/references/wikitext.py WIKITEXT2_FOLDER STORIES260K_FOLDER SMOLLM2_FOLDER

The blocks are those of run_clm.py: lines with their ends, tokenised one by one, joined and cut. The loss is the mean over
all predicted tokens in nats: of each block all but the first. It is kept with the number of blocks, no text and no ids.
"""

import itertools
import json
import sys
from pathlib import Path

import torch
import transformers

OUT = Path(__file__).resolve().parents[2] / "host" / "tests" / "data" / "wikitext2.json"
BLOCK = 128


def blocks(tokenizer, lines, count):
    ids = list(itertools.chain.from_iterable(tokenizer(lines)["input_ids"]))
    return torch.tensor(ids[: count * BLOCK]).view(count, BLOCK)


def score(folder, lines, count):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total = 0.0
    with torch.no_grad():
        for block in blocks(tokenizer, lines, count):
            logits = model(input_ids=block[None]).logits[0, :-1].double()
            total += torch.nn.functional.cross_entropy(logits, block[1:], reduction="sum").item()
    return {"block_size": BLOCK, "blocks": count, "loss": total / (count * (BLOCK - 1))}


def main():
    wikitext, stories, smollm2 = sys.argv[1:]
    torch.set_num_threads(1)
    lines = Path(wikitext, "test.txt").read_text().splitlines(keepends=True)
    values = {"stories260K": score(stories, lines, 64), "smollm2-135m-instruct": score(smollm2, lines, 8)}
    OUT.write_text(json.dumps(values, indent=2) + "\n")
    print(values)


if __name__ == "__main__":
    main()
