"""Who trains which run, where several machines share one lab: numbered attempts, each won by one process alone.

`claims/<run>.<n>` is made by exclusive create. The next number may be taken once attempt n has ended, its process is
gone from this machine, or its heartbeat has not moved for STALE_S *while we watched*: clocks are never compared, so one
that is wrong or goes backwards steals nothing. A taken-over process that wakes up is told to stop; what both may have
written meanwhile is the same, as a run is a function of its spec.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixlab.alive import born
from mixlab.errors import EnvironmentFault, MissingError
from mixlab.workspace import Workspace

logger = logging.getLogger(__name__)
BEAT_S = 10.0
STALE_S = 3 * BEAT_S
POLL_S = 0.5
Sign = tuple[str, int]
"""An attempt and its last sign of life: what must move."""


class Watching:
    """Remembers when each foreign claim last showed a sign of life, by this process's own monotonic clock."""

    def __init__(self, ws: Workspace):
        self.ws = ws
        self._seen: dict[str, tuple[Sign, float]] = {}

    def is_taken(self, run: str) -> bool:
        """True if another living process holds the run."""
        return self._holds(run, _last(self.ws, run))

    def take(self, run: str) -> Path | None:
        """Our claim on the run, if nobody living holds it and nobody was faster; else None."""
        last = _last(self.ws, run)  # looked up once: whoever comes in between has the number we try for
        return None if self._holds(run, last) else _take(self.ws, run, last)

    def _holds(self, run: str, last: Path | None) -> bool:
        if last is None or not _may_live(last):
            return False
        try:
            sign = (last.name, last.stat().st_mtime_ns)
        except FileNotFoundError:
            return False
        seen, since = self._seen.get(run, (None, 0.0))
        if seen != sign:
            self._seen[run] = (sign, time.monotonic())
            return True
        return time.monotonic() - since < STALE_S


@contextmanager
def hold(ws: Workspace, run: str, is_done: Callable[[], bool]) -> Generator[None]:
    """Holds the claim on a run for the time of the block, waiting while another process does; `is_done` ends the wait.

    The claims of a run that is done are removed.
    """
    watching = Watching(ws)
    while (mine := watching.take(run)) is None:
        if is_done():
            yield
            return
        time.sleep(POLL_S)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(ws, run, mine, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()
        if is_done():
            for claim in reversed(_all(ws, run)):
                claim.unlink(missing_ok=True)
        elif mine.exists():
            _write(mine, {**_me(), "released": True})


def stop(ws: Workspace, run: str) -> None:
    """Asks the process of this machine that trains the run to write a checkpoint and stop.

    MissingError if no process trains it; EnvironmentFault if it is one of another machine, which no signal reaches.
    """
    last = _last(ws, run)
    told = {} if last is None else _read(last)
    if told and not told.get("released") and told.get("host") != socket.gethostname():
        raise EnvironmentFault(
            f"{run} is trained on {told['host']}, and this is {socket.gethostname()}. Cancel it there, or cancel its "
            "job: `mixlab runs status` lists the jobs."
        )
    if last is None or not _may_live(last):
        raise MissingError(f"nobody trains {run} now, so nothing was cancelled. `mixlab runs status` tells what runs.")
    os.kill(told["pid"], signal.SIGTERM)


def _take(ws: Workspace, run: str, last: Path | None) -> Path | None:
    """The claim of the attempt after `last` if we win it, else None."""
    number = 0 if last is None else int(last.suffix[1:]) + 1
    ws.claims.mkdir(parents=True, exist_ok=True)
    path = ws.claims / f"{run}.{number}"
    mine = ws.claims / f".{run}.{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    try:
        _write(mine, _me())
        os.link(mine, path)  # exclusive, and never seen half written
    except FileExistsError:
        return None
    finally:
        mine.unlink(missing_ok=True)
    if number:
        logger.warning("%s: attempt %d takes over from %s", run, number, last)
    return path


def _beat(ws: Workspace, run: str, mine: Path, over: threading.Event) -> None:
    """Shows every BEAT_S that we live; stops this process if another attempt has begun."""
    while not over.wait(BEAT_S):
        try:
            os.utime(mine)
        except OSError as e:
            logger.warning("the heartbeat of %s cannot be written: %s", mine, e)
        last = _last(ws, run)
        if last is not None and last != mine:
            logger.error("%s was taken over by %s while this process slept: stopping", run, last)
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _may_live(claim: Path) -> bool:
    """False if the attempt has ended, or its process is gone from this machine; another machine's may live."""
    told = _read(claim)
    if not told or told.get("released"):
        return False
    here = _me()
    if any(told.get(k) != here[k] for k in ("host", "boot")):
        return told.get("host") != here["host"]  # this machine, before it was restarted: gone
    return born(told["pid"]) == told["born"] and told["pid"] != here["pid"]


def _read(claim: Path) -> dict[str, Any]:
    """What a claim says; nothing if it is gone, or damaged: it is made whole by link(), so only a disk leaves less."""
    try:
        return json.loads(claim.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def _me() -> dict[str, str | int | None]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    told = boot.read_text().strip() if boot.exists() else None
    return {"host": socket.gethostname(), "boot": told, "pid": os.getpid(), "born": born(os.getpid())}


def _all(ws: Workspace, run: str) -> list[Path]:
    """The claims on a run, in the order of their numbers."""
    if not ws.claims.is_dir():
        return []
    names = [
        n
        for n in (p.name for p in ws.claims.iterdir())
        if n.rpartition(".")[0] == run and n.rpartition(".")[2].isdigit()
    ]
    return [ws.claims / n for n in sorted(names, key=lambda n: int(n.rpartition(".")[2]))]


def _last(ws: Workspace, run: str) -> Path | None:
    return (_all(ws, run) or [None])[-1]


def _write(path: Path, told: Mapping[str, object]) -> None:
    tmp = path.with_name(f".{path.name}.tmp-{os.getpid()}-{threading.get_ident()}")
    try:
        tmp.write_text(json.dumps(told), encoding="utf-8")
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)
