"""Five mixes on equal compute: natural, uniform, UniMax, DoReMi's and the advised one, under the same seeds.

Writes `sweeps/doremi-<key>.json`, the weights that DoReMi's search found; the runs are runs like any other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from mixlab import sweep
from mixlab.advise import runs
from mixlab.data.places import places
from mixlab.data.prepare import prepare
from mixlab.errors import MissingError, RunFailed
from mixlab.mix import mixture
from mixlab.model.mpt import MPT
from mixlab.rehearsal import rehearse
from mixlab.results.compare import noise_floor, seeds_difference
from mixlab.results.listing import list_runs, read_object
from mixlab.train import checkpoint, doremi
from mixlab.train.loader import Loader
from mixlab.train.process import prepare_process
from mixlab.types import Corpus, Mixture, RunSpec
from mixlab.workspace import Workspace, key_of, read_json, write_json

VERSION = 1
SAME, NEAR = 1e-6, 1e-4  # L1 distance below which two mixes are one, and a run's mix is the one asked for
SEARCH_RUNS = {"natural": 0.0, "uniform": 0.0, "unimax": 0.0, "doremi": 2.0}
"""Trainings that a mix took to be found, in lengths of one run; DoReMi's are its reference and its proxy."""


def race(
    spec: RunSpec, ws: Workspace, seeds: Sequence[int], name: str | None, workers: int, watch: Any
) -> list[dict[str, Any]]:
    """Trains the four baselines and the advised mix under every seed, and says how they came out (`table`).

    `name`: sweep whose runs the advice rests on; None: the largest set of comparable runs. Raises what `runs.advise`
    raises, and RunFailed if a run failed.
    """
    corpora = prepare(spec, ws, watch.stage)
    advice = runs.advise(list_runs(ws), ws, runs.Ask(sweep=name))
    plain = mixture.natural({n: c.tokens for n, c in corpora.items()})
    _train(
        [replace(spec, name="natural", mixture=_within(plain, spec, corpora))],
        ws,
        workers,
        watch,
    )
    known = {**mixes(spec, corpora, ws), "advised": advice.verdict.mixture}
    asked = [replace(spec, name=n, mixture=m, seed=s) for n, m in known.items() for s in seeds]
    ids = _train(asked, ws, workers, watch)
    rows = list_runs(ws)
    recipes = {r["recipe"] for r in rows if r["run_id"] in ids}  # the advice may rest on runs of an older recipe
    finished = [r for r in rows if r["recipe"] in recipes and r["state"] == "finished"]
    return table(finished, known, {**SEARCH_RUNS, "advised": len(advice.runs)})


def mixes(spec: RunSpec, corpora: Mapping[str, Corpus], ws: Workspace, search_frac: float = 1.0) -> dict[str, Mixture]:
    """The four baselines by name, as weights within the epochs allowed. `search_frac` and MissingError: as `search`."""
    sizes = {n: c.tokens for n, c in corpora.items()}
    found = {
        "natural": mixture.natural(sizes),
        "uniform": mixture.uniform(sizes),
        "unimax": mixture.unimax(sizes, spec.train.tokens, spec.train.max_epochs, "unimax"),
        "doremi": search(spec, corpora, ws, search_frac),
    }
    return {name: _within(m, spec, corpora) for name, m in found.items()}


