"""Phases through the whole pipeline: what is planned is served, trained, resumed and told."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mixlab import pipeline
from mixlab.compose import spec_of
from mixlab.train.loader import Loader
from mixlab.workspace import Workspace, read_json, read_lines
from tests.conftest import TINY, documents, write_source

PHASES = "phases=[{name: anneal, share: 0.25, mixture: {rule: weights, weights: {prose: 1.0}}}, {name: long, share: 0.25, seq_len: 128}]"  # noqa: E501
"""16 steps of 512 tokens: 8 of the natural mix, 4 of prose alone, 4 of the natural mix in sequences of 128."""


@pytest.fixture
def ws(project):
    return Workspace.open(project / "lab")


class Interrupted(Loader):
    """A loader whose machine is switched off in the anneal phase."""

    def batch(self, step, rank=0, ranks=1):
        if step == 11:
            raise KeyboardInterrupt
        return super().batch(step, rank, ranks)


def logged(out):
    rows = [(r["step"], r["m"]["loss/train"], r["m"]["grad_norm"]) for r in read_lines(out / "metrics.jsonl")]
    return rows + [(r["step"], r["task"], r["value"]) for r in read_lines(out / "scores.jsonl")]


def test_a_run_interrupted_in_one_phase_ends_bit_for_bit_in_the_next(project, ws, monkeypatch):
    spec = spec_of([*TINY, PHASES, "train.save_every_tokens=3072"], project)  # checkpoints at steps 6, 12, 16
    calm = pipeline.run(spec, ws)
    other = Workspace.open(project / "other")
    with monkeypatch.context() as m:
        m.setattr(pipeline, "Loader", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(spec, other)
    (torn,) = other.runs()
    assert read_json(torn / "checkpoint" / "state.json")["step"] == 6  # before the border at step 8
    again = pipeline.run(spec, other)
    assert again.name == calm.name and logged(again) == logged(calm)
    weights = "checkpoint/model.safetensors"
    assert (again / weights).read_bytes() == (calm / weights).read_bytes()


def test_phases_are_told_and_the_ledger_of_a_real_run_is_what_was_served(project, ws, monkeypatch):
    served = []

    class Counting(Loader):
        def batch(self, step, rank=0, ranks=1):
            made = super().batch(step, rank, ranks)
            served.append((step, made[0].shape, np.bincount(made[1], minlength=2) * made[0].shape[1]))
            return made

    monkeypatch.setattr(pipeline, "Loader", Counting)
    out = pipeline.run(spec_of([*TINY, PHASES], project), ws)
    plan = read_json(out / "plan.json")
    assert [(p["name"], p["tokens"], p["seq_len"]) for p in plan["phases"]] == [
        ("main", 4096, 32),
        ("anneal", 2048, 32),
        ("long", 2048, 128),
    ]
    by_step = {step: (shape, tokens) for step, shape, tokens in served}  # batch(0) is looked at twice
    assert [by_step[s][0] for s in (0, 11, 12, 15)] == [(16, 32), (16, 32), (4, 128), (4, 128)]
    assert all(by_step[s][1][0] == 0 for s in range(8, 12))  # annealing serves no lists
    total = sum(tokens for _, tokens in by_step.values()).tolist()
    assert total == [d["tokens"] for d in plan["draws"]]
    ledger = read_json(out / "checkpoint" / "state.json")["ledger"]
    assert [ledger[s]["tokens"] for s in ("lists", "prose")] == total


def test_the_number_of_files_a_source_comes_in_changes_no_batch(project, ws):
    rows = documents("prose", 60)
    for k in range(3):
        (project / f"part{k}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[k::3]), encoding="utf-8")
    loaders = []
    for paths in (["prose.jsonl"], [f"part{k}.jsonl" for k in range(3)]):
        write_source(project, "prose", rows, paths=paths)
        spec = spec_of(list(TINY), project)
        corpora = pipeline.prepare(spec, ws)
        loaders.append(Loader(pipeline.rehearse(spec, corpora, ws).plan, corpora, 0, 16))
    for step in range(loaders[0].steps):
        (a, sa), (b, sb) = (made.batch(step) for made in loaders)
        assert (a == b).all() and (sa == sb).all()


def test_the_first_phase_is_the_beginning_of_the_plain_run_and_other_phases_are_another_run(project, ws):
    plain = spec_of(list(TINY), project)
    phased = spec_of([*TINY, PHASES], project)
    corpora = pipeline.prepare(plain, ws)
    a, b = (pipeline.rehearse(s, corpora, ws) for s in (plain, phased))
    assert a.key != b.key and a.plan.key != b.plan.key and a.flops != b.flops
    renamed = replace(phased, phases=tuple(replace(p, name=p.name + "2") for p in phased.phases))
    assert pipeline.rehearse(renamed, corpora, ws).key == b.key
    one, two = Loader(a.plan, corpora, 0, 16), Loader(b.plan, corpora, 0, 16)
    for source in range(2):  # every source in the same order, up to where the sequences grow longer
        rows = []
        for made in (one, two):
            batches = [made.batch(step) for step in range(12)]
            rows.append(np.concatenate([ids[s == source] for ids, s in batches]))
        n = min(map(len, rows))
        assert n and (rows[0][:n] == rows[1][:n]).all()
