"""The loader on one core, against the fastest proxy one could train there: token rate, and memory as steps go by.

Corpus of 200 M made-up tokens in four sources, sequences of 128, batches of 2,048 tokens, the settings of the demo. The
proxy is one block 16 wide: smaller than any that is worth training. Also: a plan of 1,000 sources and 1 T tokens. Each
figure is the median of five; the ratio compares loader and proxy measured in turn, in one process with one thread.
"""

import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mixlab.mix.plan import plan_draws
from mixlab.model.mpt import MPT
from mixlab.train.loader import Loader
from mixlab.types import Corpus, Mixture, ModelSpec, TrainSpec

SEQ_LEN, BATCH_TOKENS, VOCAB = 128, 2048, 2048
SIZES = {"books": 20_000_000, "code": 60_000_000, "docs": 40_000_000, "wiki": 80_000_000}
ROUNDS = 5
REQUIRED, REQUIRED_PLAN_S = 50, 1.0


def rows() -> list[dict[str, str]]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        corpora = {s: _shard(Path(folder), s, n) for s, n in SIZES.items()}
        mix = Mixture(name="m", rule="weights", weights={"books": 0.2, "code": 0.3, "docs": 0.1, "wiki": 0.4})
        train = TrainSpec(tokens=190_000_000, batch_tokens=BATCH_TOKENS)
        loader = Loader(plan_draws(mix, corpora, train, SEQ_LEN), corpora, 0, BATCH_TOKENS // SEQ_LEN)
        _serve(loader, 0, 200)
        pairs = [(_serve(loader, 1000 * k, 1000 * k + 1000), _train(loader)) for k in range(ROUNDS)]
        before = _resident()
        _serve(loader, 0, loader.steps // 2)
        middle = _resident()
        _serve(loader, loader.steps // 2, loader.steps)
        after, most = _resident(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ratio = statistics.median(a / b for a, b in pairs)
    seconds = statistics.median(_plan() for _ in range(ROUNDS))
    rates = [statistics.median(p[i] for p in pairs) for i in (0, 1)]
    return [
        _row("loader", f"{rates[0] / 1e6:.1f} M tokens/s", ""),
        _row("fastest proxy", f"{rates[1] / 1e3:.0f} k tokens/s", f"loader is {ratio:.0f} x (required {REQUIRED} x)"),
        _row(
            "memory besides the corpus, at the begin, middle and end of 190 M tokens",
            f"{before:.0f}, {middle:.0f}, {after:.0f} MB",
            f"peak with mapped pages {most:.0f} MB",
        ),
        _row("plan of 1,000 sources, 1 T tokens", f"{seconds:.2f} s", f"required {REQUIRED_PLAN_S:g} s"),
    ]


def _row(what: str, found: str, told: str) -> dict[str, str]:
    return {"what": what, "found": found, "": told}


def _serve(loader: Loader, first: int, last: int) -> float:
    """Tokens per second of these steps."""
    began = time.perf_counter()
    for step in range(first, last):
        loader.batch(step)
    return (last - first) * BATCH_TOKENS / (time.perf_counter() - began)


def _train(loader: Loader, steps: int = 20) -> float:
    """Tokens per second of forward and backward of a model too small to be of use; no optimizer."""
    model = MPT(ModelSpec(d_model=16, n_heads=2, n_layers=1, max_seq_len=SEQ_LEN, vocab_size=VOCAB), seed=0)
    batches = [torch.from_numpy(loader.batch(k)[0]) for k in range(steps)]
    began = time.perf_counter()
    for ids_BT in batches:
        model.loss(ids_BT).backward()
    return steps * BATCH_TOKENS / (time.perf_counter() - began)


def _plan() -> float:
    """Seconds to plan 1 T tokens of 1,000 sources."""
    shares = np.random.default_rng(0).dirichlet(np.ones(1000))
    weights = {f"s{i:03d}": float(w) for i, w in enumerate(shares)}
    corpora = {s: _corpus(s, 10**12, Path("nowhere")) for s in weights}
    mix, train = Mixture(rule="weights", weights=weights), TrainSpec(tokens=10**12, batch_tokens=2**22)
    began = time.perf_counter()
    plan_draws(mix, corpora, train, 2048)
    return time.perf_counter() - began


def _resident() -> float:
    """Private memory of this process in MB: pages of mapped files are the kernel's to drop."""
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _shard(home: Path, source: str, tokens: int) -> Corpus:
    path = home / f"{source}-k"
    path.mkdir()
    np.random.default_rng(len(source)).integers(0, VOCAB, tokens, dtype=np.uint16).tofile(path / "tokens.bin")
    np.save(path / "ends.npy", np.arange(1000, tokens + 1, 1000))
    (path / "manifest.json").write_text(json.dumps({"dtype": "<u2"}))
    return _corpus(source, tokens, path)


def _corpus(source: str, tokens: int, path: Path) -> Corpus:
    counts = {"docs": tokens // 1000, "bytes": 4 * tokens, "heldout_docs": 0, "heldout_tokens": 0, "heldout_bytes": 0}
    told = {"licence": "MIT", "language": "en", "vocab_size": VOCAB}
    return Corpus(source=source, key="k", path=path, tokens=tokens, **counts, **told)
