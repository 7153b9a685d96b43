"""Sweeps in the background: started detached, found again from any terminal, stopped by a file.

`jobs/<id>/`: job.json (what, who, when), proc.json (host, pid and when that process started), log.txt, `cancel` (a
request to stop, which works from another machine too), exit.json (the exit code; written last).
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixlab.claims import born
from mixlab.errors import MissingError, nearest
from mixlab.workspace import Workspace, write_json

VARIABLE = "MIXLAB_JOB_DIR"
"""Tells the process of a job which folder is its own."""
TAIL_BYTES = 64 * 1024
START_S = 15.0
"""How long a job may take from its folder to its process."""


def launch(ws: Workspace, words: Sequence[str]) -> str:
    """Starts `mixlab <words>` detached from this terminal; the job's id."""
    job = time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:6]
    folder = ws.jobs / job
    folder.mkdir(parents=True)
    write_json(folder / "job.json", {"words": list(words), "cwd": str(Path.cwd()), "created_at": time.time()})
    env = {**os.environ, VARIABLE: str(folder), "MIXLAB_HOME": str(ws.root)}
    with open(folder / "log.txt", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mixlab.cli", *words],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
        )  # fmt: skip
    write_json(folder / "proc.json", {"host": socket.gethostname(), "pid": process.pid, "born": born(process.pid)})
    return job


def ended(code: int) -> None:
    """Writes down how this process ended, if it is a job."""
    if folder := os.environ.get(VARIABLE):
        write_json(Path(folder) / "exit.json", {"code": code, "ended_at": time.time()})


def is_cancelled() -> bool:
    """True if this process is a job that was asked to stop."""
    folder = os.environ.get(VARIABLE)
    return folder is not None and (Path(folder) / "cancel").exists()


def cancel(ws: Workspace, job: str) -> None:
    """Asks a job to write its checkpoints and stop. MissingError if there is none of this name."""
    if not (ws.jobs / job).is_dir():
        known = [j["job"] for j in jobs(ws)]
        raise MissingError(f"there is no job '{job}' in {ws.jobs}.{nearest(job, known)}")
    (ws.jobs / job / "cancel").touch()


def jobs(ws: Workspace) -> list[dict[str, Any]]:
    """Jobs, oldest first: `job, words, created_at, state`: starting, running, finished, failed, cancelled, lost."""
    return [_describe(p.parent) for p in sorted(ws.jobs.glob("*/job.json"))]


def tail(path: Path) -> str:
    """The end of a log, without its colours."""
    with open(path, "rb") as f:
        f.seek(max(0, f.seek(0, os.SEEK_END) - TAIL_BYTES))
        return re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", f.read().decode("utf-8", "replace"))


def _describe(folder: Path) -> dict[str, Any]:
    told, process = _read(folder / "job.json"), _read(folder / "proc.json")
    here = process.get("host") == socket.gethostname()
    lives = bool(process) and (not here or born(process["pid"]) == process["born"])  # before exit.json is looked for
    code = _read(folder / "exit.json").get("code")
    if code is not None:
        state = "finished" if code == 0 else "cancelled" if (folder / "cancel").exists() else "failed"
    elif not process:
        state = "starting" if time.time() - told.get("created_at", 0.0) < START_S else "lost"
    else:
        state = "running" if lives else "lost"
    return {"job": folder.name, "words": told.get("words") or [], "state": state, "created_at": told.get("created_at")}


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
