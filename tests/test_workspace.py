"""Artefacts are whole or absent, made once, and named by what they depend on."""

import errno
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mixlab.errors import EnvironmentFault, MissingError
from mixlab.types import ModelSpec, RunSpec, Source, TrainSpec
from mixlab.workspace import (
    Workspace,
    append_line,
    build,
    is_complete,
    key_of,
    read_json,
    read_lines,
    read_manifest,
    write_json,
)

SPEC = RunSpec(sources=(Source(name="a", kind="files", paths=("x",)),), model=ModelSpec(), train=TrainSpec())


def test_golden_key():
    """Pinned: a key that moves without its stage's VERSION being raised loses everybody's finished work."""
    assert key_of("runs", 1, SPEC, {"a": "00000000"}) == GOLDEN


GOLDEN = "919940ba"


def test_cosmetic_fields_change_no_key_and_others_do():
    key = key_of("runs", 1, SPEC, {})
    assert key_of("runs", 1, replace(SPEC, name="other"), {}) == key
    assert key_of("runs", 1, replace(SPEC, train=replace(SPEC.train, threads=4)), {}) == key
    assert key_of("runs", 1, replace(SPEC, seed=1), {}) != key
    assert key_of("runs", 2, SPEC, {}) != key and key_of("runs", 1, SPEC, {"a": "1"}) != key


def test_weights_differing_by_rounding_share_a_key():
    a = replace(SPEC, mixture=replace(SPEC.mixture, rule="weights", weights={"a": 0.1 + 0.2}))
    b = replace(SPEC, mixture=replace(SPEC.mixture, rule="weights", weights={"a": 0.3}))
    assert key_of("runs", 1, a, {}) == key_of("runs", 1, b, {})


def test_an_artefact_is_made_once_even_when_asked_for_at_once(tmp_path):
    calls = []

    def write(out):
        calls.append(out)
        (out / "x").write_text("1")
        return {"n": 1}

    with ThreadPoolExecutor(4) as pool:
        facts = list(pool.map(lambda _: build(tmp_path / "raw" / "a-1", write), range(8)))
    assert len(calls) == 1 and all(f["n"] == 1 for f in facts)
    assert [p.name for p in (tmp_path / "raw" / "a-1").iterdir() if p.name == "x"] == ["x"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def write(out):
        (out / "half").write_text("1")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EnvironmentFault, match="the disk is full") as e:
        build(tmp_path / "raw" / "a-1", write)
    assert e.value.exit_code == 5 and "MIXLAB_HOME" in str(e.value)
    assert not is_complete(tmp_path / "raw" / "a-1") and not list((tmp_path / "raw").glob("*tmp*"))
    with pytest.raises(MissingError):
        read_manifest(tmp_path / "raw" / "a-1")


def test_a_torso_without_manifest_is_made_anew(tmp_path):
    torso = tmp_path / "raw" / "a-1"
    torso.mkdir(parents=True)
    (torso / "old").write_text("1")
    build(torso, lambda out: {"n": (out / "new").write_text("2")})
    assert not (torso / "old").exists() and (torso / "new").exists()


def test_a_half_written_last_line_is_not_a_row(tmp_path):
    path = tmp_path / "m.jsonl"
    append_line(path, {"a": 1})
    append_line(path, {"a": "zwei\n"}, sync=True)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert read_lines(path) == [{"a": 1}, {"a": "zwei\n"}][: whole[:cut].count(b"\n")]


def test_damaged_json_is_named(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, 2]})
    assert read_json(tmp_path / "x.json") == {"a": [1, 2]}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(EnvironmentFault, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


def test_the_home_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLAB_HOME", str(tmp_path / "here"))
    assert Workspace.open().root == tmp_path / "here" and (tmp_path / "here").is_dir()
    monkeypatch.delenv("MIXLAB_HOME")
    monkeypatch.chdir(tmp_path)
    assert Workspace.open().root == tmp_path / "lab"
