"""Which documents are held out from training, and which training documents contain them.

Reads clean directories and a dedup directory; writes heldout.parquet and contaminated.parquet. Whole near-duplicate
components are held out or not. Then every training document is read again and compared with every held-out one, so
that after the contaminated ones are dropped no near-duplicate pair straddles the border, found by MinHash or not.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlab.data.contamination import build_index, check_planted, search
from mixlab.data.documents import column, read_docs, read_list, values, write_list
from mixlab.errors import EnvironmentFault, SourceError
from mixlab.seeds import seed_of
from mixlab.types import Holdout
from mixlab.workspace import lands_at

VERSION = 1
Name = tuple[str, str]  # source, id

NAMED = [("source", pa.string()), ("id", pa.string())]
WITNESS = [("heldout_source", pa.string()), ("heldout_id", pa.string()), ("overlap", pa.float64())]
HELDOUT = pa.schema(NAMED)
CONTAMINATED = pa.schema([*NAMED, *WITNESS, ("jaccard", pa.float64())])
logger = logging.getLogger(__name__)


def split_pool(clean: Mapping[str, Path], dedup: Path, spec: Holdout, out: Path) -> dict[str, Any]:
    """Manifest facts; writes heldout.parquet (source, id) and contaminated.parquet to `out`.

    A training document is contaminated if it holds more than `spec.max_overlap` of a held-out document's n-grams, or is
    its near-duplicate as the dedup stage defines it (its shingles, its threshold). Its row names the worst held-out
    document; where only the shingles say so, `jaccard` is told and `overlap` counts shingles. Raises SourceError for a
    source that is too small, EnvironmentFault if `dedup` is not about `clean`.
    """
    out.mkdir(parents=True, exist_ok=True)
    keep, near = _read_keep(dedup)
    heldout = choose(keep, spec, sorted(clean))
    contaminated = _contaminated(clean, keep, heldout, spec, near)
    _refuse_empty(keep, heldout, contaminated)
    rows = [{"source": s, "id": i} for s, i in heldout]
    write_list(pa.Table.from_pylist(rows, HELDOUT), out / "heldout.parquet")
    write_list(pa.Table.from_pylist(contaminated, CONTAMINATED), out / "contaminated.parquet")
    found = Counter(row["source"] for row in contaminated)
    held = Counter(source for source, _ in heldout)
    logger.info("split: %d documents held out, %d contaminated, %s", len(heldout), len(contaminated), lands_at(out))
    return {
        "heldout": {source: held[source] for source in sorted(clean)},
        "contaminated": {source: found[source] for source in sorted(clean)},
        "planted_found": len(heldout),
    }


def choose(keep: Mapping[Name, int], spec: Holdout, sources: list[str]) -> list[Name]:
    """The held-out documents, sorted: whole components of `keep` ((source, id) -> component).

    Components come in the order of a hash of (seed, smallest (source, id)); one is taken if every document in it still
    fits into the target of its source, frac of the source's documents within [min_docs, max_docs].
    """
    have = Counter(source for source, _ in keep)
    room = {source: _target(source, have[source], spec) for source in sources}
    target = dict(room)
    members: dict[int, list[Name]] = defaultdict(list)
    for name in sorted(keep):
        members[keep[name]].append(name)
    taken: list[Name] = []
    for component in sorted(members.values(), key=lambda names: seed_of(spec.seed, "holdout", *names[0])):
        wants = Counter(source for source, _ in component)
        if all(count <= room[source] for source, count in wants.items()):
            taken += component
            for source, count in wants.items():
                room[source] -= count
    for source in sources:
        if target[source] - room[source] < spec.min_docs:
            raise SourceError(
                f"source '{source}': only {target[source] - room[source]} of {target[source]} documents can be held "
                f"out (at least {spec.min_docs} are asked for): the other near-duplicate groups are too large to hold "
                "out whole. Lower holdout.min_docs, turn dedup.remove on, or add documents."
            )
    return sorted(taken)


def _target(source: str, have: int, spec: Holdout) -> int:
    if have < max(2 * spec.min_docs, 1):
        raise SourceError(
            f"source '{source}' has {have} documents after cleaning and dedup; holdout.min_docs = {spec.min_docs} "
            f"needs at least {max(2 * spec.min_docs, 1)}, so that no more than half is held out. Add documents, "
            f"loosen its cleaning profile, or set holdout.min_docs to at most {have // 2}."
        )
    return min(max(round(spec.frac * have), spec.min_docs), spec.max_docs)


def _contaminated(
    clean: Mapping[str, Path], keep: Container[Name], heldout: list[Name], spec: Holdout, near: tuple[int, float]
) -> list[dict[str, Any]]:
    """One row per contaminated training document, sorted, with its worst witness; `near`: shingle size, Jaccard.

    The held-out documents pass through the same search as planted items: each must be found in itself.
    """
    texts = _texts(clean, heldout)
    contains, alike = build_index(texts, spec.ngram), build_index(texts, near[0])
    rows: dict[Name, dict[str, Any]] = {}
    found: list[int] = []
    is_heldout = set(heldout)
    for names, batch in _batches(clean, keep):
        shares = search(contains, batch, min(spec.max_overlap, 0.99))  # a planted document has 1
        found += [h for t, h in zip(shares["train"], shares["heldout"], strict=True) if names[t] == heldout[h]]
        shares = shares[shares["overlap"] > spec.max_overlap]
        shingles = search(alike, batch, near[1] * 0.99)  # a Jaccard of t needs a share of t
        shingles = shingles[shingles["jaccard"] >= near[1]]
        for hits, by_shingle in ((shares, False), (shingles, True)):
            hits.sort(order=["overlap", "heldout"])
            worst_first: list[tuple[int, int, int, float, float]] = hits[::-1].tolist()
            for train, held, _, overlap, jaccard in worst_first:
                row = (*names[train], *heldout[held], overlap, jaccard if by_shingle else None)
                if names[train] not in is_heldout:
                    rows.setdefault(names[train], dict(zip(CONTAMINATED.names, row, strict=True)))
    check_planted(contains, np.array(found, np.int64))
    return [rows[name] for name in sorted(rows)]


def _texts(clean: Mapping[str, Path], names: list[Name]) -> list[str]:
    """Texts of the held-out documents, in their order."""
    wanted = set(names)
    texts: dict[Name, str] = {}
    for found, batch in _batches(clean, wanted):
        contents: list[Any] = batch.to_pylist()
        texts.update(zip(found, contents, strict=True))
    missing = sorted(wanted - texts.keys())
    if missing:
        raise EnvironmentFault(
            f"{len(missing)} held-out documents, first {missing[0]}, are not in the clean directories: the dedup "
            "directory is about other ones. Delete it and run `mixlab data prepare` again."
        )
    return [texts[name] for name in names]


def _batches(clean: Mapping[str, Path], wanted: Container[Name]) -> "Iterator[tuple[list[Name], pa.Array[Any]]]":
    """(names, texts) of the wanted documents, a few MB at a time."""
    for source in sorted(clean):
        for batch in read_docs(clean[source], ["id", "text"]):
            names = [(source, doc) for doc in values(batch, "id")]
            is_wanted = [name in wanted for name in names]
            if any(is_wanted):
                kept = [name for name, yes in zip(names, is_wanted, strict=True) if yes]
                yield kept, column(batch, "text").filter(pa.array(is_wanted))


def _refuse_empty(keep: Mapping[Name, int], heldout: list[Name], contaminated: list[dict[str, Any]]) -> None:
    left = Counter(source for source, _ in keep)
    gone = Counter(source for source, _ in heldout)
    dropped = Counter(row["source"] for row in contaminated)
    for source, count in left.items():
        if count <= gone[source] + dropped[source]:
            raise SourceError(
                f"source '{source}' has no training document left: of {count}, {gone[source]} are held out and "
                f"{dropped[source]} contain held-out text. Raise holdout.max_overlap, lower holdout.min_docs, or look "
                "at what its documents share."
            )


def _read_keep(dedup: Path) -> tuple[dict[Name, int], tuple[int, float]]:
    """Component of each kept document, and what the dedup stage calls a near-duplicate: words per shingle, Jaccard."""
    table = read_list(dedup / "keep.parquet", ["source", "id", "component"])
    told = table.schema.metadata or {}
    names = zip(values(table, "source"), values(table, "id"), strict=True)
    keep = dict(zip(names, values(table, "component"), strict=True))
    return keep, (int(told[b"ngram"]), float(told[b"threshold"]))
