"""Runs from elsewhere: once however often they are imported, honest about what they are, and learnt from."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mixlab
from mixlab import arrivals, exam, lineage
from mixlab.advise import runs
from mixlab.cli import app
from mixlab.errors import ConfigError, MissingError
from mixlab.results.check import check
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace
from tests.advise.planted import METRICS, SOURCES, sweep

HEADER = "Name,State,Created,Runtime,mix.code,mix.prose,lr,tokens,seed,eval/bpb/code,eval/bpb/prose,train/loss"
RUN = "a,finished,2026-01-02T03:04:05.000Z,60,{code},{prose},0.001,1000,{seed},1.5,2.5,9"


@pytest.fixture
def ws(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLAB_HOME", str(tmp_path / "lab"))
    return Workspace.open()


@pytest.fixture
def regmix(tmp_path):
    """Forty runs in RegMix's layout, ten of them its test part."""
    folder = tmp_path / "regmix"
    folder.mkdir()
    table, _, _ = sweep(1, 40)
    for part, rows in (("train", table.iloc[:30]), ("test", table.iloc[30:])):
        ids = pd.DataFrame({"index": np.arange(1, len(rows) + 1)})  # both parts count from one
        weights = rows[[f"w_{s}" for s in SOURCES]].set_axis([f"train_the_pile_{s}" for s in SOURCES], axis=1)
        losses = rows[METRICS].set_axis([f"metric/the_pile_{m.removeprefix('bpb_')}_val_loss" for m in METRICS], axis=1)
        pd.concat([ids, weights.reset_index(drop=True)], axis=1).to_csv(folder / f"{part}_mixture_1m.csv", index=False)
        pd.concat([ids, losses.reset_index(drop=True)], axis=1).to_csv(folder / f"{part}_pile_loss_1m.csv", index=False)
    return folder


