"""The work behind `mixlab demo`: corpora → 16 runs → verdict → its own mix, raced against what needs no sweep."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixlab import rivals, show, sweep
from mixlab.advise import ledger, runs, verdict
from mixlab.data import clean
from mixlab.data.places import places
from mixlab.data.prepare import prepare
from mixlab.errors import RunFailed
from mixlab.mix import swarm
from mixlab.results import store
from mixlab.results.listing import list_runs
from mixlab.types import RunSpec
from mixlab.workspace import Workspace, build, key_of, write_json

MIXES = 16
OURS = "recommended"
SEEDS = (0, 1, 2)
"""The recommended and the natural mix are trained under each of these; the sweep and the other rivals use the first."""
SEARCH_FRAC = 0.5
"""DoReMi's proxy is trained on this share of a run's tokens: its search takes a core while the verdict is fitted."""
PLAIN = "c4/tfds-3.1.0"
"""What C4 itself would have done to every source, for comparison."""


def make(spec: RunSpec, ws: Workspace, workers: int, watch: show.Watcher) -> dict[str, Any]:
    """Text → corpora → 16 runs → verdict → its own mix, trained: everything the demo prints, as plain values."""
    corpora = prepare(spec, ws, watch.stage)
    cleaning = [_cost_of_c4(spec, ws, name) for name in corpora]
    caps = {n: min(1.0, spec.train.max_epochs * c.tokens / spec.train.tokens) for n, c in corpora.items()}
    mixes = swarm.design({n: c.tokens for n, c in corpora.items()}, MIXES, seed=0, caps=caps)
    names = _train([replace(spec, name=f"demo-{m.name}", mixture=m) for m in mixes], ws, workers, watch)
    with ThreadPoolExecutor(1) as aside:
        watch.stage("the verdict, and DoReMi's search", 0, 1)
        others = aside.submit(rivals.mixes, spec, corpora, ws, SEARCH_FRAC)
        advice = runs.advise([r for r in list_runs(ws) if r["run_id"] in names], ws)
        card = advice.verdict
        ledger.propose(ws.ledger, card, advice.natural, advice.recipe)
        known = {OURS: card.mixture, **others.result()}
        watch.stage("the verdict, and DoReMi's search", 1, 1)
    seeds = {name: SEEDS if name in (OURS, "natural") else SEEDS[:1] for name in known}
    proof = [replace(spec, name=f"demo-{n}", mixture=m, seed=s) for n, m in known.items() for s in seeds[n]]
    names |= _train(proof, ws, workers, watch)
    store.publish(ws)
    rows = [r for r in list_runs(ws) if r["run_id"] in names]
    spent = {**rivals.SEARCH_RUNS, "doremi": 1 + SEARCH_FRAC, OURS: MIXES}
    race = rivals.table(rows, known, spent)
    best, plain = (next(r["by_seed"] for r in race if r["mix"] == name) for name in (OURS, "natural"))
    told = json.loads(card.to_json())
    outcome = {
        "seeds": list(SEEDS),
        "predicted": told["predicted"],
        "recommended": [best[str(s)] for s in SEEDS],
        "natural": [plain[str(s)] for s in SEEDS],
        "words": verdict.realised(card, [plain[str(s)] - best[str(s)] for s in SEEDS]),
    }
    write_json(ws.verdict, {**told, "realised": outcome})
    contest = {"rows": race, "words": f"{rivals.words(race, OURS)} {_compute(spec)}"}
    return {"cleaning": cleaning, "runs": rows, "verdict": told, "realised": outcome, "rivals": contest}


def _train(specs: Sequence[RunSpec], ws: Workspace, workers: int, watch: show.Watcher) -> set[str]:
    """Ids of the runs, all of them finished; mixes that are the same are one run, under the name of the first."""
    told = sweep.rehearse_all(specs, ws)
    told = [t for i, t in enumerate(told) if t.key not in {u.key for u in told[:i]}]
    state = sweep.run_all(told, ws, name="demo", workers=workers, watch=watch.sweep, about={"kind": "design"})
    if state.failed:
        reasons = "\n".join(f"{run}: {why}" for run, why in state.failed.items())
        raise RunFailed(f"{len(state.failed)} of {len(told)} runs failed; the others are kept.\n{reasons}")
    return {t.path.name for t in told}


def _compute(spec: RunSpec) -> str:
    """What was equal in the race, and what was not."""
    return (
        f"Each run has the same model and {spec.train.tokens:,} tokens; finding the mixes cost what the table says, in "
        f"such runs: DoReMi's are its reference, the natural run, and a proxy on {SEARCH_FRAC:.0%} of the tokens."
    )


def _cost_of_c4(spec: RunSpec, ws: Workspace, name: str) -> dict[str, Any]:
    """What the chosen profile kept of a source, and what C4's own rules would have kept."""
    at, chosen = places(spec, ws), spec.cleaning.profile_of(name)
    kept = build(at.clean[name], _made_already)
    key = key_of("clean", clean.VERSION, PLAIN, {"raw": at.raw[name].name[-8:]})
    plain = build(
        ws.artefact("clean", name, key), lambda out: clean.clean_source(at.raw[name], PLAIN, out), [at.raw[name]]
    )
    os.utime(at.clean[name])  # the newest cleaning is the one that is trained on: atlas and explain speak of it
    dropped = sorted(plain["dropped"].items(), key=lambda kv: -kv[1])
    return {
        "source": name,
        "docs": kept["docs_in"],
        "profile": chosen,
        "kept": kept["docs"],
        "kept_bytes_frac": kept["bytes"] / kept["bytes_in"],
        "c4_kept": plain["docs"],
        "c4_kept_bytes_frac": plain["bytes"] / plain["bytes_in"],
        "c4_dropped": dict(dropped[:2]),
    }


def _made_already(out: Path) -> dict[str, Any]:
    raise AssertionError(f"{out} was made by prepare()")
