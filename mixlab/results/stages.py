"""What each stage of preparation made of each source: rows for five tables of mixlab.duckdb, from the manifests.

Manifests of an older mixlab do not tell what a rule did but for the documents of which it was the reason, nor what they
were made of: those columns are None there.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mixlab.results.flat import dig
from mixlab.results.listing import read_object
from mixlab.workspace import MANIFEST

Rows = list[dict[str, Any]]
Told = dict[str, Any]
STAGES = ("raw", "clean", "contamination", "dedup", "spans", "split", "tokenizer", "tokens")
FILTERS = {"clean": 0, "contamination": 1, "dedup": 2, "spans": 3, "holdout": 4}
"""Stage that drops documents -> its place in the order."""


def prepared(root: Path, names: Sequence[str]) -> dict[str, Rows]:
    """Rows of `source` (of these columns), `filter_stage`, `filter_reason`, `contamination`, `made_of` of a lab."""
    told = {stage: _manifests(root, stage) for stage in STAGES}
    rates = _rates(told["tokens"])
    return {
        "source": _sources(told, names),
        "filter_stage": [row for clean in told["clean"] for row in _cleaned(clean, rates)] + _filtered(told),
        "filter_reason": [row for clean in told["clean"] for row in _reasons(clean)],
        "contamination": _held_out(told["split"]) + _examined(told["contamination"]),
        "made_of": [
            {"child": f"{stage}/{one['name']}", "parent": parent}
            for stage, found in told.items()
            for one in found
            for parent in one.get("made_of") or ()
        ],
    }


def _manifests(root: Path, stage: str) -> list[Told]:
    """Manifests of a stage's artefacts with `name` (the directory's), `source`, `key` and `path`, in order of names.

    Searches for evaluation items share a key between policies: theirs is the whole name.
    """
    found = list[Told]()
    for path in sorted((root / stage).glob(f"*/{MANIFEST}")):
        source, _, key = path.parent.name.rpartition("-")
        key = path.parent.name if stage == "contamination" else key
        about = {"name": path.parent.name, "key": key, "path": str(path.parent), "at": path.stat().st_mtime_ns}
        found.append({"source": source, **read_object(path), **about})
    return found


def _rates(tokens: Sequence[Told]) -> dict[str, float]:
    """Source -> tokens a byte of its newest tokenised corpus."""
    newest = sorted(tokens, key=lambda told: told["at"])
    return {t["source"]: t["tokens"] / t["bytes"] for t in newest if t.get("tokens") and t.get("bytes")}


def _sources(told: dict[str, list[Told]], names: Sequence[str]) -> Rows:
    """Tokenised sources; `licence_url` where all raw texts of the source with that licence name the same address."""
    urls: dict[tuple[str | None, str | None], set[str]] = {}
    for raw in told["raw"]:
        urls.setdefault((raw["source"], raw.get("licence")), set()).add(raw.get("licence_url") or "")
    parents = {f"clean/{c['name']}": (c.get("made_of") or [None])[0] for c in told["clean"]}
    rows = Rows()
    for one in told["tokens"]:
        row = {name: one.get(name) for name in names}
        row |= {name: json.dumps(one.get(name) or {}) for name in ("dropped", "licences")}
        found = urls.get((one["source"], one.get("licence")), set())
        row["licence_url"] = (next(iter(found)) or None) if len(found) == 1 else None
        made_of = {name.partition("/")[0]: name for name in one.get("made_of") or ()}
        row |= {"tokenizer_id": made_of.get("tokenizer"), "pipeline_id": made_of.get("clean")}
        rows.append(row | {"parent_source_id": parents.get(made_of.get("clean", ""))})
    return rows


def _cleaned(told: Told, rates: dict[str, float]) -> Rows:
    """Cleaning as a whole, and rule by rule in the profile's order: all line rules first, in one row."""
    source, rules = told["source"], told.get("rules")
    about = {"source": source, "key": told["key"], "stage": "clean", "stage_idx": 0, "profile": told.get("profile")}
    before, after = (told.get("docs_in"), told.get("bytes_in")), (told.get("docs"), told.get("bytes"))
    rows = [{**about, **_sizes(before, after, rates.get(source)), "wall_s": told.get("built_s")}]
    if rules is None:
        return rows
    docs, size = told["docs_in"], told["bytes_otherwise"]
    left = [(docs, told["bytes_in"]), (docs, size)]
    names: list[tuple[str, str | None]] = [("line rules", None)]
    for rule in (r for r in rules if r["level"] == "document"):
        docs, size = docs - rule["first"], size - rule["bytes"]
        left.append((docs, size))
        names.append((rule["rule"], json.dumps(rule["params"])))
    for i, ((name, params), (before, after)) in enumerate(zip(names, pairwise(left), strict=True)):
        row = {**about, "rule_idx": i, "rule": name, "params": params}
        rows.append(row | _sizes(before, after, rates.get(source)))
    return rows


