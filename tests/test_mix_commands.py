"""`mixlab mix …` and hydra itself, as people type them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml

from mixlab import pipeline
from mixlab.compose import named, spec_of
from mixlab.errors import ConfigError
from mixlab.mix.asked import check
from mixlab.train.loader import Loader
from mixlab.workspace import Workspace, read_json
from tests.conftest import TINY, mixlab


def saved(project, **weights):
    folder = project / "sweeps" / "mixture"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(f"name: mine\nrule: weights\nweights: {json.dumps(weights)}\n")


def hydra(*args, cwd):
    return subprocess.run(
        [sys.executable, "-m", "mixlab", *args], capture_output=True, text=True, cwd=cwd, env=dict(os.environ)
    )


@pytest.mark.parametrize("typed", ["{prose: 1.0}", "{prose: 0.25}"])
def test_a_mapping_that_leaves_default_sources_in_is_an_error_that_names_them(project, typed):
    saved(project, prose=0.25, lists=0.75)  # with prose 0.25 typed the sum is 1 all the same: still not what was typed
    with pytest.raises(ConfigError, match=r"leaves in lists \(0\.75\).*~mixture.weights.lists"):
        spec_of([*TINY, "mixture=mine", f"mixture.weights={typed}"], project)
    told = hydra(*TINY, "mixture=mine", f"mixture.weights={typed}", cwd=project)
    assert told.returncode == 2 and "leaves in lists (0.75)" in told.stderr and "Traceback" not in told.stderr


def test_the_ways_out_of_that_error_work(project):
    saved(project, prose=0.25, lists=0.75)
    for way in (
        ["mixture=weights", "mixture.weights={prose: 1.0}"],
        ["mixture=mine", "mixture.weights={prose: 1.0, lists: 0.0}"],
        ["mixture=mine", "mixture.weights={prose: 1.0}", "~mixture.weights.lists"],
        ["mixture=mine", "mixture.weights={prose: 0.5}", "mixture.weights.lists=0.5"],
    ):
        weights = spec_of([*TINY, *way], project).mixture.weights
        assert sum(weights.values()) == 1.0 and weights["prose"] in (0.5, 1.0)


@pytest.mark.slow
def test_a_design_is_written_and_swept_by_plain_hydra(project):
    made = mixlab("mix", "design", "one-up", "-o", "sweeps/design/x.csv", "--reseeds", "1", *TINY, cwd=project)
    assert made.returncode == 0, made.stderr
    assert "python -m mixlab -m +sweeps=x" in made.stdout
    head, *rows = (project / "sweeps" / "design" / "x.csv").read_text().splitlines()
    assert head == "name,seed,lists,prose" and [r.split(",")[0] for r in rows][:2] == ["natural", "up-lists"]
    swept = hydra("-m", "+sweeps=x", *TINY, "train.tokens=1024", cwd=project)
    assert swept.returncode == 0, swept.stderr
    runs = [read_json(p / "run.json") for p in Workspace.open(project / "lab").runs()]
    assert sorted((r["name"], r["seed"], r["sweep"]) for r in runs) == [
        *(("natural", 0, "x"), ("natural", 1, "x"), ("up-lists", 0, "x"), ("up-prose", 0, "x"))
    ]
    again = mixlab("sweep", "x", "--dry-run", "--json", *TINY, "train.tokens=1024", cwd=project)
    assert [r["done"] for r in json.loads(again.stdout)] == [True] * 4
    assert all(r["basis"].startswith("measured: median of 4 runs of this model") for r in json.loads(again.stdout))


def test_show_tells_plan_price_and_licences(project):
    typed = [*TINY, "phases=[{name: anneal, share: 0.25, mixture: {rule: uniform}}]", "--json"]
    told = json.loads(
        mixlab("mix", "show", "natural", *typed, "--device", "h100", "--devices", "8", cwd=project).stdout
    )
    plan, cost = told["plan"], told["cost"]
    assert [p["name"] for p in plan["phases"]] == ["main", "anneal"] and len(plan["key"]) == 16
    assert cost["flops"]["total"] == pytest.approx(sum(cost["flops"][k] for k in ("body", "attention", "head")))
    assert cost["wall_hours"] == pytest.approx(cost["hours"] / 8) and cost["basis"].startswith("assumed")
    assert [(e["licence"], e["commercial"], e["tokens"]) for e in told["licences"]] == [("CC0-1.0", "yes", 8192)]
    plain = mixlab("mix", "show", "natural", *typed[:-1], cwd=project)
    assert "Phase 'anneal'" in plain.stdout and "body, attention, head" in plain.stdout


def test_an_unknown_licence_is_loud(project):
    path = project / "sweeps" / "source" / "prose.yaml"
    path.write_text(path.read_text().replace("CC0-1.0", "unknown"))
    told = mixlab("mix", "show", "uniform", *TINY, cwd=project)
    assert "!! unknown !!" in told.stdout and "50.0% OF THE TOKENS HAVE NO KNOWN LICENCE" in told.stdout


def test_a_run_is_a_mix_to_show_compare_and_train(project):
    saved(project, prose=0.25, lists=0.75)
    ws = Workspace.open(project / "lab")
    out = pipeline.run(spec_of([*TINY, "mixture=mine", "train.tokens=1024"], project), ws)
    told = json.loads(mixlab("mix", "diff", out.name, "uniform", *TINY, "--json", cwd=project).stdout)
    assert told["sources"]["prose"] == {"a": 0.25, "b": 0.5, "points": 25.0} and told["moved"] == 0.25
    spec = spec_of([*TINY, "mixture=weights", f"mixture.weights=${{mixlab.run:{out.name}}}"], project)
    assert spec.mixture.weights == {"lists": 0.75, "prose": 0.25}
    unknown = mixlab("mix", "check", "mien", *TINY, cwd=project)
    assert unknown.returncode == 2 and "Did you mean 'mine'" in unknown.stderr


SHAPED = """name: mine
rule: weights
weights: {all: 1.0}
groups: {all: {prose: 0.5, lists: 0.5}}
to: {rule: weights, weights: {prose: 1.0}}
t: 0.5
scale: {lists: 2}
caps: {prose: 0.55}
"""
"""0.25 lists and 0.75 prose after `to`; 0.4 and 0.6 after `scale`; 0.45 and 0.55 after `caps`."""


def test_what_show_prints_is_what_the_plan_trains(project, monkeypatch):
    served, batch = {}, Loader.batch  # step -> what the run was fed
    monkeypatch.setattr(Loader, "batch", lambda self, step, *r: served.setdefault(step, batch(self, step, *r)))
    (project / "sweeps" / "mixture").mkdir()
    (project / "sweeps" / "mixture" / "mine.yaml").write_text(SHAPED)
    typed = [*TINY, "train.tokens=2048"]
    told = json.loads(mixlab("mix", "show", "mine", *typed, "--json", cwd=project).stdout)["plan"]
    assert {d["source"]: d["weight"] for d in told["draws"]} == pytest.approx({"lists": 0.45, "prose": 0.55})
    ws = Workspace.open(project / "lab")
    out = pipeline.run(spec_of([*typed, "mixture=mine"], project), ws)
    assert read_json(out / "plan.json") == told
    assert read_json(out / "run.json")["mixture"]["weights"] == {d["source"]: d["weight"] for d in told["draws"]}
    ledger = read_json(out / "checkpoint" / "state.json")["ledger"]
    assert {s: x["tokens"] for s, x in ledger.items()} == {d["source"]: d["tokens"] for d in told["draws"]}
    fed = np.bincount(np.concatenate([source for _, source in served.values()]), minlength=2) * served[0][0].shape[1]
    assert dict(zip(sorted(ledger), fed.tolist(), strict=True)) == {s: x["tokens"] for s, x in ledger.items()}
    plain = {d["source"]: d["weight"] for d in told["draws"]}
    written = f"mixture.weights={{lists: {plain['lists']!r}, prose: {plain['prose']!r}}}"
    spec = spec_of([*typed, "mixture=weights", written], project)
    again = pipeline.rehearse(spec, pipeline.prepare(spec, ws), ws)
    assert again.is_done and again.plan.key == told["key"]  # however it was written, it is one recipe


def test_a_run_may_be_shown_scaled_and_limited(project):
    ws = Workspace.open(project / "lab")
    saved(project, prose=0.25, lists=0.75)
    out = pipeline.run(spec_of([*TINY, "mixture=mine", "train.tokens=1024"], project), ws)
    changed = named(out.name, [*TINY, "mixture.caps={lists: 0.4}", "mixture.scale={prose: 2}"], project, ws)
    assert (changed.name, changed.mixture.weights) == ("mine", {"lists": 0.75, "prose": 0.25})
    told = pipeline.rehearse(changed, pipeline.prepare(changed, ws), ws)
    assert told.spec.mixture.weights == pytest.approx({"lists": 0.4, "prose": 0.6})


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["mixture=grouped", "mixture.groups.all={prose: 1.0}"], r"mixture.groups.all was typed for prose.*lists \(0"),
        (["mixture=grouped", "mixture.groups={all: {prose: 1.0}}"], r"~mixture.groups.all.lists"),
        (
            ["mixture=grouped", "mixture.groups={al: {prose: 1.0}}"],
            r"no such entry.*'al'.*To add it: \+mixture.groups.NAME=",
        ),
        (["mixture.to=uniform"], r"\+mixture@mixture.to=uniform"),
        (["mixture=weights", "mixture.weights={all: 1.0}", "mixture.groups={all: {}}"], "group 'all' is empty"),
        (["mixture.caps={prosa: 0.5}"], "Did you mean 'prose'"),
    ],
)
def test_shapes_typed_wrongly_are_told(project, typed, told):
    folder = project / "sweeps" / "mixture"
    folder.mkdir()
    (folder / "grouped.yaml").write_text(SHAPED)
    with pytest.raises(ConfigError, match=told):
        check(spec_of([*TINY, *typed], project).mixture, ["lists", "prose"])


def test_another_mix_is_gone_towards_by_its_name(project):
    mix = spec_of([*TINY, "+mixture@mixture.to=uniform", "mixture.t=0.25"], project).mixture
    assert mix.rule == "natural" and mix.to and (mix.to.rule, mix.t) == ("uniform", 0.25)


def test_check_refuses_what_cannot_be_served(project):
    assert "ok: 'uniform' can be served" in mixlab("mix", "check", "uniform", *TINY, cwd=project).stdout
    told = mixlab("mix", "check", "uniform", *TINY, "train.tokens=1e7", cwd=project)
    assert told.returncode == 2 and "raise train.max_epochs" in told.stderr


def test_export_writes_a_file_the_trainer_can_read(project):
    out = project / "mix.yaml"
    told = mixlab("mix", "export", "uniform", *TINY, "--to", "llm-foundry", "-o", str(out), cwd=project)
    assert told.returncode == 0, told.stderr
    streams = yaml.safe_load(out.read_text())["train_loader"]["dataset"]["streams"]
    assert {s: v["proportion"] for s, v in streams.items()} == {"lists": 0.5, "prose": 0.5}
