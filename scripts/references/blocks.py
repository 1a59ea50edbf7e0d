"""Blocks of tokens as transformers' run_clm.py makes them, for the tests of host/src/data/blocks.rs.

    python scripts/references/blocks.py STORIES260K_FOLDER GPT2_TOKENIZER_FOLDER

Writes host/src/data/references/blocks.json: a text and, for each tokenizer, the ids of its blocks and the number of bytes of text
that all tokens of a block but the first cover. `group` is run_clm.py's own `group_texts`; the text has fewer than
1,000 lines, which is where run_clm.py drops the first rest.
"""

import itertools
import json
import pathlib
import sys

import transformers

OUT = pathlib.Path(__file__).parents[2] / "host/src/data/references"
TEXT = """Once upon a time, there was a little girl named Lily.

She liked  two   spaces, tabs\tand a line that ends in one \u0020
Déjà vu: naïve Ångström, 中国, emoji 🙂👩‍🚀 and a control \u0007 character.
   = = Heading = =   
don't we'll I'm 1234567 ½ #39; \\backslash\\ &amp;

The end"""
BLOCK = 16


def group(texts, tokenizer):
    examples = tokenizer(texts)
    concatenated = list(itertools.chain(*examples["input_ids"]))
    total = (len(concatenated) // BLOCK) * BLOCK
    return [concatenated[i : i + BLOCK] for i in range(0, total, BLOCK)], concatenated


def covered(texts, tokenizer, blocks):
    """Bytes of each token by the ends of its offsets in the text, in order; what follows the last one is the last one's."""
    counts = []
    for text in texts:
        ends, last = tokenizer(text, return_offsets_mapping=True)["offset_mapping"], 0
        for _, end in ends:
            new = max(end - last, 0)
            counts.append(len(text[last : last + new].encode()))
            last += new
        if ends:
            counts[-1] += len(text[last:].encode())
    assert sum(counts) == sum(len(text.encode()) for text in texts)
    return [sum(counts[at * BLOCK + 1 : (at + 1) * BLOCK]) for at in range(len(blocks))]


def main():
    stories, gpt2 = sys.argv[1:]
    # As datasets' `text` loader gives them with keep_linebreaks, run_clm.py's default.
    texts = TEXT.splitlines(keepends=True)
    tokenizers = {
        "stories260K": transformers.PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(stories, "tokenizer.json"))),
        "gpt2": transformers.GPT2TokenizerFast(
            vocab=str(pathlib.Path(gpt2, "vocab.json")), merges=str(pathlib.Path(gpt2, "merges.txt"))
        ),
    }
    value = {"text": TEXT, "block_size": BLOCK}
    for name, tokenizer in tokenizers.items():
        blocks, _ = group(texts, tokenizer)
        value[name] = {"blocks": blocks, "bytes": covered(texts, tokenizer, blocks)}
    (OUT / "blocks.json").write_text(json.dumps(value, ensure_ascii=False) + "\n")


main()
