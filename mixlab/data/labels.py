"""What people say of documents: good or bad, with a note. Judgements for whoever tunes a rule; no filter reads them.

Lines of `labels.jsonl` in the lab are added, never changed: the last on a document holds.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from mixlab.data.cleaned import Cleaned
from mixlab.data.documents import verdict_of
from mixlab.errors import ConfigError, MissingError, nearest
from mixlab.workspace import Workspace, append_line, disk_errors, read_lines

VERDICTS = ("good", "bad", "none")
"""`none` takes a label away."""
COLUMNS = ["source", "id", "label", "note", "fate", "profile", "ts", "author"]


def put(ws: Workspace, told: Cleaned, doc_id: str, label: str, note: str = "") -> None:
    """Labels one document of a cleaned source; the rule that drops it, or `kept`, is written beside it.

    Raises ConfigError for another label, MissingError for a document that is not there.
    """
    if label not in VERDICTS:
        raise ConfigError(
            f"label '{label}': a document is {' or '.join(VERDICTS[:2])}, or none.{nearest(label, VERDICTS)}"
        )
    verdict = verdict_of(told.path, doc_id)
    if verdict is None:
        raise MissingError(f"there is no document '{doc_id}' in {told.path}: `mixlab data explain` names the nearest.")
    fate = "kept" if verdict["kept"] else verdict["reason"]
    row = {"ts": time.time(), "source": told.source, "id": doc_id, "label": label, "note": note.strip()}
    with disk_errors(ws.labels), FileLock(ws.root / ".labels.lock"):  # the app and a shell may write at once
        append_line(ws.labels, {**row, "fate": fate, "profile": told.profile, "author": os.environ.get("USER")})


def read(ws: Workspace, source: str | None = None) -> pd.DataFrame:
    """Labels that hold now, a row a document, the newest first: `COLUMNS`. `ts` in unix seconds."""
    last: dict[tuple[Any, Any], dict[str, Any]] = {(row["source"], row["id"]): row for row in read_lines(ws.labels)}
    held = [row for row in last.values() if row["label"] != "none" and source in (None, row["source"])]
    held.sort(key=lambda row: -row["ts"])
    return pd.DataFrame(held, columns=COLUMNS)


def export(labels: pd.DataFrame, path: Path) -> None:
    """Writes labels as .csv or .jsonl. ConfigError for another ending."""
    if path.suffix not in (".csv", ".jsonl"):
        raise ConfigError(f"--out {path}: labels are written as .csv or .jsonl.")
    with disk_errors(path):
        path.write_text(as_csv(labels) if path.suffix == ".csv" else as_lines(labels), encoding="utf-8")


def as_csv(labels: pd.DataFrame) -> str:
    """A table for a spreadsheet; a cell that would be taken for a formula opens with an apostrophe."""
    texts = labels.select_dtypes(["object", "string"]).columns
    safe = labels.assign(**{c: [_inert(v) for v in labels[c]] for c in texts})
    return safe.to_csv(index=False)


def as_lines(labels: pd.DataFrame) -> str:
    """One JSON object a line, exactly as they were given."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in labels.to_dict("records"))


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
