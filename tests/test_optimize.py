"""A search that goes on where it stopped, and a run that is traced and repeated."""

import pytest

from mixlab import again, lineage, optimize, pipeline, show
from mixlab.commands.sweep import sweep
from mixlab.compose import spec_of
from mixlab.errors import ConfigError
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace, append_line, read_json, read_lines
from tests.conftest import TINY


@pytest.mark.slow
def test_a_search_is_resumed_and_repeats_no_run(project):
    pytest.importorskip("optuna")
    ws = Workspace.open(project / "lab")
    spec = spec_of([*TINY, "train.max_epochs=100"], project)
    with show.progress() as watch:
        ids, failed = optimize.optimize(spec, ws, "macro", 2, name="s", watch=watch, workers=1)
        assert len(set(ids)) == 2 and not failed
        stamps = {p: p.stat().st_mtime_ns for p in ws.root.glob("runs/*/done.json")}
        more, failed = optimize.optimize(spec, ws, "macro", 3, name="s", watch=watch, workers=1)
        straight = Workspace.open(project / "straight")
        once, _ = optimize.optimize(spec, straight, "macro", 3, name="s", watch=watch, workers=1)
    assert more[:2] == ids and len(set(more)) == 3 and not failed
    (file,) = ws.sweeps.glob("*.json")
    assert read_json(file)["runs"] == more and [r["sweeps"] for r in list_runs(ws)] == [[file.stem]] * 3
    assert once == more  # broken off or not, the same mixes are asked for
    assert all(p.stat().st_mtime_ns == t for p, t in stamps.items())
    with pytest.raises(ConfigError, match="prose"):
        optimize.optimize(spec, ws, "prosa", 1, name="s", watch=watch, workers=1)


def test_a_dry_run_of_a_search_tells_its_price_and_trains_nothing(project, capsys):
    sweep("seed=0", [*TINY, "mixture=uniform"], dry_run=True, optimize="macro", trials=3)
    told = capsys.readouterr()
    assert "1 runs, 0 done, 1 to do" in told.out and "3 such runs in all" in told.err
    assert not Workspace.open(project / "lab").runs()


def test_weights_are_on_the_simplex():
    assert optimize.weights_of({"a": 0.5, "b": 0.5}) == {"a": 0.5, "b": 0.5}


def test_a_run_is_traced_to_its_sources_and_comes_out_the_same_again(project):
    ws = Workspace.open(project / "lab")
    out = pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    steps = {s["what"]: s for s in lineage.lineage(out, ws)["steps"]}
    assert {"mixture", "git commit", "versions", "machine", "dedup", "tokens of prose", "source lists"} <= set(steps)
    assert all(s["state"] in ("", "there") for s in steps.values())
    assert again.rerun(out, ws)["is_identical"]
    row = read_lines(out / "metrics.jsonl")[-1]
    row["m"]["loss/train"] += 1e-6
    append_line(out / "metrics.jsonl", row)
    told = again.rerun(out, ws)
    assert not told["is_identical"] and "curves differ" in told["words"][0]
