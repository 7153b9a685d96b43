"""From finished runs to the table that fits are made of, and to the verdict on them.

Reads rows of `results.listing.list_runs` and the plan.json of one run; only runs of one recipe (same sources, model,
budget and exam; other mixture, other seed) may stand in one table.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mixlab.advise.fits import PREFIX
from mixlab.advise.verdict import Verdict, recommend
from mixlab.errors import MissingError, nearest
from mixlab.workspace import Workspace, read_json

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """A verdict and which runs it rests on."""

    verdict: Verdict
    runs: tuple[str, ...]
    left_out: int
    """Finished runs of another recipe: not comparable, so not used."""


def advise(rows: Sequence[Row], ws: Workspace, *, sweep: str | None = None) -> Advice:
    """The verdict on the largest set of comparable finished runs, of one sweep if one is named.

    MissingError: no such sweep, or nothing finished yet.
    """
    known = sorted({r["sweep"] for r in rows if r["sweep"]})
    if sweep is not None and sweep not in known:
        raise MissingError(f"no run belongs to a sweep '{sweep}'.{nearest(sweep, known)}")
    done = [r for r in rows if r["state"] == "finished" and sweep in (None, r["sweep"]) and r["bpb_macro"] is not None]
    if not done:
        raise MissingError("no finished run to learn from yet: `mixlab demo` or `mixlab sweep NAME` makes some.")
    recipe, _ = Counter(r["recipe"] for r in done).most_common(1)[0]
    used = [r for r in done if r["recipe"] == recipe]
    natural, caps = scale_of(ws, used[0]["run_id"])
    metrics = [f"bpb_{s}" for s in sorted(used[0]["bpb"])]
    verdict = recommend(table(used), metrics, natural, max_weight=caps)
    return Advice(verdict=verdict, runs=tuple(r["run_id"] for r in used), left_out=len(done) - len(used))


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """A row a run: `w_<source>` (share of training tokens), `bpb_<source>`, `seed`."""
    told = []
    for r in rows:
        weights = {f"{PREFIX}{s}": w for s, w in sorted(r["weights"].items())}
        scores = {f"bpb_{s}": v for s, v in r["bpb"].items()}
        told.append({"run_id": r["run_id"], "seed": r["seed"], **weights, **scores})
    return pd.DataFrame(told)


def scale_of(ws: Workspace, run_id: str) -> tuple[dict[str, float], dict[str, float]]:
    """Natural weights of the sources of a run, and the weight at which each would reach train.max_epochs."""
    out = ws.root / "runs" / run_id
    plan, limit = read_json(out / "plan.json"), read_json(out / "run.json")["spec"]["train"]["max_epochs"]
    available = {d["source"]: d["available"] for d in plan["draws"]}
    total = sum(available.values())
    caps = {s: min(1.0, limit * n / plan["tokens"]) for s, n in available.items()}
    return {s: n / total for s, n in available.items()}, caps
