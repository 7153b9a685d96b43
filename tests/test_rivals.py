"""Mixes on equal compute: the table pairs seeds, and names a mix that another one stands for."""

from dataclasses import replace

import pytest

from mixlab import pipeline, rivals
from mixlab.compose import spec_of
from mixlab.errors import MissingError
from mixlab.types import Mixture
from mixlab.workspace import Workspace
from tests.conftest import TINY


def row(weights, seed, score):
    return {"weights": weights, "seed": seed, "bpb_macro": score, "run_id": f"{seed}"}


def mix(a):
    return Mixture(name="m", rule="weights", weights={"a": a, "b": 1 - a})


def test_the_table_pairs_seeds_and_names_twins():
    known = {"natural": mix(0.3), "uniform": mix(0.5), "unimax": mix(0.5), "advised": mix(0.7)}
    rows = [row(known["natural"].weights, s, 2.0 + s / 10) for s in range(3)]
    rows += [row(known["uniform"].weights, s, 1.9 + s / 10) for s in range(2)]
    rows += [row(known["advised"].weights, 0, 1.7)]
    told = {r["mix"]: r for r in rivals.table(rows, known, {"advised": 16})}
    assert list(told) == ["advised", "uniform", "unimax", "natural"]
    assert told["unimax"]["same_as"] == "uniform" and told["uniform"]["same_as"] is None
    assert told["uniform"]["gain"] == pytest.approx(0.1) and told["uniform"]["half_width"] == pytest.approx(0, abs=1e-9)
    assert told["advised"]["gain"] == pytest.approx(0.3) and told["advised"]["half_width"] > 0  # noise of the others
    assert told["natural"]["gain"] is None and told["advised"]["search_runs"] == 16


def test_the_sentence_names_the_best_of_the_others_and_noise_as_noise():
    known = {"natural": mix(0.3), "doremi": mix(0.5), "ours": mix(0.7)}
    runs = [row(m.weights, s, 2.0 - m.weights["a"] + s / 10) for m in known.values() for s in range(3)]
    assert "beats doremi, the best of the others, by 0.2000" in rivals.words(rivals.table(runs, known, {}), "ours")
    for seed, shift in enumerate((0.3, 0.0, 0.2)):  # about as good as doremi's, and seeds disagree
        runs[6 + seed]["bpb_macro"] += shift
    assert "not distinguishable" in rivals.words(rivals.table(runs, known, {}), "ours")
    twin = rivals.table(runs, {"natural": mix(0.3), "ours": mix(0.3)}, {})
    assert rivals.words(twin, "ours") == "The ours mix is natural's here."
    alone = [r for r in runs if r["seed"] == 0]
    assert "cannot be said" in rivals.words(rivals.table(alone, known, {}), "ours")


def test_doremi_needs_a_reference_and_searches_once(project):
    ws, spec = Workspace.open(project / "lab"), spec_of([*TINY, "train.max_epochs=100"], project)
    corpora = pipeline.prepare(spec, ws)
    short = min(corpora.values(), key=lambda c: c.tokens)
    spec = replace(spec, train=replace(spec.train, max_epochs=0.52 * spec.train.tokens / short.tokens))
    with pytest.raises(MissingError, match="mixlab run mixture=natural seed=0"):
        rivals.search(spec, corpora, ws)
    pipeline.run(spec, ws)
    found = rivals.search(spec, corpora, ws)
    assert sum(found.weights.values()) == pytest.approx(1) and set(found.weights) == {"lists", "prose"}
    (kept,) = ws.sweeps.glob("doremi-*.json")
    stamp = kept.stat().st_mtime_ns
    assert rivals.search(spec, corpora, ws).weights == found.weights and kept.stat().st_mtime_ns == stamp
    half = rivals.mixes(spec, corpora, ws, 0.5)
    assert len([*ws.sweeps.glob("doremi-*.json")]) == 2 and half["doremi"].weights != found.weights
    assert all(max(m.weights.values()) <= 0.52 + 1e-9 for m in half.values())