def search(spec: RunSpec, corpora: Mapping[str, Corpus], ws: Workspace, frac: float = 1.0) -> Mixture:
    """DoReMi's mix: the reference is the finished natural run of this spec and seed. Searched once, then read.

    `frac`: tokens that its proxy is trained on, as a share of a run's. MissingError: the reference is not finished.
    """
    plain = _within(mixture.natural({n: c.tokens for n, c in corpora.items()}), spec, corpora)
    natural = rehearse(replace(spec, mixture=plain), corpora, ws)
    reference = next((p for p in ws.runs() if p.name.endswith(f"-{natural.key}") and (p / "done.json").exists()), None)
    if reference is None:
        raise MissingError(
            f"DoReMi compares its proxy with a reference model: the natural mix under seed {spec.seed} "
            f"({natural.path.name}), which is not finished. Train it: `mixlab run mixture=natural seed={spec.seed}`."
        )
    told = {"seed": spec.seed} | ({} if frac == 1 else {"frac": frac})
    key = key_of("runs", VERSION, told, {"reference": natural.key})
    path = ws.sweeps / f"doremi-{key}.json"
    if not read_object(path):
        short = replace(spec, train=replace(spec.train, tokens=round(frac * spec.train.tokens)))
        flat = _within(mixture.uniform(corpora), short, corpora)
        even = rehearse(replace(short, mixture=flat), corpora, ws)
        rows = max(1, spec.train.batch_tokens // natural.spec.model.max_seq_len)
        past = MPT(natural.spec.model)
        checkpoint.load_weights(reference, past)
        loader = Loader(even.plan, corpora, spec.seed, rows)
        prepare_process(spec.train, past.device)
        found = doremi.group_dro(MPT(natural.spec.model, spec.seed), past, loader, even.spec.train)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {"name": path.stem, "runs": [reference.name], "tokenizer": places(spec, ws).tokenizer.name}
        write_json(path, {**told, "weights": found.weights, "trace": found.trace})
    return Mixture(name="doremi", rule="weights", weights=read_json(path)["weights"])


def table(
    rows: Sequence[Mapping[str, Any]], known: Mapping[str, Mixture], spent: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A line a mix, best first: mean bits per byte, gain over natural on shared seeds, runs its search took.

    `rows`: finished runs of one recipe, as `listing.list_runs` tells them. A mix that equals an earlier one is not
    trained twice: it says which. Where a mix shares one seed with natural, the noise is that of the others' seeds.
    """
    scores = {name: _by_seed(rows, m) for name, m in known.items()}
    noise = noise_floor([list(runs.values()) for runs in scores.values()])
    found: list[dict[str, Any]] = []
    for name, m in known.items():
        gain = half = None
        plain = {s: v for s, v in scores["natural"].items() if s in scores[name]}
        if name != "natural" and plain:
            told = seeds_difference(plain, {s: scores[name][s] for s in plain}, noise)
            gain, half = told.mean, None if told.lo is None or told.hi is None else (told.hi - told.lo) / 2
        twin = next((r["mix"] for r in found if _l1(known[r["mix"]].weights, m.weights) < SAME), None)
        found.append(
            {
                "mix": name,
                "same_as": twin,
                "weights": dict(m.weights),
                "seeds": sorted(plain),
                "bpb_macro": fmean(v for v in scores[name].values() if v is not None) if scores[name] else None,
                "gain": gain,
                "half_width": half,
                "by_seed": {str(s): v for s, v in scores[name].items()},
                "search_runs": spent.get(name, 0),
            }
        )
    return sorted(found, key=lambda r: r["bpb_macro"] if r["bpb_macro"] is not None else math.inf)


def words(rows: Sequence[Mapping[str, Any]], ours: str) -> str:
    """How far our mix is ahead of the best of the others, in a sentence that says so if that is only noise.

    `rows`: as `table` tells them. Where they share fewer than two seeds, the noise is that between seeds of all mixes.
    """
    own = next(r for r in rows if r["mix"] == ours)
    best = next((r for r in rows if r["mix"] != ours and r["bpb_macro"] is not None), None)
    if best is None or own["bpb_macro"] is None:
        return f"Whether the {ours} mix beats the others cannot be said: no run of it, or none of theirs, has a score."
    if best["by_seed"] == own["by_seed"]:
        return f"The {ours} mix is {best['mix']}'s here."
    told = seeds_difference(_seeds(best), _seeds(own), noise_floor([list(r["by_seed"].values()) for r in rows]))
    if told.mean is None or told.lo is None or told.hi is None:
        return f"Whether the {ours} mix beats {best['mix']}, the best of the others, cannot be said: {told.method}."
    gap = f"{abs(told.mean):.4f} +- {(told.hi - told.lo) / 2:.4f} (95 %; {told.method})"
    if not told.distinguishable:
        return f"The {ours} mix and {best['mix']}, the best of the others, are not distinguishable: {gap} apart."
    return f"The {ours} mix {'beats' if told.mean > 0 else 'loses to'} {best['mix']}, the best of the others, by {gap}."


def _seeds(row: Mapping[str, Any]) -> dict[int, float | None]:
    return {int(s): v for s, v in row["by_seed"].items()}


def _within(mix: Mixture, spec: RunSpec, corpora: Mapping[str, Corpus]) -> Mixture:
    """The mixture itself, or the nearest one that sees no source for more epochs than the spec allows."""
    caps = {n: min(1.0, spec.train.max_epochs * c.tokens / spec.train.tokens) for n, c in corpora.items()}
    if all(mix.weights.get(s, 0.0) <= cap for s, cap in caps.items()):
        return mix
    return mixture.bounded(mix, caps=caps)


def _train(specs: Sequence[RunSpec], ws: Workspace, workers: int, watch: Any) -> set[str]:
    """Ids of the runs, one a key: a mix that another stands for is trained once."""
    told = list({t.key: t for t in sweep.rehearse_all(specs, ws)}.values())
    state = sweep.run_all(told, ws, name="rivals", workers=workers, watch=watch.sweep)
    if state.failed:
        raise RunFailed("\n".join(f"{run}: {why}" for run, why in state.failed.items()))
    return {t.path.name for t in told}


def _by_seed(rows: Sequence[Mapping[str, Any]], mix: Mixture) -> dict[int, float | None]:
    """Seed -> macro bits per byte of the runs of a mix."""
    near = [r for r in rows if r["bpb_macro"] is not None and _l1(r["weights"], mix.weights) < NEAR]
    return {r["seed"]: r["bpb_macro"] for r in near}


def _l1(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    return sum(abs(a.get(s, 0.0) - b.get(s, 0.0)) for s in {*a, *b})
