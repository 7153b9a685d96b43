"""Two mixes compared: every run that differs from them in the seed alone, scores with both their noises.

Reads rows of `listing.list_runs` and what `evidence_of` finds in runs' files; writes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixlab.errors import ConfigError, MissingError, nearest
from mixlab.results.compare import (
    Difference,
    NoiseFloor,
    combine,
    documents_difference,
    macro,
    noise_floor,
    seeds_difference,
)
from mixlab.results.listing import read_rows

Run = Mapping[str, Any]
"""A row of `listing.list_runs`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What runs' files hold beside their final scores."""

    documents: Mapping[str, Mapping[str, Mapping[str, tuple[float, int]]]] = field(default_factory=dict[str, Any])
    """Run -> source -> held-out document -> (nats, bytes) at the end of training."""
    noise: Mapping[str, NoiseFloor] = field(default_factory=dict[str, NoiseFloor])
    """Source (or "macro") -> noise of training from the last checkpoints, where no mix has two seeds."""


def compare_mixes(rows: Sequence[Run], run_a: str, run_b: str, evidence: Evidence | None = None) -> dict[str, Any]:
    """B minus A, where A and B are two runs with all finished runs that differ from them in the seed alone.

    `rows` as `listing.list_runs` gives them. Returns JSON values: `a, b` (runs on each side), `points` (source ->
    difference of weights in percentage points), `scores` (per `task`: means `a, b`, `difference, stderr, lo, hi,
    interval, distinguishable, method`) and `words`. The noise is that of training, and of documents where `evidence`
    has them for all runs. A source (and macro) whose held-out documents are not the same on both sides is left out,
    with a word. ConfigError if nothing is left, or if the two sat different exams: they cannot be compared.
    """
    one, other = _find(rows, run_a), _find(rows, run_b)
    if one["evals_key"] != other["evals_key"]:
        raise ConfigError(
            f"'{run_a}' was scored by exam {one['evals_key']} and '{run_b}' by {other['evals_key']} (what is "
            "measured differs): score both alike first, by running both again with the same evals."
        )
    tasks = ["macro", *sorted(set(one["bpb"]) & set(other["bpb"]))]
    moved = [t for t in tasks if one.get("exams", {}).get(t) != other.get("exams", {}).get(t)]
    if len(moved) == len(tasks):
        raise ConfigError(
            f"'{run_a}' and '{run_b}' were measured on other held-out documents of every source (their cleaning, "
            "deduplication or hold-out differs), so their bits per byte cannot be compared. Score both on one fixed "
            "set: a task of type `documents` (docs/evaluation.md), `mixlab runs eval RUN RUN --suite FILE`."
        )
    like = _by_kind([r for r in rows if r["evals_key"] == one["evals_key"] and r["state"] == "finished"])
    a, b = (_alike(like.get(_kind(run), []), run) for run in (one, other))
    common = {r["seed"] for r in a} & {r["seed"] for r in b}
    if _kind(one) == _kind(other):
        a, b = [one], [other]
    elif len(common) >= 2:
        a, b = ([r for r in side if r["seed"] in common] for side in (a, b))
    scores = list[dict[str, Any]]()
    gone = [f"bpb/{task}: other held-out documents on the two sides, not compared" for task in moved]
    for task in (t for t in tasks if t not in moved):
        noise = noise_floor([[_value(r, task) for r in runs] for runs in like.values()]) or (
            evidence.noise.get(task) if evidence else None
        )
        found = seeds_difference(_by_seed(b, task), _by_seed(a, task), noise)
        if evidence is not None and (documents := _documents(task, a, b, evidence)) is not None:
            found = combine(found, documents)
        if found.mean is None:
            gone.append(f"bpb/{task}: {found.method}")
        else:
            scores.append(_told(task, found, a, b))
    early = [
        f"{r['run_id']} is {r['state']}: its scores are not final" for r in (one, other) if r["state"] != "finished"
    ]
    sources = sorted({*one["weights"], *other["weights"]})
    return {
        "a": [r["run_id"] for r in a],
        "b": [r["run_id"] for r in b],
        "points": {s: 100 * (other["weights"].get(s, 0.0) - one["weights"].get(s, 0.0)) for s in sources},
        "scores": scores,
        "words": ". ".join([scores[0]["method"] if scores else "nothing to compare", *gone, *early]),
    }


