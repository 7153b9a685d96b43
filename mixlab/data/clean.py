"""A raw source becomes a clean one: a profile over its documents, every verdict kept.

Reads `raw/…/docs-*.parquet`; writes `clean/…/docs-*.parquet` (the kept) and `verdicts.parquet` (all documents).
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixlab.data.across import Losers, line_losers, random_losers, url_losers
from mixlab.data.documents import damage_named, read_list, write_docs, write_list
from mixlab.data.lines import Outcome
from mixlab.data.processes import Job, results
from mixlab.data.profiles import steps_of
from mixlab.data.rules import Cleaned, clean_by, without_lines
from mixlab.data.steps import ACROSS, LineDedup, RandomDrop, Step, UrlDedup
from mixlab.data.tally import Tally
from mixlab.errors import EnvironmentFault
from mixlab.types import Document
from mixlab.workspace import lands_at

VERSION = 4
"""Raised when the same profile gives other text or another verdict."""
MANY_SHARDS = 24  # 190 MB: from here on processes are worth their start
SHARD_BYTES = 8_000_000  # of text, before compression: who ends last makes the others wait half of it
VERDICTS = pa.schema(
    [
        ("id", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("rules_hit", pa.list_(pa.string())),
        ("lines_dropped", pa.map_(pa.string(), pa.int32())),
        ("measures", pa.map_(pa.string(), pa.float64())),
        ("bytes_in", pa.int64()),
        ("bytes_out", pa.int64()),
        ("bytes_otherwise", pa.int64()),
    ]
)
"""`measures`: rule -> what it compared with its threshold. `bytes_out` is 0 for a dropped document; `bytes_otherwise`:
what its text would have without document-level rules."""

logger = logging.getLogger(__name__)


def clean_source(
    raw: Path, profile: str, out: Path, progress: Callable[[int, int], None] | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Facts of the clean artefact written to `out`: profile, docs and bytes in and out, what each rule did.

    Memory holds one shard a worker. A document's verdict does not depend on the order of documents, nor do the files
    on the number of `workers` (None: one per core if there is much to read). A document whose text is blank in the
    end is dropped as `empty`. Rules that compare documents take an extra pass each. `progress` is told after each
    shard.
    Raises ConfigError for an unknown profile, EnvironmentFault for a damaged raw file.
    """
    began = monotonic()
    steps = steps_of(profile)
    shards = shards_of(raw)
    total = shards[-1].end
    workers = workers or (1 if len(shards) < MANY_SHARDS else os.cpu_count() or 1)
    losers = _compare(raw, steps, out)
    tally = Tally()
    with tempfile.TemporaryDirectory(dir=out, prefix=".parts-") as folder:
        jobs = [
            (clean_shard, profile, shard, {i: gone.between(shard.start, shard.end) for i, gone in losers.items()}, part)
            for shard, part in ((shard, Path(folder) / f"{i:05d}") for i, shard in enumerate(shards))
        ]
        with pq.ParquetWriter(out / "verdicts.parquet", VERDICTS, compression="zstd") as writer:
            for i, (job, made) in enumerate(zip(jobs, _results(jobs, workers), strict=True)):
                tally.include(made)
                (job[-1] / "docs-00000.parquet").rename(out / f"docs-{i:05d}.parquet")
                writer.write_table(read_list(job[-1] / "verdicts.parquet"))
                if progress:
                    progress(tally.docs_in, total)
    kept, seconds = tally.docs, monotonic() - began
    logger.info("clean: %s keeps %d of %d documents, %.1f s, %s", profile, kept, tally.docs_in, seconds, lands_at(out))
    return {"profile": profile, **tally.facts(steps)}


@dataclass(frozen=True, slots=True)
class Shard:
    """Some row groups of one raw file: what one worker holds at a time."""

    path: Path
    groups: tuple[int, ...]
    start: int
    end: int
    """Numbers of the documents: from `start`, up to but without `end`."""


def shards_of(raw: Path) -> list[Shard]:
    """The shards of a raw artefact, at least one; they depend on its files alone."""
    shards: list[Shard] = []
    end = 0
    for path in sorted(raw.glob("docs-*.parquet")):
        with damage_named(path), pq.ParquetFile(path) as file:
            facts = file.metadata
        groups: list[int] = []
        start = end
        size = 0
        for group in range(facts.num_row_groups):
            told = facts.row_group(group)
            groups, end, size = [*groups, group], end + told.num_rows, size + told.total_byte_size
            if size >= SHARD_BYTES:
                shards.append(Shard(path, tuple(groups), start, end))
                groups, start, size = [], end, 0
        if groups or not shards:
            shards.append(Shard(path, tuple(groups), start, end))
    return shards


def _results(jobs: Sequence[Job], workers: int) -> Iterator[Any]:
    """What the jobs return, in their order."""
    try:
        yield from results(jobs, workers)
    except BrokenProcessPool as e:
        raise EnvironmentFault(
            "a worker process died while documents were cleaned (killed, or out of memory). Run the same command "
            "again, with fewer workers if memory is short."
        ) from e


