"""The driver: what `scripts/bench` runs. Prints a table and writes JSON."""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import roofline
import rows as data
from host import Host

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


class Peer:
    """A process of peer.py that waits between repetitions."""

    def __init__(self, kind, job):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "peer.py", kind, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, OMP_NUM_THREADS=str(job["threads"])),
        )
        self._line()

    def repeat(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._line()

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a peer ended early (see above)")
        return json.loads(line)


class Extrapolated:
    """A peer whose repetition stands for `times` of its kind."""

    def __init__(self, peer, times):
        self.peer, self.times = peer, times

    def repeat(self):
        found = self.peer.repeat()
        scaled = {key: found[key] * self.times for key in ("tokens", "steps", "seconds")}
        return {**found, **scaled, "extrapolated": True}

    def end(self):
        self.peer.end()


class Roofline:
    """The rate of the products, as tokens a second that a step of them alone would make."""

    def __init__(self, job, lengths):
        tokens, squares = sum(lengths), sum(length**2 for length in lengths)
        config = json.loads((Path(job["model"]) / "config.json").read_text())
        self.tokens, self.steps = tokens, job["steps"]
        self.needed = roofline.needed(config, job["rank"], tokens, squares)
        message = {"threads": job["threads"], "config": config, "rows": round(tokens / job["steps"])}
        self.command = [sys.executable, HERE / "roofline.py", json.dumps(message)]

    def repeat(self):
        flops = json.loads(subprocess.run(self.command, check=True, capture_output=True, text=True).stdout)["flops"]
        return {"tokens": self.tokens, "steps": self.steps, "seconds": self.needed / flops, "flops": flops}


def encoder(job, tokens, lengths):
    """MiniLM on AG News, r = 16 on all linear layers: lorahost, its peers, the roofline."""
    return {
        "lorahost": Host(job, tokens),
        "lorahost, 2 workers": Host(job, tokens, workers=2, threads=1, runs=2),
        "PEFT": Peer("peft", job),
        "PEFT, grouped": Peer("peft-grouped", job),
        "original": Peer("original", dict(job, warm=0, steps=1)),
        "roofline": Roofline(job, lengths),
    }


def methods(job, tokens, lengths):
    """LoRA at two ranks against full fine-tuning, one worker."""
    return {
        "full": Host(job, tokens, ["--full-finetune"]),
        "LoRA r=16": Host(job, tokens),
        "LoRA r=128": Host(dict(job, rank=128), tokens),
        "PEFT, full": Peer("peft-full", job),
    }


def workers(job, tokens, lengths):
    """One worker with one thread, against two."""
    return {
        "1 worker": Host(job, tokens, threads=1),
        "2 workers": Host(job, tokens, threads=1, workers=2, runs=2),
    }


def evaluation(job, tokens, lengths):
    """Evaluation alone, on the first rows of the file."""
    job = dict(job, warm=0, steps=job["steps"] * 2)
    count = job["steps"] * data.BATCH
    evaluated = data.read(job["train"], count)
    data.write(job["validation"], evaluated)
    return {
        "lorahost": Host(job, sum(job["lengths"][:count]), evaluates=True),
        "PEFT": Peer("peft-evaluate", job),
    }


def growth(job, tokens, lengths):
    """How the cost grows with the rank, the choice of layers, the batch, the length of rows and the number of workers."""
    jobs = {f"r={rank}": Host(dict(job, rank=rank), tokens) for rank in (1, 4, 16, 64, 128, 256, 512)}
    for targets in ("attention", "mlp"):
        jobs[f"targets {targets}"] = Host(job, tokens, ["--targets", targets])
    for size in (8, 128):
        steps = max(job["steps"] * data.BATCH // size, 4)
        rows = [row for batch in data.random_batches(job["rows"], steps + 2, size)[2:] for row in batch]
        of_size = dict(job, steps=steps)
        jobs[f"batch {size}"] = Host(of_size, sum(job["lengths"][row] for row in rows), ["--batch-size", str(size)])
    for longest in (16, 32, 64):
        cut = sum(min(length, longest) for length in lengths)
        jobs[f"rows cut at {longest}"] = Host(job, cut, ["--max-length", str(longest)])
    for count in (1, 2):
        jobs[f"{count} workers"] = Host(job, tokens, threads=1, workers=count, runs=count)
    return jobs


def small(job, tokens, lengths):
    """The built-in tiny BERT on rows of a dozen of its own words, and the time to lorahost's first step."""
    model = ROOT / "host/src/model/builtin/tiny-bert"
    words = [word for word in (model / "vocab.txt").read_text().split() if word.isalpha() and len(word) > 1]
    draw = random.Random(data.SEED)
    rows = [(draw.randrange(data.CLASSES), " ".join(draw.choices(words, k=12))) for _ in range(job["rows"])]
    data.write(job["train"], rows)
    data.write(job["validation"], rows[: data.BATCH])
    # Two tokens more than words in each row.
    steps = job["steps"] * 4
    job = dict(job, model=str(model), steps=steps)
    tokens = steps * data.BATCH * 14
    return {
        "lorahost": Host(job, tokens, threads=1),
        "lorahost, 2 workers": Host(job, tokens, workers=2, threads=1, runs=2),
        "PEFT": Peer("peft", job),
        "lorahost, first step": Host(dict(job, warm=0, steps=1), data.BATCH * 14, threads=1, from_start=True),
    }


DISTILGPT2 = {
    **{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_positions": 1024},
    **{"n_embd": 768, "n_layer": 6, "n_head": 12, "activation_function": "gelu_new", "tie_word_embeddings": True},
    **{"attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "bos_token_id": 50256, "eos_token_id": 50256},
}


def decoder(job, tokens, lengths):
    """distilgpt2's shape with random weights, r = 16, 8 blocks of 512 tokens of --text a step."""
    folder = Path(job["train"]).with_name("distilgpt2")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(DISTILGPT2))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(Path(_asked(job, "gpt2")) / name, folder)
    return _blocks(job, str(folder), random=True, batch=8, block=512)


def smollm2(job, tokens, lengths):
    """SmolLM2-135M, r = 16, 4 blocks of 256 tokens of --text a step."""
    return _blocks(job, _asked(job, "smollm2"), random=False, batch=4, block=256)


def _blocks(job, model, random, batch, block):
    steps = max(job["steps"] // 2, 1)
    job = dict(job, model=model, random=random, batch=batch, block=block, steps=steps, warm=1)
    job["rows"] = (steps + 1) * batch
    job["train"] = _asked(job, "text")
    job["validation"] = job["train"]
    tokens = steps * batch * block
    return {"lorahost": Host(job, tokens), "PEFT": Peer("peft-causal", job)}


def _asked(job, name):
    if not job[name]:
        raise SystemExit(f"this work needs --{name}")
    return job[name]


def sweep(job, tokens, lengths):
    """A whole sweep: LoRA at 4 ranks and full fine-tuning, 5 learning rates each, an epoch of 1,000 rows, evaluation.
    The peers' figures are extrapolated: from one run of each method for PEFT (evaluation left out), from 3 steps for
    the original."""
    rows = data.read(job["train"], 1000)
    data.write(job["train"], rows)
    steps, lengths = -(-len(rows) // data.BATCH), job["lengths"][: len(rows)]
    runs = 25
    job = dict(job, rows=len(rows), warm=0, steps=steps)
    flags = ["--rank", "4", "16", "64", "128", "--with-full-finetune", "--epochs", "1"]
    # The last, short batch is left out where batches are counted whole.
    whole = dict(job, steps=len(rows) // data.BATCH)
    return {
        "lorahost": Host(job, sum(lengths), flags, workers=job["threads"], threads=1, runs=5, from_start=True),
        "PEFT, LoRA runs": Extrapolated(Peer("peft", whole), 20),
        "PEFT, full runs": Extrapolated(Peer("peft-full", whole), 5),
        "original": Extrapolated(Peer("original", dict(job, steps=3)), runs * steps / 3),
    }


WORKS = {
    work.__name__: work
    for work in (encoder, methods, workers, evaluation, small, decoder, smollm2, sweep, growth)
}


def measure(entries, repetitions):
    """Each entry once, then each once more, and so on: what disturbs the machine disturbs all."""
    found = {name: [] for name in entries}
    for number in range(repetitions):
        for name, entry in entries.items():
            print(f"  repetition {number + 1} of {repetitions}: {name}", file=sys.stderr)
            found[name].append(entry.repeat())
    for entry in entries.values():
        if isinstance(entry, (Peer, Extrapolated)):
            entry.end()
    return found


def summary(repeats):
    speeds = sorted(repeat["tokens"] / repeat["seconds"] for repeat in repeats)
    memory = [repeat["peak_memory_bytes"] for repeat in repeats if "peak_memory_bytes" in repeat]
    return {
        "tokens_per_second": statistics.median(speeds),
        "least": speeds[0],
        "most": speeds[-1],
        "seconds": statistics.median(repeat["seconds"] for repeat in repeats),
        "steps_per_second": statistics.median(repeat["steps"] / repeat["seconds"] for repeat in repeats),
        "peak_memory_bytes": max(memory, default=None),
        "repetitions": repeats,
    }


def show(work, results):
    first = next(iter(results.values()))["tokens_per_second"]
    bound = results.get("roofline", {}).get("tokens_per_second")
    print(f"\n{work.__doc__}")
    print(f"{'':22}{'tokens/s':>10}{'(least - most)':>18}{'first is':>10}{'roofline':>10}{'memory':>10}{'seconds':>10}")
    for name, result in results.items():
        spread = f"({result['least']:.0f} - {result['most']:.0f})"
        share = f"{result['tokens_per_second'] / bound:.0%}" if bound else ""
        memory = f"{result['peak_memory_bytes'] / 1e6:.0f} MB" if result["peak_memory_bytes"] else ""
        speed = result["tokens_per_second"]
        print(f"{name:22}{speed:10.0f}{spread:>18}{first / speed:>9.2f}x{share:>10}{memory:>10}{result['seconds']:>10.2f}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="lorahost against its peers, on this machine.")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"{', '.join(WORKS)} [default: encoder]")
    parser.add_argument("--model", required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", required=True, help="AG News: a CSV file with the header label,text")
    parser.add_argument("--text", help="text of the works decoder and smollm2, for instance WikiText-2")
    parser.add_argument("--gpt2", help="folder of GPT-2's vocab.json and merges.txt, for the work decoder")
    parser.add_argument("--smollm2", help="folder of SmolLM2-135M-Instruct, for the work smollm2")
    parser.add_argument("--repetitions", type=int, default=5, help="[default: 5]")
    parser.add_argument("--steps", type=int, default=8, help="steps that one repetition times [default: 8]")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[default: all cores]")
    parser.add_argument("--lorahost", default=ROOT / "target/release/lorahost", help="the program")
    parser.add_argument("--out", default="bench.json", help="where the figures go [default: bench.json]")
    options = parser.parse_args()
    unknown = set(options.works) - set(WORKS)
    if unknown:
        parser.error(f"no work is called {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")

    from transformers import AutoTokenizer

    report = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "works": {}}
    with tempfile.TemporaryDirectory(prefix="lorahost-bench-") as folder:
        rows = data.read(options.data, 2000)
        paths = {name: f"{folder}/{name}.csv" for name in ("train", "validation")}
        tokenizer = AutoTokenizer.from_pretrained(options.model)
        lengths = [len(tokenizer(text, truncation=True, max_length=data.LONGEST)["input_ids"]) for _, text in rows]
        job = {
            **{"model": options.model, "lorahost": str(options.lorahost), **paths},
            **{"rank": 16, "alpha": 32, "lr": 1e-4, "threads": options.threads},
            **{"text": options.text, "gpt2": options.gpt2, "smollm2": options.smollm2},
            **{"rows": len(rows), "warm": 2, "steps": options.steps, "lengths": lengths},
        }
        batches = data.random_batches(len(rows), job["warm"] + job["steps"])[job["warm"] :]
        timed = [lengths[row] for batch in batches for row in batch]
        for name in options.works or ["encoder"]:
            data.write(paths["train"], rows)
            data.write(paths["validation"], rows[: data.BATCH])
            work = WORKS[name]
            print(f"{name}: {work.__doc__}", file=sys.stderr)
            found = measure(work(job, sum(timed), timed), options.repetitions)
            report["works"][name] = {entry: summary(repeats) for entry, repeats in found.items()}
            show(work, report["works"][name])
            Path(options.out).write_text(json.dumps(report, indent=2) + "\n")


main()
