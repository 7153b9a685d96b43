"""What the page System reads: devices, disk, the store and its check, the doctor. Writes nothing."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from mixlab import doctor
from mixlab.results import check as checking
from mixlab.results.store import Store
from mixlab.workspace import Workspace


def devices() -> pd.DataFrame:
    """Cores, memory and GPUs of this machine: device, found."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = [("CPU cores", str(cores)), ("memory", _gib(_memory()))]
    rows += [("GPU", check.found) for check in doctor.examine() if check.name == "GPU"]
    return pd.DataFrame(rows, columns=["device", "found"])


def doctors_word() -> pd.DataFrame:
    """Every check of `mixlab doctor`, those with a fix first: what, found, state, fix."""
    words = {(True, True): "ok", (True, False): "ok", (False, True): "missing", (False, False): "optional"}
    rows: list[dict[str, Any]] = [
        {"what": c["name"], "found": c["found"], "state": words[c["is_ok"], c["is_needed"]]}
        | {"fix": "" if c["is_ok"] else c["remedy"]}
        for c in map(asdict, doctor.examine())
    ]
    order = ["missing", "optional", "ok"]
    rows.sort(key=lambda r: order.index(r["state"]))
    return pd.DataFrame(rows)


def disk(ws: Workspace) -> dict[str, Any]:
    """Bytes free and in all on the lab's disk, and `parts`: how much each folder of the lab takes, largest first."""
    usage = shutil.disk_usage(ws.root)
    sizes = {p.name: _size(p) for p in ws.root.iterdir() if not p.name.startswith(".")}
    rows = sorted(sizes.items(), key=lambda kv: -kv[1])
    frame = pd.DataFrame([(name, n / 1e6) for name, n in rows], columns=["part", "MB"])
    return {"free": usage.free, "total": usage.total, "parts": frame}


def store(ws: Workspace) -> dict[str, Any]:
    """The index: `bytes` and `published_at` (unix seconds), None if there is none; `is_whole`; runs in the lab."""
    path = ws.database
    stat = path.stat() if path.exists() else None
    told = {"bytes": stat and stat.st_size, "published_at": stat and stat.st_mtime, "runs": len(ws.runs())}
    return {**told, "is_whole": Store.open(ws).is_published()}


def damage(ws: Workspace) -> pd.DataFrame:
    """What `mixlab db check` finds: file, what, fix; empty if the lab is whole. Reads every file of every run."""
    rows = [(str(p.path), p.what, p.remedy) for p in checking.check(ws)]
    return pd.DataFrame(rows, columns=["file", "what", "fix"])


def _size(path: Path) -> int:
    """Bytes below a path; what vanishes meanwhile counts nothing."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(f"{folder}/{name}").st_size  # many files: a Path takes twice as long
            except FileNotFoundError:
                continue
    return total


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gib(n: int) -> str:
    return f"{n / 2**30:.1f} GiB"
