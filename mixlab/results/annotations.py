"""What people say of a run: a star, tags, a note, and that it is put away. Lines of `annotations.jsonl` in its folder.

Lines are added, never changed: of those with one kind and key the last holds, as in the table `annotation`. They are no
part of the run: results, rankings and advice do not read them; `archive` hides a run from lists and deletes nothing.
"""

import os
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

from mixlab.errors import ConfigError, MissingError
from mixlab.results.listing import read_rows
from mixlab.workspace import append_line, disk_errors

FILE = "annotations.jsonl"
ON, OFF = "on", "off"
LONGEST_TAG = 40  # characters; longer ones are notes


def star(run: Path, *, on: bool = True) -> None:
    """Marks a run as one to come back to."""
    _add(run, "star", "", ON if on else OFF)


def tag(run: Path, name: str, *, on: bool = True) -> None:
    """Puts a tag on a run, or takes it off. ConfigError for one that is empty, has a comma or is longer than 40."""
    name = name.strip()
    if not name or "," in name or len(name) > LONGEST_TAG or not name.isprintable():
        raise ConfigError(f"'{name}' is no tag: 1 to {LONGEST_TAG} printable characters without a comma.")
    _add(run, "tag", name, ON if on else OFF)


def note(run: Path, text: str) -> None:
    """Replaces the note on a run; an empty one takes it away."""
    _add(run, "note", "", text.strip())


def archive(run: Path, *, on: bool = True) -> None:
    """Puts a run away, so that lists leave it out, or brings it back. Its files stay."""
    _add(run, "archive", "", ON if on else OFF)


def remarks(run: Path) -> dict[str, Any]:
    """What holds now: `is_starred, is_archived, tags` (sorted), `note` ("" if there is none)."""
    last = {(r.get("kind"), r.get("key")): r.get("value") for r in read_rows(run / FILE)}
    tags = sorted(str(key) for (kind, key), value in last.items() if kind == "tag" and value == ON)
    found: dict[str, Any] = {f"is_{adjective}": last.get((kind, "")) == ON for kind, adjective in ADJECTIVES.items()}
    return {**found, "tags": tags, "note": last.get(("note", "")) or ""}


ADJECTIVES = {"star": "starred", "archive": "archived"}


def _add(run: Path, kind: str, key: str, value: str) -> None:
    if not (run / "run.json").exists():
        raise MissingError(f"there is no run in {run} any more: `mixlab runs ls` lists those that are there.")
    line = {"ts": time.time(), "kind": kind, "key": key, "value": value, "author": os.environ.get("USER")}
    with disk_errors(run / FILE), FileLock(run / ".annotations.lock"):  # the app and a shell may write at once
        append_line(run / FILE, line)
