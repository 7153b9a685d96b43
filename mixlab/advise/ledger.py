"""The ledger of advice: what was predicted, what came out, and how much wider later intervals must be.

Appends JSON lines to `ledger.jsonl` of the workspace, one a proposal. What came of it is read from the finished runs
each time it is asked for, so a proposal is settled by training it and by nothing else.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from mixlab.advise.card import Verdict
from mixlab.workspace import append_line, read_lines

PRIOR = 4.0  # outcomes that "the intervals are right" is worth; two wrong ones do not overturn it, ten do
SAME = 2e-3  # L1 distance below which a run's mix is the proposed one: sequences are whole
Z80 = 1.281552  # a normal variable lies within so many sds with probability 0.8


def propose(path: Path, verdict: Verdict, natural: Mapping[str, float], recipe: str | None) -> None:
    """Writes a proposal down, before it is trained; the same one only once."""
    row = {
        "ts": time.time(),
        "recipe": recipe,
        "mixture": dict(verdict.mixture.weights),
        "natural": dict(natural),
        "factors": dict(zip(verdict.metrics, verdict.factors, strict=True)),
        "predicted": verdict.gain.mean,
        "lo95": verdict.gain.lo95,
        "hi95": verdict.gain.hi95,
        "sd": (verdict.gain.hi80 - verdict.gain.lo80) / 2 / Z80 / verdict.widened,
        "noise_sd": verdict.noise_sd,
        "fit": {
            "method": verdict.method,
            "r2": verdict.cv_r2,
            "spearman": verdict.cv_spearman,
            "mae": verdict.cv_mae,
            "left_out": verdict.cv_predicted,
            "one_run": {"recommended": asdict(verdict.predicted), "natural": asdict(verdict.natural)},
        },
    }
    told = ("recipe", "mixture", "factors", "predicted")
    if not any(all(old.get(k) == row[k] for k in told) for old in read_lines(path)):
        append_line(path, row, sync=True)


def settled(path: Path, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every proposal, oldest first, with `realised` (mean gain over natural) and `pairs` (seeds behind it, 0: none).

    `runs`: rows of `results.listing.list_runs`. Pairs are finished runs of the proposal's recipe and one seed, one of
    the proposed and one of the natural mix.
    """
    result = list[dict[str, Any]]()
    for row in read_lines(path):
        like = [r for r in runs if r["state"] == "finished" and r["recipe"] == row["recipe"]]
        ours, plain = (_by_seed(like, row[mix], row["factors"]) for mix in ("mixture", "natural"))
        gains = [plain[s] - ours[s] for s in sorted(ours.keys() & plain.keys())]
        result.append({**row, "pairs": len(gains), "realised": fmean(gains) if gains else None})
    return result


def widen(rows: Sequence[Mapping[str, Any]]) -> float:
    """Factor on the sd of predicted gains that the settled outcomes ask for; never below 1 until eight are in.

    The scale of standardised errors, shrunk towards 1 as if four outcomes had been as uncertain as said. The noise of
    the measured pairs is taken off each error. 1 without outcomes.

    >>> miss = {"predicted": 0.1, "realised": 0.04, "sd": 0.01, "pairs": 3, "noise_sd": None}
    >>> round(widen([miss] * 2), 2)
    3.56
    """
    squares, done = 0.0, [r for r in rows if r["pairs"]]
    for row in done:
        variance = row["sd"] ** 2 + 2 * (row["noise_sd"] or 0.0) ** 2 / row["pairs"]
        squares += (row["realised"] - row["predicted"]) ** 2 / variance if variance > 0 else 0.0
    scale = math.sqrt((PRIOR + squares) / (PRIOR + len(done)))
    return scale if len(done) >= 2 * PRIOR else max(1.0, scale)


def _by_seed(
    runs: Sequence[Mapping[str, Any]], mix: Mapping[str, float], factors: Mapping[str, float]
) -> dict[int, float]:
    """Seed -> objective of the runs of a mix that have every metric."""
    found = dict[int, float]()
    for r in runs:
        scores = {f"bpb_{s}": v for s, v in r["bpb"].items()}
        apart = sum(abs(r["weights"].get(s, 0.0) - mix.get(s, 0.0)) for s in {*r["weights"], *mix})
        if apart < SAME and all(scores.get(m) is not None for m in factors):
            found[r["seed"]] = sum(c * scores[m] for m, c in factors.items())
    return found
