"""What each stage of preparation made of each source: rows for four tables of mixlab.duckdb, from the manifests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixlab.results.listing import read_object
from mixlab.workspace import MANIFEST

Rows = list[dict[str, Any]]


def prepared(root: Path, names: Sequence[str]) -> dict[str, Rows]:
    """Rows of `source` (with these columns), `filter_stage`, `filter_reason` and `contamination` of a lab."""
    stages, reasons = _cleaned(root)
    return {
        "source": _sources(root, names),
        "filter_stage": stages + _deduplicated(root),
        "filter_reason": reasons,
        "contamination": _contaminated(root),
    }


def _sources(root: Path, names: Sequence[str]) -> Rows:
    """Tokenised sources; `licence_url` where all raw texts of the source with that licence name the same address."""
    urls: dict[tuple[str | None, str | None], set[str]] = {}
    for path in _manifests(root, "raw"):
        told = read_object(path)
        urls.setdefault((told.get("source"), told.get("licence")), set()).add(told.get("licence_url") or "")
    rows = []
    for path in _manifests(root, "tokens"):
        told = {**_named(path), **read_object(path)}
        row = {name: told.get(name) for name in names} | {"path": str(path.parent)}
        row |= {name: json.dumps(told.get(name) or {}) for name in ("dropped", "licences")}
        found = urls.get((told.get("source"), told.get("licence")), set())
        rows.append(row | {"licence_url": (next(iter(found)) or None) if len(found) == 1 else None})
    return rows


def _cleaned(root: Path) -> tuple[Rows, Rows]:
    """(stages, reasons): documents and bytes before and after, and what each rule dropped."""
    stages, reasons = [], []
    for path in _manifests(root, "clean"):
        told = read_object(path)
        about = {**_named(path), "profile": told.get("profile")}
        sizes = {"docs_in": told.get("docs_in"), "docs_out": told.get("docs"), "wall_s": told.get("built_s")}
        sizes |= {"bytes_in": told.get("bytes_in"), "bytes_out": told.get("bytes")}
        stages.append({**about, "stage_idx": 0, "stage": "clean", **sizes})
        docs, lines = told.get("dropped") or {}, told.get("lines_dropped") or {}
        reasons += [
            {**about, "rule": rule, "n_docs": docs.get(rule, 0), "n_lines": lines.get(rule, 0)}
            for rule in sorted({*docs, *lines})
        ]
    return stages, reasons


def _deduplicated(root: Path) -> Rows:
    """Stages that know documents alone; their seconds are those of all sources together, and no row's."""
    rows = []
    for path in _manifests(root, "dedup"):
        about = {"key": _named(path)["key"], "stage_idx": 1, "stage": "dedup"}
        for source, n in sorted((read_object(path).get("per_source") or {}).items()):
            sizes = {"docs_in": n.get("docs_in"), "docs_out": n.get("docs_in", 0) - n.get("removed", 0)}
            rows.append({"source": source, **about, **sizes})
    return rows


def _contaminated(root: Path) -> Rows:
    """Documents that were dropped as they hold held-out text."""
    rows = []
    for path in _manifests(root, "split"):
        told, key = read_object(path), _named(path)["key"]
        held, hit = told.get("heldout") or {}, told.get("contaminated") or {}
        rows += [
            {"source": s, "key": key, "task_id": "heldout", "n_docs": hit.get(s, 0), "n_items": held[s]}
            | {"removed": True, "method": "n-grams of held-out documents, and near-duplicates of them"}
            for s in sorted(held)
        ]
    return rows


def _manifests(root: Path, stage: str) -> list[Path]:
    return sorted((root / stage).glob(f"*/{MANIFEST}"))


def _named(manifest: Path) -> dict[str, str]:
    """Source and key, as the name of an artefact's directory tells them."""
    source, _, key = manifest.parent.name.rpartition("-")
    return {"source": source, "key": key}
