"""Advice from end to end: runs, a recommendation saved, trained as it stands, and settled in the ledger."""

from dataclasses import replace

import pytest

from mixlab import pipeline
from mixlab.advise import ledger, runs
from mixlab.compose import spec_of
from mixlab.mix import mixture
from mixlab.results.listing import list_runs
from mixlab.types import Mixture
from mixlab.workspace import Workspace
from tests.conftest import TINY


@pytest.mark.slow
def test_a_saved_recommendation_is_trained_and_settled(project):
    ws = Workspace.open(project / "lab")
    spec = spec_of([*TINY, "train.max_epochs=1000"], project)
    sizes = {n: c.tokens for n, c in pipeline.prepare(spec, ws).items()}
    asked = [mixture.natural(sizes)]
    for i, share in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        weights = {"lists": share, "prose": 1 - share}
        asked.append(Mixture(name=f"m{i}", rule="weights", weights=weights))
    for m in asked:
        pipeline.run(replace(spec, name=m.name, mixture=m), ws)
    advice = runs.advise(list_runs(ws), ws)
    runs.save(project / "sweeps" / "mixture" / "x.yaml", advice.verdict.mixture.weights, "why")
    ledger.propose(ws.ledger, advice.verdict, advice.natural, advice.recipe)
    assert ledger.settled(ws.ledger, list_runs(ws))[0]["pairs"] == 0
    saved = spec_of([*TINY, "train.max_epochs=1000", "mixture=x"], project)
    assert saved.mixture.weights == pytest.approx(dict(advice.verdict.mixture.weights), abs=1e-6)
    pipeline.run(saved, ws)
    (done,) = ledger.settled(ws.ledger, list_runs(ws))
    assert done["pairs"] == 1 and abs(done["realised"]) < 1
    again = runs.advise(list_runs(ws), ws).verdict
    assert again.widened == pytest.approx(ledger.widen([done])) and again.n_runs == 7
