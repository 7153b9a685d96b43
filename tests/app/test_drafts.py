"""Drafts come back as they were, and never half."""

import json
import subprocess
import time

import pytest

from mixlab.app import drafts
from mixlab.errors import ConfigError
from mixlab.workspace import Workspace


@pytest.fixture
def ws(tmp_path) -> Workspace:
    return Workspace.open(tmp_path / "lab")


def test_a_draft_comes_back_as_it_was_and_goes_when_dropped(ws):
    values = {"weights": {"wiki": 250, "ümlaut": 750}, "locked": ["wiki"], "name": None}
    stamp = drafts.save("mix", values, ws)
    assert drafts.load("mix", ws) == values and drafts.saved_at("mix", ws) == stamp and drafts.names(ws) == ["mix"]
    drafts.drop("mix", ws)
    drafts.drop("mix", ws)
    assert drafts.load("mix", ws) is None and drafts.saved_at("mix", ws) is None and drafts.names(ws) == []


def test_the_same_values_keep_their_age(ws):
    stamp = drafts.save("mix", {"a": (1, 2)}, ws)
    assert drafts.save("mix", {"a": [1, 2]}, ws) == stamp
    assert drafts.save("mix", {"a": [2, 1]}, ws) >= stamp and drafts.load("mix", ws) == {"a": [2, 1]}


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"values": 3, "saved_at": 1.0}', '{"values": {}}'])
def test_a_damaged_draft_is_none(ws, content):
    ws.drafts.mkdir()
    (ws.drafts / "mix.json").write_text(content)
    assert drafts.load("mix", ws) is None and drafts.saved_at("mix", ws) is None


def test_a_shell_writes_the_same_draft(ws):
    values = {"ids": ["it's 100 %", 'a "b"', "$HOME"]}
    subprocess.run(["sh", "-c", drafts.as_command("view", values, ws)], check=True)
    assert drafts.load("view", ws) == values and time.time() - (drafts.saved_at("view", ws) or 0) < 60


@pytest.mark.parametrize("name", ["../evil", "", "A b", "x" * 65])
def test_a_name_never_leaves_the_folder(ws, name):
    with pytest.raises(ConfigError):
        drafts.save(name, {}, ws)
    assert not list(ws.root.parent.rglob("*.json"))


def test_a_draft_is_plain_json_on_disk(ws):
    drafts.save("sweep", {"n": 3}, ws)
    assert json.loads((ws.root / "drafts" / "sweep.json").read_text())["values"] == {"n": 3}
    assert not [p for p in ws.drafts.iterdir() if p.suffix != ".json"]
