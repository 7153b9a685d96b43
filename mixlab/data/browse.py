"""Documents of a cleaned source, a page at a time: who was kept, who went, because of what. Writes nothing.

Reads verdicts and the lists of dedup and hold-out by SQL with LIMIT, and text only of the rows on the page, by their
place in the raw files: a source of a million documents opens as fast as one of a hundred.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pandas as pd

from mixlab.data import atlas
from mixlab.data.cleaned import Cleaned, raw_of
from mixlab.data.documents import docs_at
from mixlab.data.profiles import steps_of
from mixlab.data.rulebook import RULES, rules_of, threshold_of
from mixlab.workspace import Workspace, is_complete, read_manifest

FATES: Mapping[str, str] = MappingProxyType(
    {
        "kept": "It is trained on.",
        "dropped": "A cleaning rule drops it.",
        "evaluation item": "It holds an item of an evaluation task.",
        "duplicate": "Another document, which is kept, says nearly the same.",
        "contaminated": "It holds text of a held-out document.",
        "held out": "It is kept for evaluation.",
    }
)
"""What can become of a document, in the order of the stages, with what it means."""
SNIPPET = 160
"""Characters of the text on a page of documents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """What later stages say of a cleaned source: directories, None where that stage has not run on it."""

    dedup: Path | None = None
    split: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Which documents are wanted; the defaults want all."""

    fate: str | None = None
    rule: str | None = None
    """A document rule that would drop it, or a line rule that drops one of its lines."""
    only: bool = False
    """No other document rule would drop it: it would come back if the rule were off."""
    part: str = ""
    """Part of its id, in any case."""
    ids: Sequence[str] | None = None
    """One of these."""


def lists_of(ws: Workspace, told: Cleaned) -> Lists:
    """The newest dedup over exactly the documents that this cleaning keeps, and the newest hold-out of it."""
    docs = read_manifest(told.path)["docs"]
    met = [read_manifest(p).get("sources", {}).get(told.source, {}) for p in _newest(ws.root / "contamination")]
    sizes = {docs, *(docs - m.get("dropped", 0) for m in met)}
    pool = next((p for p in _newest(ws.root / "dedup") if _is_pool_of(p, told, sizes)), None)
    if pool is None:
        return Lists()
    return Lists(dedup=pool, split=next((p for p in _newest(ws.root / "split") if _is_split_of(p, pool)), None))


def fates(told: Cleaned, lists: Lists) -> pd.DataFrame:
    """What became of the documents of a source: fate, docs, bytes (before cleaning), bytes_out (after it)."""
    query = "SELECT fate, count(*) AS docs, sum(bytes_in)::BIGINT AS bytes, sum(bytes_out)::BIGINT AS bytes_out "
    with _documents(told, lists) as db:
        found: Any = db.execute(query + "FROM document GROUP BY fate").df()
    order = {fate: i for i, fate in enumerate(FATES)}

    def place(fate: "pd.Series[Any]") -> "pd.Series[Any]":
        return fate.map(order)

    return found.sort_values("fate", key=place, ignore_index=True)


def count(told: Cleaned, lists: Lists, ask: Ask) -> int:
    """How many documents are wanted."""
    where, given = _where(ask)
    with _documents(told, lists) as db:
        return db.execute(f"SELECT count(*) FROM document WHERE {where}", given).fetchall()[0][0]


def page(ws: Workspace, told: Cleaned, lists: Lists, ask: Ask, *, size: int, number: int) -> pd.DataFrame:
    """Page `number`, from 1, of the wanted documents in the order of the raw files, `size` on each.

    Columns: number (place in the raw files), id, fate, reason (the rule, or how alike), why (value and threshold in
    words), rules_hit, lines_dropped (how many), bytes_in, bytes_out, kept_source, kept_id, jaccard, text (its start).
    """
    where, given = _where(ask)
    window = {"size": size, "skip": size * (max(1, number) - 1)}
    query = f"SELECT * FROM document WHERE {where} ORDER BY number LIMIT $size OFFSET $skip"
    with _documents(told, lists) as db:
        rows = db.sql(query, params=given | window).to_arrow_table().to_pylist()
    texts, limits = docs_at(raw_of(ws, told), [row["number"] for row in rows]), thresholds(told)
    for row in rows:
        measures: dict[str, float] = dict(row.pop("measures") or ())
        dropped: dict[str, int] = dict(row["lines_dropped"] or ())
        row["lines_dropped"] = sum(dropped.values())
        row["why"] = "; ".join(_why(rule, measures, limits) for rule in row["rules_hit"])
        if row["fate"] == "duplicate":
            row["why"] = "too few words to compare"  # unless it was compared
        if row["kept_id"] is not None:
            row["why"] = f"J {row['jaccard']:.3f}, {row['reason']}: {row['kept_source']} {row['kept_id']}"
        text = texts[row["number"]]["text"]
        row["text"] = text[:SNIPPET] + ("…" if len(text) > SNIPPET else "")
    columns = ["number", "id", "fate", "reason", "why", "rules_hit", "lines_dropped", "bytes_in", "bytes_out"]
    return pd.DataFrame(rows, columns=[*columns, "kept_source", "kept_id", "jaccard", "text"])


def thresholds(told: Cleaned) -> dict[str, float]:
    """Rule -> its threshold in this source's profile, for those that have one."""
    found: dict[str, float] = {}
    for step in steps_of(told.profile):
        for rule in rules_of((step,)):
            if rule.sense and (limit := threshold_of(step, rule)) is not None:
                found[rule.name] = limit
    return found


