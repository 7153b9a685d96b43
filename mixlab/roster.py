"""Which runs a sweep asked for: writes `sweeps/<name>.json`.

A run is trained once, and asked for by as many sweeps as like; its run.json names the one that trained it.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from filelock import FileLock

from mixlab.errors import ConfigError
from mixlab.results.listing import read_object
from mixlab.workspace import Workspace, disk_errors, write_json

ADHOC = "adhoc"
"""A sweep that nobody named."""


def called(file: str | None, asked: Sequence[str]) -> str:
    """Name of a sweep: what `sweep=…` among its settings says, else its file's. ConfigError as `check`.

    >>> called("swarm", ["seed=0,1"]), called(None, ["seed=0,1"]), called(None, ["seed=0,1", "sweep=first"])
    ('swarm', 'adhoc', 'first')
    """
    typed = [one.partition("=")[2] for one in asked if one.startswith("sweep=")]
    told = typed[-1] if typed else file or ADHOC
    check(told)
    return told


def check(sweep: str) -> None:
    """ConfigError unless a sweep can be called so."""
    if not re.fullmatch(r"\w[\w. -]*", sweep):
        raise ConfigError(
            f"a sweep cannot be called '{sweep}', as its list is a file of that name: use letters, digits, '_', '-', "
            "'.' and spaces, and begin with one of the first three."
        )


def enlist(ws: Workspace, sweep: str, runs: Sequence[str], about: Mapping[str, Any] | None = None) -> None:
    """Puts runs on the list of a sweep, after those that stand there; `about`: what else its file tells.

    Safe among processes, of several machines too. ConfigError as `check`; EnvironmentFault if the disk is full or
    read-only.
    """
    check(sweep)
    path = ws.sweeps / f"{sweep}.json"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{sweep}.lock")):
            before = read_object(path)
            told: dict[str, Any] = {"runs": [], "created_at": time.time(), **before, **(about or {}), "name": sweep}
            told["runs"] = list(dict.fromkeys([*told["runs"], *runs]))
            if told != before:
                write_json(path, told)
