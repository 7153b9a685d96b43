"""Commands in the background: started detached, found again from any terminal or app, stopped by a file.

`jobs/<id>/`: job.json (what, who, when), proc.json (host, boot, and pid with start time of the keeper and of the
command; its time of change is the heartbeat), log.txt, progress.json (what the command says of itself), `cancel` (a
request to stop, which works from another machine too), exit.json (the exit code; written last).
`jobs/claims/<key>.<n>`: attempt n at the work named <key>, one winner each.

Every job has a keeper, `python -m mixlab.jobs FOLDER`: a session of its own, so that it outlives whoever started it. It
owns the command, turns `cancel` into what Ctrl-C means, after HARD_S into a kill, and always writes exit.json.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from mixlab.alive import born
from mixlab.errors import MissingError, nearest
from mixlab.workspace import Workspace, write_json

VARIABLE = "MIXLAB_JOB_DIR"
"""Tells the process of a job which folder is its own."""
TAIL_BYTES = 64 * 1024
START_S = 15.0
"""How long a job may take from its folder to its process."""
BEAT_S = 5.0
POLL_S = 0.1
HARD_S = 130.0
"""How long a command may take to write its checkpoints once asked to stop: twice a sweep's own grace and more."""
LIVE = ("starting", "running")
ENDED_BADLY = ("failed", "cancelled", "lost")


def launch(ws: Workspace, words: Sequence[str]) -> str:
    """Starts `mixlab <words>` detached from this terminal, in this directory; the job's id."""
    folder = _folder(ws, words, None)
    _start(ws, folder)
    return folder.name


def launch_once(ws: Workspace, words: Sequence[str], key: str, *, again: bool = False) -> tuple[str, bool]:
    """The job that does the work called `key`, and whether this call started it.

    One that runs or has finished is taken as it is; one that failed, was cancelled or got lost is followed by a new
    attempt. `again`: one that has finished is followed, too. Any number of callers at once start one job.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", key):
        raise ValueError(f"a key of work is letters, digits, '-' and '_', not '{key}'")
    folder = _folder(ws, words, key)
    claims = ws.jobs / "claims"
    claims.mkdir(exist_ok=True)
    (folder / "claim").write_text(folder.name)
    for n in count():
        try:
            os.link(folder / "claim", claims / f"{key}.{n}")  # atomic, and never seen half written
            break
        except FileExistsError:
            other = (claims / f"{key}.{n}").read_text()
            state = state_of(ws, other)
            if state in LIVE or (state == "finished" and not again):
                shutil.rmtree(folder)
                return other, False
    _start(ws, folder)
    return folder.name, True


def work_key(words: Sequence[str], *content: str) -> str:
    """A key for the work that a command does, here and with these contents of the files that it names."""
    told = json.dumps([str(Path.cwd()), list(words), list(content)])
    verb = re.sub(r"[^a-z0-9-]", "", words[0]) if words else ""
    return f"{verb}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def found(ws: Workspace, key: str) -> str | None:
    """The newest job that took up the work called `key`; None if there was none."""
    numbers = [p.name.rpartition(".")[2] for p in (ws.jobs / "claims").glob(f"{key}.*")]
    newest = max((int(n) for n in numbers if n.isdigit()), default=None)
    return None if newest is None else (ws.jobs / "claims" / f"{key}.{newest}").read_text()


def report(what: str, done: float, total: float, left_s: float | None = None) -> None:
    """Writes down how far this process is, if it is a job: a sentence, how much of how much, seconds still to go."""
    if folder := os.environ.get(VARIABLE):
        with suppress(OSError):  # a full disk may not fail the work that is reported on
            told = {"what": what, "done": done, "total": total, "left_s": left_s, "at": time.time()}
            tmp = Path(folder) / f".progress.{os.getpid()}"
            tmp.write_text(json.dumps(told), encoding="utf-8")
            os.replace(tmp, Path(folder) / "progress.json")


def sign(run: Path) -> None:
    """Leaves this job's name in the folder of a run that it trains, so that the run's log is found (`log_of`)."""
    if folder := os.environ.get(VARIABLE):
        write_json(run / "job.json", {"job": Path(folder).name})
    else:
        (run / "job.json").unlink(missing_ok=True)


def log_of(ws: Workspace, run: Path) -> Path | None:
    """The log of the job that trained a run last; None if it ran in a terminal."""
    log = ws.jobs / str(_read(run / "job.json").get("job")) / "log.txt"
    return log if log.is_file() else None


def cancel(ws: Workspace, job: str) -> bool:
    """Asks a job to write its checkpoints and stop; False if it has ended. MissingError if there is none of this name.

    How a job ended stays as it is: one that failed does not become one that was cancelled.
    """
    folder = ws.jobs / job
    if not re.fullmatch(r"[\w.-]+", job) or not (folder / "job.json").exists():
        known = [j["job"] for j in jobs(ws)]
        raise MissingError(f"there is no job '{job}' in {ws.jobs}.{nearest(job, known)}")
    if describe(folder)["state"] not in LIVE:
        return False
    (folder / "cancel").touch()
    process = _read(folder / "proc.json")
    child: dict[str, Any] = process.get("child") or {}
    if _is_ours(process) and not _lives(process.get("keeper")) and _lives(child):
        os.kill(child["pid"], signal.SIGINT)  # the keeper was killed: nobody else will do it
    return True


def jobs(ws: Workspace) -> list[dict[str, Any]]:
    """Jobs, oldest first: `job, words, cwd, key, created_at, ended_at, code, state, is_stopping, pid, progress, log`.

    `state`: starting, running, finished, failed, cancelled or lost. `progress`: what, done, total, left_s, at; or None.
    """
    return [describe(p.parent) for p in sorted(ws.jobs.glob("*/job.json"))]


def state_of(ws: Workspace, job: str) -> str:
    """The state of one job; `lost` if there is nothing of it."""
    return describe(ws.jobs / job)["state"]


def describe(folder: Path) -> dict[str, Any]:
    """One job, as `jobs` tells it."""
    told, process = _read(folder / "job.json"), _read(folder / "proc.json")
    child: dict[str, Any] = process.get("child") or {}
    lives = _is_running(folder, process)  # before exit.json is looked for, or one that ends between the two looks lost
    end = _read(folder / "exit.json")
    is_asked = (folder / "cancel").exists()
    if "code" in end:
        state = "finished" if end["code"] == 0 else "cancelled" if is_asked else "failed"
    elif not process:
        state = "starting" if time.time() - told.get("created_at", 0.0) < START_S else "lost"
    else:
        state = "running" if lives else "lost"
    return {
        **{name: told.get(name) for name in ("cwd", "key", "created_at")},
        **{"job": folder.name, "words": told.get("words") or [], "state": state},
        "pid": child.get("pid"),
        **{"ended_at": end.get("ended_at"), "code": end.get("code"), "is_stopping": is_asked and state in LIVE},
        **{"progress": _read(folder / "progress.json") or None, "log": str(folder / "log.txt")},
    }


def how_far(job: Mapping[str, Any]) -> str:
    """What a live job said last of itself, and how long it still takes; nothing of one that has ended.

    >>> how_far({"state": "running", "is_stopping": False, "progress": {"what": "1/3 runs", "left_s": 90.0}})
    '1/3 runs, 1.5 min left'
    """
    told = job["progress"]
    if job["state"] not in LIVE:
        return ""
    said = [] if not told else [told["what"]]
    if told and told.get("left_s") is not None and not job["is_stopping"]:
        said.append(f"{told['left_s'] / 60:.1f} min left")
    return ", ".join(["stopping", *said] if job["is_stopping"] else said)


def tail(path: Path) -> str:
    """The end of a log, without its colours."""
    with open(path, "rb") as f:
        f.seek(max(0, f.seek(0, os.SEEK_END) - TAIL_BYTES))
        return re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", f.read().decode("utf-8", "replace"))


def _folder(ws: Workspace, words: Sequence[str], key: str | None) -> Path:
    """A new job's folder, with its job.json."""
    folder = ws.jobs / (time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:6])
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "mixlab.cli", *words]
    told = {"words": list(words), "argv": argv, "hard_s": HARD_S, "cwd": str(Path.cwd()), "created_at": time.time()}
    write_json(folder / "job.json", {**told, "key": key})
    return folder


