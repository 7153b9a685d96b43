"""Drafts: what a page is being filled with, on disk, so that a reload or a crash loses nothing.

Reads and writes `lab/drafts/<name>.json`, whole or not at all. A draft is plain JSON values; whoever takes one back
checks it again, as it may be of another day or another version.
"""

import json
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlab.errors import ConfigError
from mixlab.workspace import Workspace, disk_errors, write_json

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def save(name: str, values: Mapping[str, Any], ws: Workspace | None = None) -> float:
    """Keeps `values` as the draft of this name; when, in unix seconds. The same values again are not written again."""
    path = _path(name, ws)
    before = _read(path)
    told = json.loads(json.dumps(dict(values)))  # as it will come back
    if before is not None and before["values"] == told:
        return before["saved_at"]
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    now = time.time()
    write_json(path, {"saved_at": now, "values": told})
    return now


def as_command(name: str, values: Mapping[str, Any], ws: Workspace | None = None) -> str:
    """The shell lines that write the same draft."""
    path = _path(name, ws)
    shown, folder = shlex.quote(str(path)), shlex.quote(str(path.parent))
    told = shlex.quote(json.dumps(dict(values)))
    return f'mkdir -p {folder} && printf \'{{"saved_at": %s.0, "values": %s}}\' "$(date +%s)" {told} > {shown}'


def load(name: str, ws: Workspace | None = None) -> dict[str, Any] | None:
    """The draft's values; None if there is none, or if its file is damaged."""
    told = _read(_path(name, ws))
    return None if told is None else told["values"]


def saved_at(name: str, ws: Workspace | None = None) -> float | None:
    """When the draft was last changed, in unix seconds; None if there is none."""
    told = _read(_path(name, ws))
    return None if told is None else told["saved_at"]


def drop(name: str, ws: Workspace | None = None) -> None:
    """Removes the draft if it is there."""
    _path(name, ws).unlink(missing_ok=True)


def names(ws: Workspace | None = None) -> list[str]:
    """Drafts there are, by name."""
    folder = (ws or Workspace.open()).drafts
    return sorted(p.stem for p in folder.glob("*.json") if NAME.fullmatch(p.stem))


def _path(name: str, ws: Workspace | None):
    if not NAME.fullmatch(name):
        raise ConfigError(f"a draft cannot be called '{name}': lower-case letters, digits, '-' and '_', 1 to 64.")
    return (ws or Workspace.open()).drafts / f"{name}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] | list[Any] | str | float | None = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if isinstance(told, dict) and isinstance(told.get("values"), dict) and isinstance(told.get("saved_at"), float):
        return told
    return None