def documents_of(runs: Path, run_ids: Sequence[str]) -> dict[str, dict[str, dict[str, tuple[float, int]]]]:
    """Run -> source -> held-out document -> (nats, bytes) at the end of training; runs that stored none are left out.

    `runs`: the folder of run directories. Documents whose nats are not finite are left out.
    """
    found: dict[str, dict[str, dict[str, tuple[float, int]]]] = {}
    for run_id in run_ids:
        for row in read_rows(runs / run_id / "documents.jsonl"):
            if row.get("nats") is not None:
                found.setdefault(run_id, {}).setdefault(row["source"], {})[row["id"]] = (row["nats"], row["bytes"])
    return found


def _documents(task: str, a: Sequence[Run], b: Sequence[Run], evidence: Evidence) -> Difference | None:
    """B minus A over held-out documents, nats averaged over the runs of a side; None if a run did not store them."""
    held = {r["run_id"]: evidence.documents.get(r["run_id"], {}) for r in (*a, *b)}
    sources = sorted(set[str].intersection(*(set(h) for h in held.values())))
    if task != "macro":
        sources = [s for s in sources if s == task]
    found = dict[str, Difference]()
    for source in sources:
        docs = sorted(set[str].intersection(*(set(h[source]) for h in held.values())))
        nats: list[ArrayLike] = [
            np.mean([[held[r["run_id"]][source][d][0] for d in docs] for r in side], axis=0) if docs else []
            for side in (b, a)
        ]
        if docs:
            n_bytes = [held[a[0]["run_id"]][source][d][1] for d in docs]
            found[source] = documents_difference(nats[0], nats[1], n_bytes)
    if task != "macro":
        return found.get(task)
    return macro(found) if found else None


def _find(rows: Sequence[Run], run_id: str) -> Run:
    """The row of a run; MissingError with the nearest name."""
    found = {r["run_id"]: r for r in rows}
    if run_id not in found:
        raise MissingError(f"there is no run '{run_id}'.{nearest(run_id, found)}")
    return found[run_id]


def _kind(run: Run) -> tuple[Any, ...]:
    """What runs have in common that differ in the seed alone."""
    return run["recipe"], tuple(sorted((s, round(w, 9)) for s, w in run["weights"].items() if w))


def _by_kind(rows: Sequence[Run]) -> dict[tuple[Any, ...], list[Run]]:
    """Kind -> its runs."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in rows:
        found.setdefault(_kind(run), []).append(run)
    return found


def _alike(kin: Sequence[Run], run: Run) -> list[Run]:
    """One run a seed of those of its kind, `run` itself included."""
    by_seed = {r["seed"]: r for r in kin} | {run["seed"]: run}
    return [by_seed[seed] for seed in sorted(by_seed)]


def _value(run: Run, task: str) -> float | None:
    """Bits per byte on a source, or macro."""
    return run["bpb_macro"] if task == "macro" else run["bpb"].get(task)


def _by_seed(runs: Sequence[Run], task: str) -> dict[int, float | None]:
    """Seed -> bits per byte on a source, or macro."""
    return {r["seed"]: _value(r, task) for r in runs}


def _told(task: str, found: Difference, a: Sequence[Run], b: Sequence[Run]) -> dict[str, Any]:
    """One line of a comparison."""
    lo, hi = found.lo, found.hi
    return {
        "task": f"bpb/{task}",
        "a": float(np.mean([v for v in _by_seed(a, task).values() if v is not None])),
        "b": float(np.mean([v for v in _by_seed(b, task).values() if v is not None])),
        "difference": found.mean,
        "stderr": found.stderr,
        "df": found.df if math.isfinite(found.df) else None,
        "parts": dict(found.parts),
        "lo": lo,
        "hi": hi,
        "interval": "unknown" if lo is None or hi is None else f"{lo:+.4f} to {hi:+.4f}",
        "distinguishable": found.distinguishable,
        "method": found.method,
    }
