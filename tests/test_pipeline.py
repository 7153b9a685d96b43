"""The whole journey on a tiny project: what depends on what, and what does not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from mixlab import pipeline, sweep
from mixlab.compose import spec_of
from mixlab.errors import PlanError, RunFailed
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace, read_json, read_lines
from tests.conftest import TINY, documents, write_source


@pytest.fixture
def ws(project):
    return Workspace.open(project / "lab")


def test_a_run_scores_below_its_untrained_self(project, ws):
    out = pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    rows = [r for r in read_lines(out / "scores.jsonl") if r["task"] == "bpb/macro"]
    assert rows[0]["step"] == 0 and rows[-1]["final"]
    assert rows[-1]["value"] < 0.8 * rows[0]["value"]
    served = {d["source"]: d["tokens"] for d in read_json(out / "plan.json")["draws"]}
    assert served == {"lists": 4096, "prose": 4096}


def test_sigterm_before_the_first_step_asks_to_be_run_again(project, ws):
    spec = spec_of([*TINY, "mixture=uniform", "train.tokens=1024"], project)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        pipeline.run(spec, ws, watch=lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert left.value.code == 75 and not ws.runs() and signal.getsignal(signal.SIGTERM) is before
    assert (pipeline.run(spec, ws) / "done.json").exists()


def test_a_run_that_ends_worse_than_knowing_nothing_is_diverged(project, ws):
    broken = ("train.lr=30", "train.warmup_tokens=0", "train.tokens=4096", "mixture=uniform")
    with pytest.raises(RunFailed, match=r"diverged: it ends at \d+\.\d nats .* Lower train\.lr \(now 30"):
        pipeline.run(spec_of([*TINY, *broken], project), ws)
    (row,) = list_runs(ws)
    assert row["state"] == "diverged" and row["reason"].startswith("diverged: it ends at")
    assert not (ws.runs()[0] / "done.json").exists()


def test_a_sources_score_improves_with_its_share(project, ws):
    values = []
    for share in (0.1, 0.5, 0.9):
        mix = ["mixture=weights", f"mixture.weights={{prose: {share}, lists: {1 - share}}}"]
        out = pipeline.run(spec_of([*TINY, *mix], project), ws)
        (final,) = [r for r in read_lines(out / "scores.jsonl") if r["final"] and r["task"] == "bpb/prose"]
        values.append(final["value"])
    assert values[0] > values[1] > values[2]


def test_the_same_spec_gives_the_same_numbers_in_another_lab(project, ws):
    spec = spec_of([*TINY, "mixture=uniform"], project)
    a = pipeline.run(spec, ws)
    b = pipeline.run(spec, Workspace.open(project / "other"))
    assert a.name == b.name and a != b

    def values(out):
        return [(r["step"], r["task"], r["value"]) for r in read_lines(out / "scores.jsonl")]

    assert values(a) == values(b)
    assert (a / "checkpoint" / "model.safetensors").read_bytes() == (
        b / "checkpoint" / "model.safetensors"
    ).read_bytes()


def test_order_of_documents_in_a_file_changes_no_token(project, ws):
    before = pipeline.prepare(spec_of(list(TINY), project), ws)
    write_source(project, "prose", list(reversed(documents("prose", 60))))
    after = pipeline.prepare(spec_of(list(TINY), project), ws)
    assert before["prose"].key != after["prose"].key  # another file, so another artefact …
    for name in before:
        a, b = (c[name].path / "tokens.bin" for c in (before, after))
        assert a.read_bytes() == b.read_bytes()  # … that holds the same tokens


def test_a_changed_exam_is_sat_without_training_again(project, ws):
    spec = spec_of([*TINY, "mixture=uniform"], project)
    out = pipeline.run(spec, ws)
    weights = (out / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    again = pipeline.run(replace(spec, evals=replace(spec.evals, final_tokens=2000)), ws)
    assert again == out and (out / "checkpoint" / "model.safetensors").stat().st_mtime_ns == weights
    assert len({r["evals_key"] for r in read_lines(out / "scores.jsonl") if r["final"]}) == 2


def test_held_out_documents_and_their_duplicates_are_never_trained_on(project, ws):
    rows = documents("prose", 60)
    rows += [{**r, "id": r["id"] + "-copy", "text": r["text"] + " And more."} for r in rows]
    write_source(project, "prose", rows)
    spec = spec_of([*TINY, "dedup=off"], project)
    corpora = pipeline.prepare(spec, ws)
    from mixlab.data import shards

    held = {i.removesuffix("-copy") for i in shards.heldout(corpora["prose"]).ids}
    assert corpora["prose"].docs + corpora["prose"].heldout_docs == 120
    tokens = bytes(np.asarray(shards.token_array(corpora["prose"])).astype(np.uint16).clip(0, 255).astype(np.uint8))
    for row in documents("prose", 60):
        assert (row["text"].encode() in tokens) != (row["id"] in held)


def test_a_plan_that_repeats_too_much_is_refused_before_anything_is_spent(project, ws):
    spec = spec_of([*TINY, "train.tokens=1e7"], project)
    with pytest.raises(PlanError, match="max_epochs"):
        sweep.rehearse_all([spec], ws)
    assert not ws.runs()


@pytest.mark.slow
def test_killed_in_the_middle_it_continues_to_the_same_numbers(project, ws):
    """kill -9 of the whole process group while a sweep trains; then the same command again."""
    typed = ["seed=0,1", *TINY, "mixture=uniform", "train.tokens=32768"]
    command = [sys.executable, "-m", "mixlab.cli", "sweep", *typed, "--json"]
    env = {**os.environ, "MIXLAB_HOME": str(ws.root)}
    first = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((ws.root / "runs").glob("*/checkpoint/state.json")):
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = subprocess.run(command, env=env, check=True, capture_output=True)
    quiet = subprocess.run(command, env={**env, "MIXLAB_HOME": str(project / "calm")}, check=True, capture_output=True)

    def macro(stdout):
        return sorted((r["seed"], r["bpb_macro"]) for r in json.loads(stdout))

    assert macro(again.stdout) == macro(quiet.stdout)
    for out in ws.runs():
        calm = project / "calm" / "runs" / out.name

        def losses(run):
            return [(r["step"], r["m"]["loss/train"]) for r in read_lines(run / "metrics.jsonl")]

        assert losses(out) == losses(calm)