def wandb(folder, *lines, header=HEADER):
    folder.mkdir(exist_ok=True)
    (folder / "export.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder / "export.csv"


def test_a_table_imported_twice_is_one_import(ws, regmix):
    first = arrivals.bring(ws, regmix, "regmix")
    before = {p: p.read_bytes() for p in (ws.root / "runs").rglob("*.json*")}
    again = arrivals.bring(ws, regmix, "regmix")
    assert len(first.added) == 40 and (again.added, again.renewed, again.there) == ((), (), 40)
    assert before == {p: p.read_bytes() for p in (ws.root / "runs").rglob("*.json*")}
    assert check(ws) == []


def test_imported_runs_are_rows_wherever_runs_are(ws, regmix):
    arrivals.bring(ws, regmix, "regmix")
    rows, lab = list_runs(ws), mixlab.open(ws.root)
    assert {(r["state"], r["origin"], r["unit"], r["bpb_macro"]) for r in rows} == {
        ("finished", "regmix", "nats per token", None)
    }
    assert len(lab.runs("origin = 'regmix'")) == 40 and np.allclose(lab.mixes().sum(axis=1), 1)
    best = lab.leaderboard().iloc[0]
    assert best["loss_macro"] == pytest.approx(min(r["loss_macro"] for r in rows)) and pd.isna(best["bpb_macro"])
    assert best["loss_unit"] == "nats per token"
    told = CliRunner().invoke(app, ["runs", "ls"]).output
    assert "regmix-test-1-s0" in told and "nats per token" in told


def test_advice_learns_from_imported_runs_and_says_what_it_cannot_know(ws, regmix):
    arrivals.bring(ws, regmix, "regmix")
    one = METRICS[0].removeprefix("bpb_")
    told = runs.advise(list_runs(ws), ws, runs.Ask(sweep="regmix", metrics=(one,)))
    assert told.verdict.metrics == (f"loss_{one}",) and len(told.runs) == 40 and told.verdict.dollars is None
    assert any("imported (regmix), their scores in nats per token" in n for n in told.notes)
    with pytest.raises(ConfigError, match="--target-tokens: these runs were imported"):
        runs.advise(list_runs(ws), ws, runs.Ask(target_tokens=10**9))


def test_olmix_scores_are_bits_per_byte_by_their_name(ws, tmp_path):
    table, _, _ = sweep(1, 6)
    ids = pd.DataFrame({"run": [f"x{i}" for i in range(6)]})
    pd.concat([ids, table[[f"w_{s}" for s in SOURCES]].set_axis(SOURCES, axis=1)], axis=1).to_csv(
        tmp_path / "ratios.csv", index=False
    )
    pd.concat([ids, table[METRICS]], axis=1).iloc[1:].to_csv(tmp_path / "metrics.csv", index=False)
    told = arrivals.bring(ws, tmp_path, "olmix", sweep="swarm")
    assert len(told.added) == 5 and "1 lines have no partner" in told.notes[0]
    row = next(r for r in list_runs(ws) if "-x1-" in r["run_id"])
    assert row["bpb_macro"] == pytest.approx(table[METRICS].iloc[1].mean()) and row["loss"] == {}


def test_a_wandb_export_tells_mix_scores_settings_and_curve(ws, tmp_path):
    file = wandb(tmp_path / "w", RUN.format(code=1, prose=3, seed=7), "b,running,,,1,1,,,,,,", "c,crashed,,,1,1,,,,,,")
    (file.parent / "chart.csv").write_text(
        'Step,"a - train/loss","a - train/loss__MIN","z - train/loss"\n1,5.5,5.5,1\n2,4.5,4.5,1\n', encoding="utf-8"
    )
    told = arrivals.bring(ws, file.parent, "wandb-csv", sweep="w")
    assert len(told.added) == 2 and "still under way" in told.notes[0]
    a, c = (next(r for r in list_runs(ws) if f"w-{n}-" in r["run_id"]) for n in "ac")
    assert (a["seed"], a["weights"], a["tokens"], a["bpb"]) == (
        7, {"code": 0.25, "prose": 0.75}, 1000, {"code": 1.5, "prose": 2.5}
    )  # fmt: skip
    assert a["bpb_macro"] == 2.0 and c["state"] == "failed" and "crashed" in c["reason"]
    curve = mixlab.open(ws.root).metrics([a["run_id"]], ["train/loss"])
    assert list(curve["step"]) == [1, 2] and list(curve["value"]) == [5.5, 4.5]
    shown = CliRunner().invoke(app, ["runs", "show", a["run_id"]]).output
    assert "lr: 0.001" in shown and "bits per byte" in shown and "imported: wandb-csv" in shown


def test_runs_made_otherwise_are_another_recipe_and_paths_are_no_recipe(ws, tmp_path):
    header = "Name,mix.code,mix.prose,width,out,bpb"
    lines = [f"r{i},{i + 1},1,{64 if i < 3 else 128},/tmp/{i},{1 + i / 10}" for i in range(4)]
    arrivals.bring(ws, wandb(tmp_path, *lines, header=header), "wandb-csv", sweep="w")
    recipes = {r["name"]: r["recipe"] for r in list_runs(ws)}
    assert len({recipes[f"w-r{i}"] for i in range(3)}) == 1 and recipes["w-r3"] != recipes["w-r0"]


def test_a_unit_told_later_renews_the_runs(ws, tmp_path):
    file = wandb(tmp_path, "r,0.5,0.5,3.0", header="Name,mix.a,mix.b,eval/loss")
    assert "is not told" in arrivals.bring(ws, file, "wandb-csv").notes[0]
    told = arrivals.bring(ws, file, "wandb-csv", unit="bpb")
    assert len(told.renewed) == 1 and told.added == () and [r["bpb_macro"] for r in list_runs(ws)] == [3.0]


def test_a_bad_cell_is_told_with_file_line_column_and_value(ws, tmp_path, regmix):
    for line, words in (
        (RUN.format(code="much", prose=1, seed=0), r"line 3, column 'mix.code' is 'much'.*a number"),
        (RUN.format(code=-1, prose=1, seed=0), r"line 3, column 'mix.code' is '-1'.*from 0 up"),
        (RUN.format(code=0, prose=0, seed=0), r"line 3: all weights are 0"),
        (RUN.format(code=1, prose="", seed=0), r"line 3, column 'mix.prose' is empty"),
        ("a,finished", "line 3 has not as many cells"),
        (RUN.format(code=1, prose=1, seed=0).replace("2026-01", "someday"), "column 'Created' is 'someday"),
    ):
        with pytest.raises(ConfigError, match=words):
            arrivals.bring(ws, wandb(tmp_path / "w", RUN.format(code=1, prose=1, seed=0), line), "wandb-csv")
    for name, words in (("mixture", "train_the_pile_"), ("pile_loss", "metric/")):
        file = regmix / f"train_{name}_1m.csv"
        whole = file.read_text()
        lines = whole.splitlines()
        lines[4] = lines[4].rpartition(",")[0] + ",oops"
        file.write_text("\n".join(lines))
        with pytest.raises(ConfigError, match=rf"train_{name}_1m.csv line 5, column '{words}.*' is 'oops'"):
            arrivals.bring(ws, regmix, "regmix")
        file.write_text(whole)
    assert list_runs(ws) == []


def test_a_file_that_is_no_export_says_what_one_is(ws, tmp_path):
    with pytest.raises(ConfigError, match=r"two or more, named mix\.<source>"):
        arrivals.bring(ws, wandb(tmp_path, "r,1", header="Name,bpb"), "wandb-csv")
    with pytest.raises(ConfigError, match="Name them by --metric"):
        arrivals.bring(ws, wandb(tmp_path, "r,1,1", header="Name,mix.a,mix.b"), "wandb-csv")
    with pytest.raises(ConfigError, match="would both be bpb/code"):
        header = "Name,mix.a,mix.b,eval/bpb/code,val/bpb/code"
        arrivals.bring(ws, wandb(tmp_path, "r,1,1,1,1", header=header), "wandb-csv")
    with pytest.raises(MissingError, match="a column 'Name'"):
        arrivals.bring(ws, wandb(tmp_path, "1", header="x"), "wandb-csv")
    with pytest.raises(ConfigError, match="Did you mean 'regmix'"):
        arrivals.bring(ws, tmp_path, "regmx")


def test_an_imported_run_has_no_model_and_says_so(ws, tmp_path):
    (name,) = arrivals.bring(ws, wandb(tmp_path, "r,1,1,2", header="Name,mix.a,mix.b,bpb"), "wandb-csv").added
    run = ws.root / "runs" / name
    assert "spec" not in json.loads((run / "run.json").read_text())
    for command in (
        ["runs", "rerun", name],
        ["runs", "retry", name],
        ["runs", "lengths", name],
    ):
        told = CliRunner().invoke(app, command)
        assert isinstance(told.exception, ConfigError) and "was imported" in str(told.exception), command
    assert lineage.lineage(run, ws)["steps"][0] == {"what": "imported", "which": "wandb-csv", "state": ""}
    with pytest.raises(ConfigError, match="was imported"):
        exam.sitter(run, ws)