def stages(ws: Workspace, cleaned: list[Cleaned]) -> pd.DataFrame:
    """The waterfall of `atlas.waterfall`, and after it what evaluation items, duplicates and the hold-out leave.

    Columns: source, step, docs, bytes, tokens. The last row of a source is what is trained on.
    """
    fall = atlas.waterfall(cleaned)
    rows = list[tuple[Any, ...]]()
    for told in cleaned:
        lists = lists_of(ws, told)
        left = fall.loc[fall["source"] == told.source].iloc[-1]
        docs, size = int(left["docs"]), int(left["bytes"])
        gone = {r["fate"]: r for r in fates(told, lists).to_dict("records")}
        for fate in _stages_after(lists):
            if fate == "evaluation item" and fate not in gone:
                continue
            docs -= int(gone[fate]["docs"]) if fate in gone else 0
            size -= int(gone[fate]["bytes_out"]) if fate in gone else 0
            rows.append((told.source, STEP_WORDS[fate], docs, size, told.tokens(size)))
    more = pd.DataFrame(rows, columns=list(fall.columns))
    both = pd.concat([fall, more]) if rows else fall
    return both.sort_values("source", kind="stable", ignore_index=True)


STEP_WORDS = {
    "evaluation item": "evaluation items",
    "duplicate": "duplicates",
    "contaminated": "holds held-out text",
    "held out": "held out",
}


def _stages_after(lists: Lists) -> list[str]:
    after = ["evaluation item", "duplicate"] if lists.dedup else []
    return [*after, "contaminated", "held out"] if lists.split else after


def _why(rule: str, measures: Mapping[str, float], limits: Mapping[str, float]) -> str:
    if rule in measures and rule in limits:
        return f"{rule}: {RULES[rule].words(measures[rule], limits[rule])}"
    return rule


def _where(ask: Ask) -> tuple[str, dict[str, Any]]:
    """SQL for a wish, and the values in it."""
    parts, given = ["true"], dict[str, Any]()
    if ask.fate:
        parts, given = [*parts, "fate = $fate"], given | {"fate": ask.fate}
    if ask.rule:
        parts.append("(list_contains(rules_hit, $rule) OR list_contains(map_keys(lines_dropped), $rule))")
        given["rule"] = ask.rule
    if ask.only:
        parts.append("len(rules_hit) = 1")
    if ask.part:
        parts, given = [*parts, "contains(lower(id), lower($part))"], given | {"part": ask.part}
    if ask.ids is not None:
        parts, given = [*parts, "list_contains($ids::VARCHAR[], id)"], given | {"ids": list(ask.ids)}
    return " AND ".join(parts), given


