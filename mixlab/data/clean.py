"""A raw source becomes a clean one: a profile over its documents, every verdict kept.

Reads `raw/…/docs-*.parquet`; writes `clean/…/docs-*.parquet` (the kept) and `verdicts.parquet` (all documents).
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixlab.data.across import Losers, line_losers, url_losers
from mixlab.data.documents import read_docs, write_docs
from mixlab.data.lines import Outcome
from mixlab.data.profiles import steps_of
from mixlab.data.rules import Cleaned, clean_by, without_lines
from mixlab.data.steps import ACROSS, LineDedup, Step, UrlDedup
from mixlab.types import Document
from mixlab.workspace import read_manifest

VERSION = 1
"""Raised when the same profile gives other text or another verdict."""
FLUSH_ROWS = 5_000
VERDICTS = pa.schema(
    [
        ("id", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("rules_hit", pa.list_(pa.string())),
        ("lines_dropped", pa.map_(pa.string(), pa.int32())),
        ("bytes_in", pa.int64()),
        ("bytes_out", pa.int64()),
        ("bytes_otherwise", pa.int64()),
    ]
)
"""`bytes_out` is 0 for a dropped document; `bytes_otherwise`: what its text would have without document-level rules."""

logger = logging.getLogger(__name__)


def clean_source(
    raw: Path, profile: str, out: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Facts of the clean artefact written to `out`: profile, docs and bytes in and out, dropped, lines_dropped.

    Documents stream; memory holds one row group. A document's verdict does not depend on the order of documents. One
    whose text is blank in the end is dropped as `empty`. Rules that compare documents take an extra pass each.
    Raises ConfigError for an unknown profile, EnvironmentFault for a damaged raw file.
    """
    began = monotonic()
    steps = steps_of(profile)
    total = int(read_manifest(raw)["docs"]) if progress else 0
    tally = _Tally()
    judged = _judged(raw, steps, _compare(raw, steps, out))
    with pq.ParquetWriter(out / "verdicts.parquet", VERDICTS, compression="zstd") as writer:

        def kept() -> Iterator[Document]:
            for doc, text, row in judged:
                tally.add(row)
                if len(tally.rows) >= FLUSH_ROWS:
                    writer.write_table(tally.table())
                if text is not None:
                    yield Document(id=doc.id, text=text, url=doc.url, licence=doc.licence, meta=doc.meta)
                if progress:
                    progress(tally.docs, total)
            writer.write_table(tally.table())

        docs, n_bytes = write_docs(out, kept())
    logger.info("clean: %s keeps %d of %d documents, %.1f s, %s", profile, docs, tally.docs, monotonic() - began, out)
    return {
        "profile": profile,
        "docs_in": tally.docs,
        "docs": docs,
        "bytes_in": tally.bytes_in,
        "bytes": n_bytes,
        "dropped": dict(sorted(tally.dropped.items())),
        "lines_dropped": dict(sorted(tally.lines_dropped.items())),
    }


@dataclass(kw_only=True, slots=True)
class _Tally:
    """Sums over the verdicts so far, and the rows not written yet."""

    docs: int = 0
    bytes_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    lines_dropped: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        self.docs += 1
        self.bytes_in += row["bytes_in"]
        self.dropped.update([row["reason"]] if row["reason"] else [])
        self.lines_dropped.update(row["lines_dropped"])
        self.rows.append(row)

    def table(self) -> pa.Table:
        """The rows that wait, which then wait no longer."""
        rows, self.rows = self.rows, []
        return pa.Table.from_pylist(rows, VERDICTS)


def _judged(
    raw: Path, steps: tuple[Step, ...], losers: dict[int, Losers]
) -> Iterator[tuple[Document, str | None, dict[str, Any]]]:
    """Each document with its text if it is kept, and its row of `verdicts.parquet`."""
    for number, doc in enumerate(_documents(raw)):
        made = _cleaned(number, doc, steps, losers)
        hits = made.rules_hit if made.otherwise.strip() else (*made.rules_hit, "empty")
        text = None if hits else made.text
        row = {
            "id": doc.id,
            "kept": text is not None,
            "reason": hits[0] if hits else None,
            "rules_hit": list(hits),
            "lines_dropped": dict(made.lines_dropped),
            "bytes_in": len(doc.text.encode()),
            "bytes_out": 0 if text is None else len(text.encode()),
            "bytes_otherwise": len(made.otherwise.encode()),
        }
        yield doc, text, row


def _documents(raw: Path) -> Iterator[Document]:
    """The documents of a raw artefact, one by one."""
    for batch in read_docs(raw):
        for row in batch.to_pylist():
            yield Document(**{**row, "meta": json.loads(row["meta"])})


def _compare(raw: Path, steps: tuple[Step, ...], scratch: Path) -> dict[int, Losers]:
    """Position of each step that compares documents -> what it removes, given the steps before it."""
    losers: dict[int, Losers] = {}
    for i, step in enumerate(steps):
        if not isinstance(step, ACROSS):
            continue
        alive = (
            (number, doc, made.text)
            for number, doc in enumerate(_documents(raw))
            if (made := _cleaned(number, doc, steps[:i], losers)).text is not None
        )
        if isinstance(step, UrlDedup):
            losers[i] = url_losers((number, doc.url, doc.id) for number, doc, _ in alive)
        else:
            losers[i] = line_losers(((number, doc.url or doc.id, doc.id, text) for number, doc, text in alive), scratch)
    return losers


def _cleaned(number: int, doc: Document, steps: tuple[Step, ...], losers: dict[int, Losers]) -> Cleaned:
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
    return Outcome(text, ("duplicate-url",) if gone else ())