def clean_shard(profile: str, shard: Shard, losers: Mapping[int, Losers], out: Path) -> Tally:
    """Sums over one shard, whose kept documents and verdicts are written to the new folder `out`."""
    out.mkdir()
    steps, tally = steps_of(profile), Tally()
    rows: list[dict[str, Any]] = []

    def kept() -> Iterator[Document]:
        for doc, text, row in _judged(shard, steps, losers):
            tally.add(row)
            rows.append(row)
            if text is not None:
                yield Document(id=doc.id, text=text, url=doc.url, licence=doc.licence, meta=doc.meta)

    write_docs(out, kept(), file_bytes=sys.maxsize)
    write_list(_table(rows), out / "verdicts.parquet")
    return tally


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of verdicts as Arrow."""
    columns = dict[str, Any]()
    for name, kind in zip(VERDICTS.names, VERDICTS.types, strict=True):
        column = [row[name] for row in rows]
        columns[name] = _maps(column, kind) if pa.types.is_map(kind) else pa.array(column, kind)
    return pa.table(columns, VERDICTS)


def _maps(column: Sequence[Mapping[str, Any]], kind: Any) -> "pa.MapArray[Any, Any]":
    """A column of maps: four times as fast by its parts as by lists of pairs."""
    arrow: Any = pa  # its stub knows ends of 64 bits only
    ends = arrow.array(accumulate(map(len, column), initial=0), pa.int32())
    keys = arrow.array([key for row in column for key in row], kind.key_type)
    items = arrow.array([v for row in column for v in row.values()], kind.item_type)
    return arrow.MapArray.from_arrays(ends, keys, items)


def _judged(
    shard: Shard, steps: tuple[Step, ...], losers: Mapping[int, Losers]
) -> Iterator[tuple[Document, str | None, dict[str, Any]]]:
    """Each document with its text if it is kept, and its row of `verdicts.parquet`."""
    for number, doc in _documents(shard):
        made = _cleaned(number, doc, steps, losers)
        hits = made.rules_hit if made.otherwise.strip() else (*made.rules_hit, "empty")
        text = None if hits else made.text
        row = {
            "id": doc.id,
            "kept": text is not None,
            "reason": hits[0] if hits else None,
            "rules_hit": list(hits),
            "lines_dropped": made.lines_dropped,
            "measures": made.measures,
            "bytes_in": len(doc.text.encode()),
            "bytes_out": 0 if text is None else len(text.encode()),
            "bytes_otherwise": len(made.otherwise.encode()),
        }
        yield doc, text, row


def _documents(shard: Shard) -> Iterator[tuple[int, Document]]:
    """The documents of a shard with their numbers, one by one."""
    number = shard.start
    with damage_named(shard.path):
        file: Any = pq.ParquetFile(shard.path)  # its stub leaves the type of column names open
    with file:
        for group in shard.groups:
            with damage_named(shard.path):
                table: pa.Table = file.read_row_group(group, use_threads=False)  # each core has its worker
            for row in table.to_pylist():
                yield number, Document(**{**row, "meta": json.loads(row["meta"])})
                number += 1


def _compare(raw: Path, steps: tuple[Step, ...], scratch: Path) -> dict[int, Losers]:
    """Position of each step that compares documents -> what it removes, given the steps before it."""
    losers: dict[int, Losers] = {}
    for i, step in enumerate(steps):
        if not isinstance(step, ACROSS):
            continue
        if isinstance(step, RandomDrop):
            losers[i] = _drawn(raw, steps_of(step.of), scratch)
            continue
        alive = (
            (number, doc, made.text) for number, doc, made in _all(raw, steps[:i], losers) if made.text is not None
        )
        if isinstance(step, UrlDedup):
            losers[i] = url_losers((number, doc.url, doc.id) for number, doc, _ in alive)
        else:
            losers[i] = line_losers(((number, doc.url or doc.id, doc.id, text) for number, doc, text in alive), scratch)
    return losers


def _drawn(raw: Path, steps: tuple[Step, ...], scratch: Path) -> Losers:
    """The documents that a random drop removes, so that as many bytes stay as `steps` leave."""
    target, docs = 0, list[tuple[int, str, int]]()
    for number, doc, made in _all(raw, steps, _compare(raw, steps, scratch)):
        if made.text is not None and made.text.strip():
            target += len(made.text.encode())
        if doc.text.strip():
            docs.append((number, doc.id, len(doc.text.encode())))
    return random_losers(docs, target)


def _all(raw: Path, steps: tuple[Step, ...], losers: Mapping[int, Losers]) -> Iterator[tuple[int, Document, Cleaned]]:
    """Every document of a raw artefact with what some steps make of it."""
    for shard in shards_of(raw):
        for number, doc in _documents(shard):
            yield number, doc, _cleaned(number, doc, steps, losers)


def _cleaned(number: int, doc: Document, steps: tuple[Step, ...], losers: Mapping[int, Losers]) -> Cleaned:
    """One document by the steps, those that compare documents as decided."""
    decided = {i: partial(_decided, steps[i], losers[i], number) for i in losers if i < len(steps)}
    return clean_by(doc.text, steps, doc.url or doc.id, decided)


def _decided(step: Step, losers: Losers, number: int, text: str, is_alive: bool) -> Outcome:
    """What a comparison made of one document; one that was dropped before took no part and is left alone."""
    if not is_alive:
        return Outcome(text)
    gone = losers.of(number)
    if isinstance(step, LineDedup):
        return without_lines(text, gone.__contains__, step)
    return Outcome(text, ("random-drop" if isinstance(step, RandomDrop) else "duplicate-url",) if gone else ())
