"""Claims on runs, lines and manifests: one winner each, and half of anything is mended."""

import json
import multiprocessing as mp
import os
import subprocess
import sys
from pathlib import Path

from mixlab import claims
from mixlab.workspace import Workspace, append_line, build, read_lines


def test_half_a_line_is_cut_off_before_the_next_is_written(tmp_path):
    file = tmp_path / "x.jsonl"
    append_line(file, {"a": 1})
    line = file.read_bytes()
    for cut in range(1, len(line) + 1):
        file.write_bytes(line + line[:cut])
        append_line(file, {"a": 2})
        assert read_lines(file) == ([{"a": 1}] * (1 + (cut == len(line)))) + [{"a": 2}]


def test_an_artefact_with_half_a_manifest_is_made_again(tmp_path):
    made = []
    for _ in range(2):
        assert build(tmp_path / "x", lambda out: made.append(out) or {"n": 1})["n"] == 1
        text = (tmp_path / "x" / "manifest.json").read_bytes()
        (tmp_path / "x" / "manifest.json").write_bytes(text[: len(text) // 2])
    assert len(made) == 2


def _race(root: str, runs: list[str], together, won) -> None:
    ws = Workspace(Path(root))
    together.wait()
    for run in runs:
        if claims.Watching(ws).take(run) is not None:
            won.put(run)
    together.wait()  # one that is gone may be taken over from


def test_a_claim_has_one_winner(tmp_path):
    context = mp.get_context("fork")
    won, together = context.Queue(), context.Barrier(8)
    runs = [f"run{i:03d}" for i in range(100)]
    crew = [context.Process(target=_race, args=(str(tmp_path), runs, together, won)) for _ in range(8)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    assert sorted(p.name for p in (tmp_path / "claims").iterdir()) == [f"{run}.0" for run in runs]
    assert sorted(won.get(timeout=5) for _ in runs) == runs and won.empty()


def test_a_claim_of_another_machine_is_taken_over_only_when_it_stops_moving(tmp_path, monkeypatch):
    ws = Workspace.open(tmp_path)
    claim = claims.Watching(ws).take("a")
    assert claim is not None
    told = {**json.loads(claim.read_text()), "host": "elsewhere"}
    claim.write_text(json.dumps(told))
    clock = [100.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: clock[0])
    watching = claims.Watching(ws)
    for beat in (
        5e9,
        1e9,
        2e9,
    ):  # seconds since 1970: neither the future nor a clock set back is news but that it moved
        os.utime(claim, (beat, beat))
        assert watching.is_taken("a")
        clock[0] += claims.STALE_S - 1
        assert watching.is_taken("a")
    clock[0] += 2
    assert not watching.is_taken("a")
    done = []
    with claims.hold(Workspace(tmp_path), "b", lambda: bool(done)):
        done.append(1)
    assert not list(ws.claims.glob("b.*"))


def test_a_claim_of_a_dead_process_is_free_at_once_and_a_living_ones_is_not(tmp_path):
    ws = Workspace.open(tmp_path)
    code = "from mixlab import claims; from mixlab.workspace import Workspace; "
    code += f"claims.Watching(Workspace.open({str(tmp_path)!r})).take('a'); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        assert claims.Watching(ws).is_taken("a")
        child.kill()
    assert not claims.Watching(ws).is_taken("a")
    with claims.hold(ws, "a", lambda: False):
        assert (ws.claims / "a.1").exists()