def _start(ws: Workspace, folder: Path) -> None:
    """The keeper, in a session of its own; reaped by a thread, should whoever started it live on."""
    env = {**os.environ, VARIABLE: str(folder), "MIXLAB_HOME": str(ws.root)}
    with open(folder / "log.txt", "ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "mixlab.jobs", str(folder)],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
        )  # fmt: skip
    threading.Thread(target=keeper.wait, daemon=True).start()


def keep(folder: Path) -> None:
    """The keeper's life: starts the command, beats, passes on a request to stop, writes down how it ended."""
    for asks in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asks, lambda _signal, _frame: (folder / "cancel").touch())
    told, us = _read(folder / "job.json"), {**_here(), "keeper": _identity(os.getpid())}
    try:
        child = subprocess.Popen(told["argv"], cwd=told["cwd"], stdin=subprocess.DEVNULL, process_group=0)
    except OSError as e:
        sys.stderr.write(f"the command could not be started: {e}\n")
        write_json(folder / "exit.json", {"code": 127, "ended_at": time.time()})
        return
    write_json(folder / "proc.json", {**us, "child": _identity(child.pid)})
    asked, beat = None, time.monotonic()
    while child.poll() is None:
        time.sleep(POLL_S)
        now = time.monotonic()
        if now - beat > BEAT_S:
            beat = now
            os.utime(folder / "proc.json")
        if asked is None and (folder / "cancel").exists():
            asked = now
            child.send_signal(signal.SIGINT)
        elif asked is not None and now - asked > told["hard_s"]:
            _end(child.pid)
    if asked is not None:
        _end(child.pid)  # whatever it left behind
    write_json(folder / "exit.json", {"code": child.returncode, "ended_at": time.time()})


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _is_running(folder: Path, process: dict[str, Any]) -> bool:
    """True if the keeper or its command lives; on another host, if the heartbeat is fresh."""
    if not process:
        return False
    if process.get("host") != socket.gethostname():
        with suppress(FileNotFoundError):
            return time.time() - (folder / "proc.json").stat().st_mtime < 3 * BEAT_S
        return False
    return _is_ours(process) and (_lives(process.get("keeper")) or _lives(process.get("child")))


def _is_ours(process: dict[str, Any]) -> bool:
    """True if the process was started on this machine since it was switched on."""
    return bool(process) and {name: process.get(name) for name in ("host", "boot")} == _here()


def _here() -> dict[str, str | None]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {"host": socket.gethostname(), "boot": boot.read_text().strip() if boot.exists() else None}


def _identity(pid: int) -> dict[str, Any]:
    """A pid with the start time of its process: a pid alone is used again."""
    return {"pid": pid, "born": born(pid)}


def _lives(identity: dict[str, Any] | None) -> bool:
    return bool(identity) and identity["born"] is not None and born(identity["pid"]) == identity["born"]


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
