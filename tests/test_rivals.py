"""Mixes on equal compute: the table pairs seeds, and names a mix that another one stands for."""

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


def test_doremi_needs_a_reference_and_searches_once(project):
    ws, spec = Workspace.open(project / "lab"), spec_of([*TINY, "train.max_epochs=100"], project)
    corpora = pipeline.prepare(spec, ws)
    with pytest.raises(MissingError, match="mixlab run mixture=natural seed=0"):
        rivals.search(spec, corpora, ws)
    pipeline.run(spec, ws)
    found = rivals.search(spec, corpora, ws)
    assert sum(found.weights.values()) == pytest.approx(1) and set(found.weights) == {"lists", "prose"}
    (kept,) = ws.sweeps.glob("doremi-*.json")
    stamp = kept.stat().st_mtime_ns
    assert rivals.search(spec, corpora, ws).weights == found.weights and kept.stat().st_mtime_ns == stamp
