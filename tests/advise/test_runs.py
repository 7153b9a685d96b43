"""From runs on disk to advice: what is comparable, licensed, asked for and written down."""

import json

import numpy as np
import pytest
import yaml

from mixlab.advise import ledger, runs
from mixlab.errors import ConfigError, MissingError, PlanError
from mixlab.workspace import Workspace
from tests.advise.planted import SOURCES, sweep

TOKENS, BATCH = {"books": 900, "code": 400, "docs": 300, "wiki": 400}, 1000


@pytest.fixture
def ws(tmp_path) -> Workspace:
    ws = Workspace.open(tmp_path)
    out = ws.root / "runs" / "r0"
    out.mkdir(parents=True)
    draws = [{"source": s, "available": n, "licence": "MIT" if s == "code" else "CC0-1.0"} for s, n in TOKENS.items()]
    (out / "plan.json").write_text(json.dumps({"tokens": BATCH, "draws": draws}))
    told = {"corpora": {}, "flops": 1e12, "spec": {"train": {"max_epochs": 4}}}
    (out / "run.json").write_text(json.dumps(told))
    return ws


def listed(n: int = 12, recipe: str = "aa") -> list[dict]:
    table, _, _ = sweep(1, n)
    rows = []
    for i, row in enumerate(table.to_dict("records")):
        scores = {s: row[f"bpb_{s}"] for s in SOURCES}
        rows.append(
            {
                "run_id": f"r{i}",
                "name": f"n{i}",
                "sweep": "one",
                "sweeps": ["one", "again"],
                "state": "finished",
                "seed": 0,
                "recipe": recipe,
                "weights": {s: row[f"w_{s}"] for s in SOURCES},
                "bpb": scores,
                "bpb_macro": float(np.mean(list(scores.values()))),
            }
        )
    return rows


def test_advice_keeps_to_epochs_and_licences(ws):
    told = runs.advise(listed(), ws, runs.Ask(max_epochs=0.8, only_licences=("cc0-1.0",), metrics=("code", "bpb/docs")))
    mix = told.verdict.mixture.weights
    assert mix["code"] == 0 and told.verdict.metrics == ("bpb_code", "bpb_docs")
    assert all(w <= 0.8 * TOKENS[s] / BATCH + 1e-6 for s, w in mix.items())
    assert told.verdict.epochs["books"] == pytest.approx(mix["books"] * BATCH / TOKENS["books"])
    assert 0 <= told.verdict.p_beats_unimax <= 1 and told.verdict.dollars >= 0


def test_impossible_wishes_are_answered_with_what_is_missing(ws):
    with pytest.raises(PlanError, match="are missing"):
        runs.advise(listed(), ws, runs.Ask(target_tokens=10**6))
    with pytest.raises(PlanError, match="no source stands wholly under GPL"):
        runs.advise(listed(), ws, runs.Ask(only_licences=("GPL-2.0",)))
    with pytest.raises(ConfigError, match="Did you mean 'bpb_code'"):
        runs.advise(listed(), ws, runs.Ask(metrics=("cod",)))
    with pytest.raises(MissingError, match="Did you mean 'one'"):
        runs.advise(listed(), ws, runs.Ask(sweep="onne"))


def test_diverged_runs_and_runs_over_other_sources_are_named():
    rows = listed()
    rows[3] |= {"bpb_macro": None}
    other = {**rows[4], "run_id": "x", "recipe": "bb", "weights": {"mail": 0.5, "wiki": 0.5}}
    used, left, notes = runs.comparable([*rows, other])
    assert (len(used), left) == (11, 1)
    assert "1 finished runs have no score (diverged)" in notes[0] and "mail, wiki" in notes[1]
    with pytest.raises(MissingError, match="none has a score"):
        runs.comparable([r | {"bpb_macro": None} for r in rows])
    with pytest.raises(MissingError, match="no finished run"):
        runs.comparable([])


def test_one_source_and_too_few_runs_are_answered(ws):
    lone = [r | {"weights": {"code": 1.0}} for r in listed()]
    with pytest.raises(ConfigError, match="at least two sources"):
        runs.advise(lone, ws)
    with pytest.raises(ConfigError, match="Train 2 more mixes"):
        runs.advise(listed()[:3], ws)


def test_a_saved_mix_is_a_hydra_group_whose_weights_sum_to_one(tmp_path):
    weights = dict(zip("abc", np.random.default_rng(0).dirichlet(np.ones(3)).tolist(), strict=True))
    runs.save(tmp_path / "mixture" / "x.yaml", weights, "why")
    told = yaml.safe_load((tmp_path / "mixture" / "x.yaml").read_text())
    assert told["rule"] == "weights" and told["name"] == "x" and sum(told["weights"].values()) == pytest.approx(1)
    assert told["weights"]["b"] == pytest.approx(weights["b"], abs=1e-6)


def test_the_ledger_settles_a_proposal_by_its_runs_and_widens_later_intervals(ws):
    rows = listed()
    first = runs.advise(rows, ws)
    ledger.propose(ws.ledger, first.verdict, first.natural, first.recipe)
    ledger.propose(ws.ledger, first.verdict, first.natural, first.recipe)
    (pending,) = ledger.settled(ws.ledger, rows)
    assert pending["pairs"] == 0 and ledger.widen([pending]) == 1
    missed = []
    for seed in (7, 8):
        best = {**rows[0], "run_id": f"m{seed}", "seed": seed, "weights": dict(first.verdict.mixture.weights)}
        missed += [best, {**best, "run_id": f"k{seed}", "weights": first.natural}]  # the same scores: no gain at all
    (done,) = ledger.settled(ws.ledger, [*rows, *missed])
    assert done["pairs"] == 2 and done["realised"] == 0
    again = runs.advise([*rows, *missed], ws)
    assert again.verdict.widened == pytest.approx(ledger.widen([done])) and again.verdict.widened > 1
    assert any("earlier outcomes" in s for s in again.verdict.sentences)
