"""lorahost as its users run it, timed from outside by the lines that it writes."""

import glob
import json
import os
import shutil
import subprocess
import tempfile
import time


class Host:
    """One repetition is a run of lorahost for each of `runs` learning rates, `workers` of them at a time.

    What is timed lies between two lines of metrics.jsonl: `steps` after the warm-up, or the evaluation of the untrained
    model on the validation file where `evaluates`. With `from_start` it is everything from the start of the program to
    the last step of the last run.
    """

    def __init__(self, job, tokens, flags=(), workers=1, threads=None, runs=1, evaluates=False, from_start=False):
        self.job, self.tokens, self.flags = job, tokens, list(flags)
        self.workers, self.runs, self.evaluates, self.from_start = workers, runs, evaluates, from_start
        self.threads = threads or job["threads"]

    def repeat(self):
        job = self.job
        folder = tempfile.mkdtemp(prefix="lorahost-bench-")
        steps = 1 if self.evaluates else job["warm"] + job["steps"]
        try:
            rates = [str(job["lr"] * (1 + i / 8)) for i in range(self.runs)]
            command = [
                *[job["lorahost"], "--quiet", "--model", job["model"], "--train-file", job["train"]],
                *["--validation-file", job["validation"], "--alpha", str(job["alpha"])],
                *(_of_blocks(job) if "block" in job else []),
                *([] if "--rank" in self.flags else ["--rank", str(job["rank"])]),
                *["--lrs", *rates, "--max-steps", str(steps), "--output", folder],
                *["--threads", str(self.threads), "--workers", str(self.workers)],
                *self.flags,
            ]
            launched = time.perf_counter()
            runs = _watch(command, folder)
            results = [json.load(open(path)) for path in glob.glob(f"{folder}/runs/*/result.json")]
            spans = [self._span(lines) for lines in runs]
            return {
                "tokens": self.tokens * len(runs),
                "steps": job["steps"] * len(runs),
                "seconds": max(end for _, end in spans)
                - (launched if self.from_start else min(start for start, _ in spans)),
                "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
            }
        finally:
            shutil.rmtree(folder)

    def _span(self, lines):
        if self.evaluates:
            started = next(time for event, time in lines if event == "start")
            return started, next(time for event, time in lines if event == "evaluation")
        steps = [time for event, time in lines if event == "step"]
        return steps[max(self.job["warm"], 1) - 1], steps[-1]


def _of_blocks(job):
    return [
        *["--head", "causal-lm", "--batch-size", str(job["batch"]), "--train-size", str(job["rows"])],
        *["--set", f"data.block_size={job['block']}", "--validation-size", "1"],
        *(["--set", "model.weights=random"] if job["random"] else []),
    ]


def _watch(command, folder):
    """For each run the lines of its metrics.jsonl: what happened, and when."""
    runs, seen = {}, {}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    running = True
    while running:
        running = process.poll() is None
        now = time.perf_counter()
        for path in glob.glob(f"{folder}/runs/*/metrics.jsonl"):
            with open(path, "rb") as file:
                file.seek(seen.get(path, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            seen[path] = seen.get(path, 0) + len(whole)
            runs.setdefault(path, []).extend((json.loads(line)["event"], now) for line in whole.splitlines())
        time.sleep(0.01)
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} ended with code {process.returncode}")
    return list(runs.values())
