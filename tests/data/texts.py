"""Texts of made-up words, for tests of near-duplicates."""

import numpy as np

WORDS = [f"word{i}" for i in range(2000)]


def text(seed: int, size: int = 80) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, size))


def edited(base: str, *places: int) -> str:
    parts = base.split()
    for place in places:
        parts[place] = f"new{place}"
    return " ".join(parts)
