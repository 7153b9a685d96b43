"""What is there, what is missing, and what it would give. Reads versions, folders and devices; changes nothing."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mixlab import __version__
from mixlab.workspace import Workspace

EXTRAS: Mapping[str, str] = {
    "flash": "model.attn_impl=flash, on a CUDA machine; the other attentions work without it",
    "slurm": "python -m mixlab -m … hydra/launcher=submitit_slurm: each run of a sweep a Slurm job",
    "ray": "hydra/launcher=ray, and dedup.executor=ray for documents over a cluster",
    "optimize": "mixlab sweep --optimize: Optuna chooses the weights",
    "lm-eval": "the same tasks asked by lm-evaluation-harness, to check ours against",
    "generation": "ROUGE-L and BLEU of generated answers",
    "docs": "mkdocs serve: the pages of docs/ as a site",
}
"""Extra of pyproject.toml -> what it gives. (`dev`, for those who change mixlab, is not told.)"""
FREE_GB = 2.0
"""The demo leaves about 0.2 GB; a swarm with checkpoints a few."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    found: str
    is_ok: bool
    is_needed: bool = True
    remedy: str = ""


def examine() -> list[Check]:
    """Every check, needed ones first."""
    return [_python(), *map(_package, _requires("")), *_home(), _pip(), _gpu(), *map(_extra, EXTRAS), _browser()]


def report() -> dict[str, object]:
    """The checks as plain values, with the version of mixlab."""
    return {"mixlab": __version__, "checks": [asdict(c) for c in examine()]}


def _python() -> Check:
    fine = sys.version_info >= (3, 11)
    return Check(name="python", found=platform.python_version(), is_ok=fine, remedy="use Python 3.11 or newer")


def _package(name: str) -> Check:
    try:
        return Check(name=name, found=importlib.metadata.version(name), is_ok=True)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=name, found="missing", is_ok=False, remedy=f"pip install {name}, or make install")


def _requires(extra: str) -> list[str]:
    """Packages that mixlab's own metadata asks for: the needed ones, or those of an extra."""
    asked = [re.split(r"[^\w.-]", told, maxsplit=1) for told in importlib.metadata.requires("mixlab") or []]
    named = [(name, re.findall(r"extra == ['\"](.*?)['\"]", rest)) for name, rest in asked]
    return [name for name, extras in named if extras == ([extra] if extra else [])]


def _extra(name: str) -> Check:
    """Is every package of an extra there?"""
    packages = _requires(name) or [f"the list of [{name}]; install mixlab again"]  # an older installation lacks it
    missing = [package for package in packages if not _package(package).is_ok]
    found = f"missing: {', '.join(missing)}" if missing else "there"
    remedy = f"pip install 'mixlab[{name}]' gives {EXTRAS[name]}"
    return Check(name=f"[{name}]", found=found, is_ok=not missing, is_needed=False, remedy=remedy)


def _home() -> list[Check]:
    told = "$MIXLAB_HOME" if os.environ.get("MIXLAB_HOME") else "the default ./lab"
    path = Path(os.environ.get("MIXLAB_HOME") or "lab").absolute()
    there = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(there).free / 1e9
    writable = os.access(there, os.W_OK)
    runs = len(Workspace(path).runs())
    return [
        Check(name="lab", found=f"{path} ({told}), {runs} runs", is_ok=writable, remedy="set MIXLAB_HOME elsewhere"),
        Check(name="free disk", found=f"{free:.1f} GB", is_ok=free > FREE_GB, remedy="free some space or move the lab"),
    ]


def _pip() -> Check:
    there = next(iter(importlib.metadata.distributions(name="pip")), None)
    remedy = "python -m ensurepip; sources of kind pypi need it"
    found = "missing" if there is None else there.version
    return Check(name="pip", found=found, is_ok=there is not None, is_needed=False, remedy=remedy)


def _gpu() -> Check:
    tool = shutil.which("nvidia-smi")
    names = ""
    if tool:
        asked = [tool, "--query-gpu=name", "--format=csv,noheader"]
        names = ", ".join(subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.split("\n")).strip(
            ", "
        )
    remedy = "without a GPU, proxies of up to about a million parameters train on the CPU"
    return Check(name="GPU", found=names or "none", is_ok=bool(names), is_needed=False, remedy=remedy)


def _browser() -> Check:
    path = shutil.which("chromium")
    remedy = "apt-get install chromium: only the app's browser tests need it"
    return Check(name="chromium", found=path or "missing", is_ok=bool(path), is_needed=False, remedy=remedy)
