"""A WSD run that goes on from the stem of a smaller budget is, to the bit, the run it would have been alone."""

from dataclasses import replace

import pytest
import torch
from tiny_run import ROWS, SEQ_LEN, SPEC, FakeLoader, logged, run

from mixlab import pipeline
from mixlab.compose import spec_of
from mixlab.errors import ConfigError
from mixlab.results.store import Store
from mixlab.train.stem import STEM, adopt, stem_step
from mixlab.workspace import Workspace, read_json, read_lines
from tests.conftest import TINY

torch.set_num_threads(1)
WSD = replace(SPEC, schedule="wsd", ema=0.9)
BUDGETS = (80, 150, 230)  # steps


def train_from(out, steps, others, key):
    found = adopt(out, others, stem_step(WSD, steps, ROWS * SEQ_LEN), key)
    loader = FakeLoader(steps)
    run(out, loader, WSD, run_key=key)
    return found, loader


def test_three_budgets_from_one_stem_equal_three_runs(tmp_path):
    done = []
    for i, steps in enumerate(BUDGETS):
        alone, branch = tmp_path / f"alone-{i}", tmp_path / f"branch-{i}"
        run(alone, FakeLoader(steps), WSD, run_key=f"key{i}")
        found, loader = train_from(branch, steps, done, f"key{i}")
        if i:
            step = stem_step(WSD, BUDGETS[i - 1], ROWS * SEQ_LEN)
            assert found == (tmp_path / f"branch-{i - 1}", step)
            assert min(loader.served[1:]) == step  # nothing before it was trained again
        assert logged(branch) == logged(alone)
        for name in ("model", "optimizer", "average"):
            file = f"checkpoint/{name}.safetensors"
            assert (branch / file).read_bytes() == (alone / file).read_bytes()
        done.append(branch)


def test_a_stem_is_adopted_only_by_a_run_that_has_nothing_and_is_long_enough(tmp_path):
    run(tmp_path / "long", FakeLoader(100), WSD)
    assert read_json(tmp_path / "long" / STEM / "state.json")["step"] == 90
    assert adopt(tmp_path / "short", [tmp_path / "long"], 50, "x") is None
    run(tmp_path / "begun", FakeLoader(20), WSD)
    assert adopt(tmp_path / "begun", [tmp_path / "long"], 500, "x") is None
    run(tmp_path / "cosine", FakeLoader(20), SPEC)
    assert not (tmp_path / "cosine" / STEM).exists()


def test_a_stem_of_other_data_is_refused(tmp_path):
    run(tmp_path / "a", FakeLoader(80), WSD)
    adopt(tmp_path / "b", [tmp_path / "a"], 200, "key")
    other = FakeLoader(200)
    other.ledger = lambda step: {"count": 1}
    with pytest.raises(ConfigError, match="data changed"):
        run(tmp_path / "b", other, WSD, run_key="key")


def test_runs_of_several_budgets_find_each_others_stems(project):
    """Through the pipeline: the same key, scores and weights as in a lab where the run was alone."""
    ws, lone = Workspace.open(project / "lab"), Workspace.open(project / "lone")
    wanted = [*TINY, "mixture=uniform", "train.schedule=wsd"]
    small, large = (spec_of([*wanted, f"train.tokens={n}"], project) for n in (8192, 16384))
    first = pipeline.run(small, ws)
    out, alone = pipeline.run(large, ws), pipeline.run(large, lone)
    assert out.name == alone.name
    (event,) = [e for e in read_lines(out / "events.jsonl") if e["kind"] == "stem"]
    assert first.name in event["text"] and "steps 1 to 14" in event["text"]
    assert not read_lines(alone / "events.jsonl")
    told = Store.open(ws).sql("SELECT parent_run_id, attempt FROM run ORDER BY target_tokens")
    assert told["parent_run_id"].tolist()[1] == first.name and told["attempt"].tolist() == [1, 1]
    made = Store.open(ws).sql("SELECT step, attempt FROM metric WHERE run_id = ? AND name = 'lr'", [out.name])
    assert (made["attempt"] == (made["step"] > 14)).all()
    assert (out.name, first.name) in Store.open(ws).sql("FROM lineage_edge").itertuples(index=False, name=None)
    names = ("step", "task", "metric", "value")
    rows = [[[r[n] for n in names] for r in read_lines(d / "scores.jsonl")] for d in (out, alone)]
    assert rows[0] == rows[1]
    file = "checkpoint/model.safetensors"
    assert (out / file).read_bytes() == (alone / file).read_bytes()
