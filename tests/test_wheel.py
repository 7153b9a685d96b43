"""What is built is whole: a wheel made from the sdist, installed alone, works in an empty directory.

Third-party packages come from the environment of the tests (a .pth to its site-packages, whose own .pth files, mixlab's
editable install among them, are then not read), so that no network is needed.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from mixlab import doctor

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({out!r}))"


def built(kind: str, source: Path, out: Path) -> Path:
    """An sdist or a wheel of a folder, by setuptools alone."""
    code = BUILD.format(kind=kind, out=str(out))
    told = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=200)
    assert told.returncode == 0, told.stderr
    return out / told.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is made from what the sdist holds."""
    folder = tmp_path_factory.mktemp("build")
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("mixlab", "docs"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=skip)
    for cache in ("data", "app/pages_"):  # what a used checkout holds beside the sources
        (folder / "source" / "mixlab" / cache / "__pycache__").mkdir()
        for ending in ("pyc", "nbi", "1.nbc"):
            (folder / "source" / "mixlab" / cache / "__pycache__" / f"x.{ending}").write_bytes(b"")
    for file in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "constraints.txt"):
        shutil.copy(ROOT / file, folder / "source")
    with tarfile.open(built("sdist", folder / "source", folder)) as archive:
        assert any(name.endswith("/constraints.txt") for name in archive.getnames())
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return built("wheel", unpacked, folder)


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment in which mixlab is the wheel."""
    home = tmp_path_factory.mktemp("alone") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--no-compile", str(wheel)], check=True, timeout=200)
    return home / "bin"


def asked(alone: Path, folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command of that environment, in an empty directory."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MIXLAB_HOME", "PYTHONPATH")} | env
    return subprocess.run(
        [str(alone / words[0]), *words[1:]], cwd=folder, env=clean, capture_output=True, text=True, timeout=200
    )


def test_the_wheel_holds_every_file_of_the_package(wheel):
    ours = [p.relative_to(ROOT) for p in (ROOT / "mixlab").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {str(p) for p in ours} <= names and "mixlab/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith("mixlab") or "__pycache__" in name]


def test_the_wheel_works_alone_in_an_empty_directory(alone, tmp_path):
    where = asked(alone, tmp_path, "python", "-c", "import mixlab; print(mixlab.__file__)").stdout
    assert str(alone.parent) in where
    assert "Usage: mixlab demo" in asked(alone, tmp_path, "mixlab", "demo", "--help").stdout
    told = asked(alone, tmp_path, "mixlab", "doctor", "--json")
    assert told.returncode == 0, told.stderr
    checks = {c["name"]: c for c in json.loads(told.stdout)["checks"]}
    assert str(tmp_path) in checks["lab"]["found"] and checks["torch"]["is_ok"] and "[flash]" in checks
    told = asked(alone, tmp_path, "mixlab", "mix", "check", "nosuch")
    assert told.returncode == 2 and "natural" in told.stderr, told.stderr  # the presets are there


def test_the_app_starts_from_the_wheel(alone, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    code = f"from mixlab.app.launch import command; print(*command({port}, headless=True), sep='\\n')"
    command = asked(alone, tmp_path, "python", "-c", code).stdout.splitlines()
    assert str(alone.parent) in command[4]
    with open(tmp_path / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        try:
            assert health(port, server), (tmp_path / "server.log").read_text()
        finally:
            server.kill()
            server.wait(10)
    page = (
        "from streamlit.testing.v1 import AppTest; from mixlab.app.launch import ENTRY; "
        "at = AppTest.from_file(str(ENTRY), default_timeout=100).run(); assert not at.exception, at.exception"
    )
    told = asked(alone, tmp_path, "python", "-c", page)
    assert told.returncode == 0, told.stderr


def health(port: int, server: subprocess.Popen[bytes]) -> bool:
    """True once the server answers; False if it ended, or did not within a minute and a half."""
    for _ in range(900):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=10) as answer:
                return answer.read() == b"ok"
        except OSError:
            if server.poll() is not None:
                return False
            time.sleep(0.1)
    return False


def test_completion_is_offered(alone, tmp_path):
    told = asked(
        alone, tmp_path, "mixlab", _MIXLAB_COMPLETE="complete_bash", COMP_WORDS="mixlab runs com", COMP_CWORD="2"
    )
    assert told.stdout.split() == ["compare"], told


def test_every_extra_is_told_and_every_version_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["optional-dependencies"]) == {*doctor.EXTRAS, "dev"}
    assert {"flash", "slurm", "ray", "optimize", "lm-eval", "docs"} <= set(doctor.EXTRAS)
    pages = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in pages for name in doctor.EXTRAS), "docs/how-to.md lists the extras"
    named = {re.search(r"3\.\d+", c)[0] for c in project["classifiers"] if "Python :: 3." in c}
    assert named == {"3.11", "3.12", "3.13"} and project["requires-python"] == ">=3.11"
