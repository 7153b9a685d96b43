"""Project directories with a lab in each, and the app pointed at one of them.

Three states that every page is tested in: `project` (an empty lab), `demo_lab` (what the demo leaves, all finished),
`lab` (five runs, one of them live and one failed). Each test has a copy of its own: it may write and break things.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
import streamlit as st

from mixlab import jobs
from tests.app.synthetic_lab import make_demo, make_lab


@pytest.fixture(autouse=True)
def same_main(monkeypatch) -> None:
    """AppTest leaves its page behind as `__main__`, which processes spawned by later tests would then run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def made_labs(tmp_path_factory) -> Path:
    """The labs, written once: `lab` and `demo_lab`. Copy, do not write."""
    root = tmp_path_factory.mktemp("labs")
    make_lab(root / "lab")
    make_demo(root / "demo_lab")
    return root


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty project directory, the lab in it empty too; the app runs there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXLAB_HOME", str(tmp_path / "lab"))
    st.cache_data.clear()
    return tmp_path


@pytest.fixture
def lab(project, made_labs) -> Path:
    """A lab with four prepared sources and five runs: three finished (two seeds of one mix), one live, one failed."""
    shutil.copytree(made_labs / "lab", project / "lab")
    return project / "lab"


@pytest.fixture
def demo_lab(project, made_labs) -> Path:
    """A lab as the demo leaves it: four prepared sources, seventeen finished runs, a verdict."""
    shutil.copytree(made_labs / "demo_lab", project / "lab")
    return project / "lab"


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """Words of the jobs that a page starts, instead of starting them."""
    told: list[list[str]] = []
    monkeypatch.setattr(
        jobs, "_start", lambda ws, folder: told.append(json.loads((folder / "job.json").read_text())["words"])
    )
    return told
