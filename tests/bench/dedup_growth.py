"""Growth of a whole dedup with the number of documents: text in, keep-list out, 21 x 6, one worker, DuckDB at 2 GB.

Documents are three paragraphs drawn from real text (../shared/data/bench, paragraphs of 20 to 80 words), one in ten a
copy of an earlier one with two words edited. Seconds of CPU of one process; exponents between first and last size, and
between the last two. 10 M documents are extrapolated with the latter, not run. MIXLAB_BENCH_GROWTH=10000,100000 limits.
"""

import io
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard

from mixlab.data.dedup import dedup_pool
from mixlab.data.documents import write_docs
from mixlab.types import Dedup, Document

BENCH = Path(__file__).parents[3] / "shared" / "data" / "bench"
SIZES = tuple(map(int, os.environ.get("MIXLAB_BENCH_GROWTH", "10000,100000,1000000").split(",")))
PARAGRAPHS = 20_000


def rows() -> list[dict[str, str]]:
    if not BENCH.exists():
        sys.exit("the bench corpora are not beside the repository: nothing measured")
    texts, out, took = paragraphs(), [], []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            source = Path(folder) / str(size)
            source.mkdir()
            _, volume = write_docs(source, documents(texts, size))
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # its own process: its own peak
                seconds, peak, removed = pool.apply(measure, (source,))
            took.append(seconds)
            told = {"documents": f"{size:,}", "text MB": f"{volume / 1e6:,.0f}", "CPU s": f"{seconds:.1f}"}
            out.append({**told, "peak MB": f"{peak:,.0f}", "removed": f"{removed:,}"})
    slopes = [math.log(took[-1] / took[n]) / math.log(SIZES[-1] / SIZES[n]) for n in (0, len(SIZES) - 2)]
    guess = took[-1] * (1e7 / SIZES[-1]) ** slopes[1]
    blank = {"text MB": "", "peak MB": "", "removed": ""}
    out.append({"documents": "10,000,000 (extrapolated)", "CPU s": f"{guess:,.0f}", **blank})
    out.append({"documents": f"exponent {slopes[0]:.2f}, of the last step {slopes[1]:.2f}", "CPU s": "", **blank})
    return out


def measure(source: Path) -> tuple[float, float, int]:
    with tempfile.TemporaryDirectory() as warm:  # compiled code is loaded before the clock starts
        (Path(warm) / "in").mkdir()
        write_docs(Path(warm) / "in", [Document(id=str(n), text="a b c d e f g " * 9) for n in range(4)])
        dedup_pool({"s": Path(warm) / "in"}, Dedup(workers=1), Path(warm) / "out")
    began = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        facts = dedup_pool({"s": source}, Dedup(workers=1), Path(out))
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, facts["removed"]


def paragraphs() -> list[str]:
    found: list[str] = []
    for path in sorted(BENCH.glob("*.jsonl.zst")):
        here = 0
        with open(path, "rb") as file:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
                fit = [p for p in json.loads(line)["text"].split("\n") if 20 <= p.count(" ") <= 80]
                found += fit
                here += len(fit)
                if here > PARAGRAPHS // 10:
                    break
    return sorted(set(found))[:: max(len(set(found)) // PARAGRAPHS, 1)]


def documents(texts: list[str], size: int) -> Iterator[Document]:
    rng, last = np.random.default_rng(0), ""
    for n in range(size):
        if n % 10 == 9:
            words = last.split()
            for place in rng.integers(0, len(words), 2):
                words[place] = f"edit{n}"
            text = " ".join(words)
        else:
            text = last = "\n".join(texts[i] for i in rng.integers(0, len(texts), 3))
        yield Document(id=f"{n:09}", text=text)