@contextmanager
def _documents(told: Cleaned, lists: Lists) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection with the view `document`: every document of the source with its fate."""
    lost = _of(lists.dedup, "removed", told.source)
    joins = [
        f"LEFT JOIN {lost} r ON r.id = v.id",
        f"LEFT JOIN {_of(lists.split, 'heldout', told.source)} h ON h.id = v.id",
        f"LEFT JOIN {_of(lists.split, 'contaminated', told.source)} c ON c.id = v.id",
        f"LEFT JOIN {_of(lists.dedup, 'keep', told.source)} k ON k.id = v.id",
    ]
    is_item = "r.id IS NULL AND k.id IS NULL" if lists.dedup else "false"
    columns = (
        "r.kept_source, r.kept_id, r.jaccard"
        if lists.dedup
        else "NULL AS kept_source, NULL AS kept_id, NULL AS jaccard"
    )
    likeness = "coalesce(v.reason, r.reason)" if lists.dedup else "v.reason"
    with duckdb.connect() as db:
        db.execute(
            f"""CREATE VIEW document AS SELECT v.file_row_number AS number, v.id, v.rules_hit, v.lines_dropped,
                v.measures, v.bytes_in, v.bytes_out, {likeness} AS reason, {columns},
                CASE WHEN NOT v.kept THEN 'dropped' WHEN h.id IS NOT NULL THEN 'held out'
                     WHEN c.id IS NOT NULL THEN 'contaminated' WHEN r.id IS NOT NULL THEN 'duplicate'
                     WHEN {is_item} THEN 'evaluation item' ELSE 'kept' END AS fate
                FROM read_parquet({_quoted(told.path / "verdicts.parquet")}, file_row_number = true) v
                {" ".join(joins)}"""
        )
        yield db


def _of(directory: Path | None, name: str, source: str) -> str:
    """SQL for the rows of one source in a list of (source, id, …); no rows without a directory."""
    if directory is None:
        return "(SELECT NULL::VARCHAR AS id WHERE false)"
    return f"(FROM read_parquet({_quoted(directory / f'{name}.parquet')}) WHERE source = {_quoted(source)})"


def _quoted(text: Path | str) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _newest(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("*-????????") if is_complete(p)), key=lambda p: -p.stat().st_mtime_ns)


def _is_pool_of(pool: Path, told: Cleaned, sizes: set[int]) -> bool:
    """True if the pool holds, of this source, documents that the cleaning keeps, and as many as it should."""
    keep, lost = (_of(pool, name, told.source) for name in ("keep", "removed"))
    verdicts = _quoted(told.path / "verdicts.parquet")
    query = f"""SELECT count(*), count(*) FILTER (v.id IS NULL)
                FROM (SELECT id FROM {keep} UNION ALL SELECT id FROM {lost}) p
                LEFT JOIN (SELECT id FROM read_parquet({verdicts}) WHERE kept) v USING (id)"""
    with duckdb.connect() as db:
        there, unknown = db.execute(query).fetchall()[0]
    return there in sizes and not unknown


def _is_split_of(split: Path, pool: Path) -> bool:
    """True if every held-out document was kept by this dedup, over the same sources."""
    if set(read_manifest(split).get("heldout", {})) != set(read_manifest(pool).get("per_source", {})):
        return False
    held, keep = (_quoted(folder / f"{name}.parquet") for folder, name in ((split, "heldout"), (pool, "keep")))
    query = f"SELECT count(*) FROM read_parquet({held}) h ANTI JOIN read_parquet({keep}) k USING (source, id)"
    with duckdb.connect() as db:
        return not db.execute(query).fetchall()[0][0]
