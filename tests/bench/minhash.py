"""Signatures from raw text, 128 permutations, word 5-grams, one core: documents a second.

Texts of 500 words made from a vocabulary of 20,000 (seed 0). datasketch 2.0.0: words by `re`, 5-grams joined in Python,
xxh3 (32 bits), `update_batch`, scheme affine32. rensa 0.5.0: the same 5-grams joined in Python, full R-MinHash
(`digest_matrix_from_token_sets`, not the lossy `_rho`). Ours: `kernels.signatures`. Five alternating rounds, medians.
"""

import importlib.metadata
import re
import statistics
import time
from collections.abc import Callable

import numpy as np
import xxhash
from datasketch import MinHash
from rensa import RMinHash

from mixlab.data import kernels

WORD = re.compile(r"\w+")
DOCS, ROUNDS = 2000, 5


def rows() -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    vocabulary = np.array(
        ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 10))) for _ in range(20_000)]
    )
    texts = [" ".join(rng.choice(vocabulary, 500)) for _ in range(DOCS)]
    peers: dict[str, tuple[Callable[[list[str]], object], int]] = {
        "mixlab": (kernels.signatures, DOCS),
        f"rensa {importlib.metadata.version('rensa')} R-MinHash": (_rensa, DOCS // 2),
        f"datasketch {importlib.metadata.version('datasketch')} + xxh3": (_datasketch, DOCS // 4),
    }
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for run, _ in peers.values():
        run(texts[:20])
    for _ in range(ROUNDS):
        for name, (run, size) in peers.items():
            began = time.process_time()
            run(texts[:size])
            rates[name].append(size / (time.process_time() - began))
    ours = rates["mixlab"]
    out = []
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(ours, rate, strict=True))
        out.append({"what": name, "docs/s": f"{statistics.median(rate):,.0f}", "mixlab is faster by": f"{ratio:.1f} ×"})
    return out


def _shingles(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + 5]) for i in range(max(len(words) - 4, 1))]


def _datasketch(texts: list[str]) -> None:
    base = MinHash(num_perm=128, seed=1, scheme="affine32", hashfunc=lambda b: xxhash.xxh3_64_intdigest(b) & 0xFFFFFFFF)
    for text in texts:
        minhash = base.copy()
        minhash.update_batch([s.encode() for s in _shingles(text)])


def _rensa(texts: list[str]) -> None:
    RMinHash.digest_matrix_from_token_sets([_shingles(t) for t in texts], 128, 42)
