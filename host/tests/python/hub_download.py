"""Brings files of `org/tiny` and `org/topics` into the cache as the hub's own client does, and prints their paths.

    python hub_download.py HF_HOME [ENDPOINT]

Without an endpoint the cache alone is asked.
"""

import os
import sys

os.environ["HF_HOME"] = sys.argv[1]
os.environ["HF_ENDPOINT"] = (sys.argv + ["http://127.0.0.1:9"])[2]
os.environ["HF_HUB_OFFLINE"] = "0" if len(sys.argv) > 2 else "1"

from huggingface_hub import hf_hub_download  # noqa: E402, it reads the variables

for name in ["config.json", "model.safetensors", "vocab.txt"]:
    print(hf_hub_download("org/tiny", name))
for name in ["test.csv", "train.csv", "validation.csv"]:
    print(hf_hub_download("org/topics", name, repo_type="dataset"))
