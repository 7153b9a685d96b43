"""Whole dedup of real text (../shared/data/bench), text in and keep-list out, at 14 bands x 8 rows, one process each.

CPU seconds (of the process and its children, start-up and imports included) and peak memory of one process. datatrove
0.10.1: its four MinHash stages, defaults. text-dedup 0.4.0: `minhash`, 5-grams, 112 permutations, xxh3, in an
environment of its own. Neither verifies its pairs; ours counts the Jaccard of each. MIXLAB_BENCH_EVERY=n takes every
n-th document (default: all), MIXLAB_BENCH_DATATROVE=n every n-th of those for datatrove, which is compared with mixlab
on the same ones. A peer that is not installed says so in its row.
Below: precision and recall of verified pairs at J >= 0.8 on the labelled sets of ../shared/golden/dedup, 21 x 6.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import zstandard

from mixlab.data.dedup import near_duplicates
from mixlab.data.documents import write_docs
from mixlab.types import Document

SHARED = Path(__file__).parents[3] / "shared"
EVERY = int(os.environ.get("MIXLAB_BENCH_EVERY", "1"))
FEWER = int(os.environ.get("MIXLAB_BENCH_DATATROVE", "10"))  # of those, for datatrove: all would take it an hour
BESIDE = Path(__file__).parents[2] / ".venv-bench-text-dedup" / "bin" / "python"

OURS = """
import sys
from pathlib import Path
from mixlab.data.dedup import dedup_pool
from mixlab.types import Dedup
at = Path(sys.argv[1])
facts = dedup_pool({"pool": at / "docs"}, Dedup(bands=14, rows=8, num_perm=112, workers=1), at / "ours")
print(facts["removed"])
"""
DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor as Run
from datatrove.pipeline.dedup.minhash import *
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
at, config = sys.argv[1] + "/datatrove/", MinhashConfig(num_buckets=14, hashes_per_bucket=8, n_grams=5)
read = lambda: JsonlReader(sys.argv[1], glob_pattern="docs.jsonl")
for n, steps in enumerate((
    [read(), MinhashDedupSignature(at + "s", config=config)],
    [MinhashDedupBuckets(at + "s", at + "b", config=config)],
    [MinhashDedupCluster(at + "b", at + "r", config=config)],
    [read(), MinhashDedupFilter(at + "r"), JsonlWriter(at + "out")],
)):
    Run(steps, tasks=14 if n == 1 else 1, workers=1, logging_dir=at + f"log{n}").run()
import gzip, glob
kept = sum(1 for p in glob.glob(at + "out/*.gz") for _ in gzip.open(p))
print(sum(1 for _ in open(sys.argv[1] + "/docs.jsonl")) - kept)
"""
TEXT_DEDUP = """
import sys, subprocess
at = sys.argv[1]
args = f"--path json --data_files {at}/docs.jsonl --split train --column text --ngram 5 --num_perm 112 --b 14 --r 8"
args += f" --hash_func xxh3 --num_proc 1 --cache_dir {at}/cache --output {at}/text-dedup"
subprocess.run([sys.executable, "-m", "text_dedup.minhash", *args.split()], check=True, stdout=2)
from datasets import load_from_disk
print(sum(1 for _ in open(at + "/docs.jsonl")) - len(load_from_disk(at + "/text-dedup")))
"""


def rows() -> list[dict[str, str]]:
    if not SHARED.exists():
        sys.exit("the bench corpora are not beside the repository: nothing measured")
    blank = {"CPU s": "", "mixlab is faster by": "", "peak MB": "", "removed": "", "precision": "", "recall": ""}
    out = []
    with tempfile.TemporaryDirectory() as folder:
        peers = (("text-dedup", TEXT_DEDUP, str(BESIDE), 1), ("datatrove", DATATROVE, sys.executable, FEWER))
        for peer, code, python, every in peers:
            (at := Path(folder) / peer).mkdir()
            count, ours = _lay(at, EVERY * every), 0.0
            for name, what, with_python in (("mixlab", OURS, sys.executable), (peer, code, python)):
                told = {"what": f"{name}, {count:,} documents"}
                if not Path(with_python).exists():
                    out.append({**blank, **told, "CPU s": "not installed: `make bench` does it"})
                    continue
                seconds, peak, removed = _measured(what, str(at), with_python)
                ours = ours or seconds
                told |= {"CPU s": f"{seconds:.1f}", "peak MB": f"{peak:,.0f}", "removed": removed}
                out.append({**blank, **told, "mixlab is faster by": f"{seconds / ours:.1f} ×"})
                print(out[-1], flush=True)
    for path in sorted((SHARED / "golden" / "dedup").glob("*.jsonl.zst")):
        precision, recall, pairs = _labelled(path)
        told = {"what": f"{path.name.split('.')[0]}, {pairs:,} pairs", "precision": f"{precision:.3f}"}
        out.append({**blank, **told, "recall": f"{recall:.4f}"})
    return [{"what": row["what"], **row} for row in out]


def _lay(folder: Path, every: int) -> int:
    (folder / "docs").mkdir()
    found = [d for n, d in enumerate(_documents()) if n % every == 0]
    write_docs(folder / "docs", found)
    lines = (json.dumps({"id": d.id, "text": d.text}) + "\n" for d in found)
    (folder / "docs.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(found)


def _documents() -> Iterator[Document]:
    for path in sorted((SHARED / "data" / "bench").glob("*.jsonl.zst")):
        for row in _lines(path):
            yield Document(id=f"{path.name}:{row['id']}", text=row["text"])


def _lines(path: Path) -> Iterator[dict]:
    with open(path, "rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            yield json.loads(line)


def _measured(code: str, folder: str, python: str) -> tuple[float, float, str]:
    """Seconds of CPU, peak MB and what it printed last, of a Python process."""
    wrapper = (
        "import resource as r, subprocess as s, sys; "
        "p = s.run([sys.executable, '-c', sys.argv[1], sys.argv[2]], stdout=s.PIPE, text=True, check=True); "
        "u = r.getrusage(r.RUSAGE_CHILDREN); "
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss / 1024, p.stdout.split()[-1])"
    )
    told = subprocess.run([python, "-c", wrapper, code, folder], stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak, removed = told.stdout.split()
    return float(seconds), float(peak), removed


def _labelled(path: Path) -> tuple[float, float, int]:
    docs = list(_lines(path))
    place = {d["id"]: n for n, d in enumerate(docs)}
    pairs = path.with_name(path.name.replace(".jsonl.zst", ".pairs.parquet"))
    truth = pd.read_parquet(pairs, filters=[("jaccard5", ">=", 0.8)])
    want = {tuple(sorted((place[a], place[b]))) for a, b in zip(truth["id1"], truth["id2"], strict=True)}
    found = near_duplicates([d["text"] for d in docs])
    got = set(zip(found["i"].tolist(), found["j"].tolist(), strict=True))
    return len(got & want) / len(got), len(got & want) / len(want), len(want)
