"""The notebooks: each pair says the same, holds no outputs, and runs from top to bottom on a lab that it makes."""

import ast
import re
import shutil
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from tests import reference

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_each_pair_says_the_same_and_holds_no_outputs():
    assert [n.stem[:2] for n in NOTEBOOKS] == ["01", "02", "03", "04", "05"]
    for path in NOTEBOOKS:
        paired, script = (jupytext.read(p) for p in (path, path.with_suffix(".py")))
        assert [(c.cell_type, c.source) for c in paired.cells] == [(c.cell_type, c.source) for c in script.cells]
        assert not any(c.get("outputs") or c.get("execution_count") for c in paired.cells), f"{path.name}: outputs"


def test_they_use_what_the_reference_names():
    """The public API alone: `mixlab.open()`, and the charts and fits of docs/reference/python.md."""
    public = {f"{m.__name__}.{name}" for m in reference.BESIDE for name in reference.public_functions(m)}
    modules = {m.__name__ for m in reference.BESIDE}
    for path in NOTEBOOKS:
        tree = list(ast.walk(ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))))
        imports = [(n.module, a.name) for n in tree if isinstance(n, ast.ImportFrom) for a in n.names]
        ours = {name: f"{module}.{name}" for module, name in imports if str(module).startswith("mixlab")}
        assert {*ours.values()} <= modules | public, path.name
        for node in tree:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
                assert f"{ours[node.value.id]}.{node.attr}" in public or node.attr.isupper(), (
                    f"{path.name}: {node.attr}"
                )


@pytest.mark.slow
def test_each_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """In order and in one project, as they share a lab: a finished run is not trained again."""
    monkeypatch.delenv("MIXLAB_HOME", raising=False)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("lab", ".ipynb_*"))
    shutil.copytree(ROOT / "docs", tmp_path / "docs")  # the notebooks' source `pages`
    for page in ROOT.glob("*.md"):
        shutil.copy(page, tmp_path)
    for path in NOTEBOOKS:
        told = nbformat.read(path, as_version=4)
        where = {"metadata": {"path": str(tmp_path / "notebooks")}}
        NotebookClient(told, timeout=300, kernel_name="python3", resources=where).execute()
        text = "".join(str(o.get("text", "")) for c in told.cells for o in c.get("outputs", []))
        assert "IProgress" not in text, f"{path.name} tells people of widgets that they do not need"
        assert not re.search(r"(?m)^error:", text), f"{path.name}: {text[-2000:]}"
        kinds = {kind for c in told.cells for o in c.get("outputs", []) for kind in o.get("data", {})}
        assert "image/svg+xml" in kinds, f"{path.name} draws nothing"
