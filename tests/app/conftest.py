"""A project directory with a lab in it, empty or synthetic, and the app pointed at it."""

from pathlib import Path

import pytest
import streamlit as st

from tests.app.synthetic_lab import make_lab


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty project directory, the lab in it empty too; the app runs there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXLAB_HOME", str(tmp_path / "lab"))
    st.cache_data.clear()
    return tmp_path


@pytest.fixture
def lab(project) -> Path:
    """A lab with four prepared sources and five runs: three finished (two seeds of one mix), one live, one failed."""
    make_lab(project / "lab")
    return project / "lab"