def _sizes(before: tuple[Any, Any], after: tuple[Any, Any], rate: float | None) -> dict[str, int | None]:
    """Documents, bytes and tokens before and after; tokens at the source's rate a byte, None without one."""
    row: dict[str, int | None] = {}
    for end, (docs, size) in (("in", before), ("out", after)):
        tokens = None if rate is None or size is None else round(size * rate)
        row |= {f"docs_{end}": docs, f"bytes_{end}": size, f"tokens_{end}": tokens}
    return row


def _reasons(told: Told) -> Rows:
    """What each rule of a cleaning did; of an older one, the rules that dropped something."""
    about = {"source": told["source"], "key": told["key"], "profile": told.get("profile")}
    if (rules := told.get("rules")) is not None:
        names = {"rule": "rule", "n_docs": "docs", "n_first_hit": "first", "n_only_hit": "only", "n_lines": "lines"}
        names |= {"sample_doc_ids": "sample"}
        return [{**about, **{column: rule.get(name) for column, name in names.items()}} for rule in rules]
    docs: dict[str, int] = told.get("dropped") or {}
    lines: dict[str, int] = told.get("lines_dropped") or {}
    return [
        {**about, "rule": rule, "n_first_hit": docs.get(rule), "n_lines": lines.get(rule)}
        for rule in sorted({*docs, *lines})
    ]


def _filtered(told: dict[str, list[Told]]) -> Rows:
    """The stages after cleaning; their seconds are those of all sources together, and no row's, but for the last."""
    rows = Rows()

    def add(stage: str, one: Told, source: str, **facts: Any) -> None:
        about = {"source": source, "key": one["key"], "stage": stage, "stage_idx": FILTERS[stage]}
        rows.append({**about, **facts})

    for one in (c for c in told["contamination"] if c.get("policy") != "report"):
        for source, n in _by_source(one, "sources"):
            add("contamination", one, source, docs_in=n["docs_in"], docs_out=n["docs"])
    for one in told["dedup"]:
        for source, n in _by_source(one, "per_source"):
            add("dedup", one, source, docs_in=n["docs_in"], docs_out=n["docs_in"] - n["removed"])
    for one in told["spans"]:
        for source, n in _by_source(one, "sources"):
            add("spans", one, source, docs_in=n["docs_in"], docs_out=n["docs"])
    for one in told["tokens"]:
        dropped: dict[str, int] = one.get("dropped") or {}
        held, met = one.get("heldout_docs") or 0, dropped.get("contaminated", 0)
        sizes = {f"{what}_out": one.get(what) for what in ("docs", "bytes", "tokens")}
        if one.get("docs") is not None:
            sizes["docs_in"] = one["docs"] + held + met
        if not met and "heldout_bytes" in one:  # of documents that hold held-out text only the number is told
            sizes["bytes_in"] = one["bytes"] + one["heldout_bytes"]
            sizes["tokens_in"] = one["tokens"] + one["heldout_tokens"] + held  # with an end of text each
        add("holdout", one, one["source"], **sizes, wall_s=one.get("built_s"))
    return rows


def _by_source(told: Told, name: str) -> list[tuple[str, Any]]:
    """What an object in a manifest says of each source, in order of names."""
    found: dict[str, Any] = told.get(name) or {}
    return sorted(found.items())


def _held_out(splits: Sequence[Told]) -> Rows:
    """Documents that were dropped as they hold held-out text; how many held-out ones they hold is not told."""
    return [
        {"source": s, "key": told["key"], "task_id": "heldout", "n_docs": dig(told, "contaminated", s) or 0}
        | {"n_items": n, "removed": True, "method": "n-grams of held-out documents, and near-duplicates of them"}
        for told in splits
        for s, n in _by_source(told, "heldout")
    ]


def _examined(searches: Sequence[Told]) -> Rows:
    """Items of evaluation tasks found in a source's documents: `removed` unless they were only reported."""
    return [
        {"source": row["source"], "key": told["key"], "task_id": row["task"], "n_docs": row["docs"]}
        | {"n_items": row["items"], "n_items_hit": row["dirty"], "removed": told.get("policy") != "report"}
        | {"method": f"word n-grams of items, {told.get('policy')}"}
        for told in searches
        for row in told.get("tasks") or ()
    ]
