"""Successive halving: every run is trained to the same point, the better part goes on, and so on to the end.

A run that is left behind keeps its checkpoint and goes on from there if it is asked for again; one that goes on is the
very run it would have been, so that its scores compare with those of any other sweep. The risk: a mix that begins
slowly and ends well is left behind. How well a point foretold the next is measured for the runs that reached both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixlab import sweep
from mixlab.advise.validation import spearman
from mixlab.errors import ConfigError
from mixlab.rehearsal import Rehearsal
from mixlab.results.listing import read_rows
from mixlab.workspace import Workspace

MIN_FRAC = 0.1
"""The first point lies no earlier: before it, little but the learning of the most frequent tokens is seen."""


@dataclass(kw_only=True, slots=True)
class Halved:
    """What came of it."""

    left: dict[str, float] = field(default_factory=dict[str, float])
    """Run that was left behind -> share of its tokens it was trained for."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    foretold: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """For every point but the last: share of the tokens, and the rank correlation with the next one (Spearman)."""

    def sentences(self) -> list[str]:
        """In words, the risk with them."""
        told = [f"{len(self.left)} runs were left behind with their checkpoints; without --halving they go on."]
        told += [
            f"The order at {frac:.0%} of the tokens and at the next point: Spearman {r:+.2f}."
            for frac, r in self.foretold
            if math.isfinite(r)
        ]
        return [*told, "A mix that begins slowly and ends well may be among those left behind."]


def run_halving(told: Sequence[Rehearsal], ws: Workspace, *, eta: int, **options: Any) -> Halved:
    """Trains `told` in lock-step, keeping one in `eta` of them (rounded up) at each point; options as of sweep.run_all.

    ConfigError unless all runs have as many tokens and evaluate on the way.
    """
    runs = list({t.path.name: t for t in told}.values())
    points = _points(runs, eta)
    found, scores = Halved(), dict[str, float]()
    for at, frac in enumerate(points):
        before, scores = scores, dict[str, float]()
        tokens = frac * runs[0].plan.tokens
        state = sweep.run_all(runs, ws, enough=_reached(tokens) if frac < 1 else None, **options)
        found.failed |= state.failed
        for run in runs:
            value = score_at(run.path, tokens)
            if value is not None and run.path.name not in state.failed:
                scores[run.path.name] = value
        both = sorted(set(before) & set(scores))
        if len(both) > 2:
            found.foretold.append((points[at - 1], _alike(before, scores, both)))
        if frac == 1 or (options.get("fail_fast") and state.failed):
            break
        ranked = sorted(scores, key=lambda r: (not math.isfinite(scores[r]), scores[r], r))
        kept = set(ranked[: math.ceil(len(ranked) / eta)])
        found.left |= {r.path.name: frac for r in runs if r.path.name in scores and r.path.name not in kept}
        runs = [r for r in runs if r.path.name in kept]
    return found


def score_at(run: Path, tokens: float) -> float | None:
    """Macro bits per byte of a run's first evaluation from `tokens` on, infinite if it diverged; None before it."""
    rows = [r for r in read_rows(run / "scores.jsonl") if r.get("task") == "bpb/macro" and r.get("tokens", 0) >= tokens]
    if not rows:
        return None
    value = min(rows, key=lambda r: r["tokens"]).get("value")
    return math.inf if value is None else float(value)


def _reached(tokens: float) -> Callable[[Path], bool]:
    return lambda run: score_at(run, tokens) is not None


def _alike(before: dict[str, float], after: dict[str, float], runs: Sequence[str]) -> float:
    """Rank correlation of two points over the runs that reached both."""
    return float(spearman(np.array([before[r] for r in runs]), np.array([after[r] for r in runs])))


def _points(runs: Sequence[Rehearsal], eta: int) -> list[float]:
    """Shares of the tokens at which runs are compared, ascending, the end among them.

    `eta` times as many tokens from point to point, for `1 / eta` as many runs: about as much work between any two.
    """
    if eta < 2:
        raise ConfigError(f"--halving {eta}: it keeps one run in so many, so at least 2.")
    sizes = {t.plan.tokens for t in runs}
    if len(sizes) > 1:
        raise ConfigError(f"--halving compares runs at the same point, but these have {sorted(sizes)} tokens.")
    every = max(t.spec.evals.every_tokens for t in runs)
    least = max(MIN_FRAC, every / max(sizes))
    points = [1.0]
    while points[0] / eta >= least and len(runs) >= eta ** len(points):
        points.insert(0, points[0] / eta)
    if len(points) == 1:
        points.insert(0, max(least, 1 / eta))
    if points[0] >= 1:
        raise ConfigError(
            f"--halving: the first evaluation comes at the end. Lower evals.every_tokens (now {every:,})."
        )
    return points
