"""Documents on disk: Parquet files of bounded size, the same for raw and for clean text, and who of them trains.

Reads and writes `docs-*.parquet` (id, text, url, licence, meta); reads the keep and hold-out lists of later stages.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixlab.errors import EnvironmentFault
from mixlab.types import Document

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("meta", pa.string(), nullable=False),
    ]
)
FILE_BYTES = 64_000_000  # UTF-8 bytes of text per file
GROUP_BYTES = 4_000_000  # and per row group: what a reader holds at once
GROUP_DOCS = 2_000
SURROGATE = re.compile("[\ud800-\udfff]")


def write_docs(out: Path, docs: Iterable[Document], file_bytes: int = FILE_BYTES) -> tuple[int, int]:
    """Number of documents written below `out` and the UTF-8 bytes of their text.

    At least one file is written, so that an empty source can still be read. Same documents, same order: same bytes.
    """
    n_docs = n_bytes = in_file = file = 0
    writer = _writer(out, file)
    try:
        for group, size in _groups(docs):
            if in_file and in_file + size > file_bytes:
                writer.close()
                file, in_file = file + 1, 0
                writer = _writer(out, file)
            writer.write_batch(_batch(group))
            n_docs, n_bytes, in_file = n_docs + len(group), n_bytes + size, in_file + size
    finally:
        writer.close()
    return n_docs, n_bytes


def read_docs(directory: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The documents of a raw or clean artefact as Arrow batches of a few MB, in the order they were written.

    `columns`: those of `SCHEMA` that are wanted; None: all. A damaged file is an EnvironmentFault that names it.
    """
    for path in sorted(directory.glob("docs-*.parquet")):
        with damage_named(path):
            file: Any = pq.ParquetFile(path)  # its stub leaves the type of column names open
        with file:
            for group in range(file.num_row_groups):
                with damage_named(path):
                    table: pa.Table = file.read_row_group(group, columns=list(columns) if columns else None)
                yield from table.to_batches()


def docs_at(directory: Path, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Number -> the document in that place, counted from 0 in the order of writing; only their row groups are read."""
    wanted, found, start = sorted(set(numbers)), dict[int, dict[str, Any]](), 0
    for path in sorted(directory.glob("docs-*.parquet")):
        with damage_named(path):
            file: Any = pq.ParquetFile(path)  # its stub leaves the type of column names open
        with file:
            for group in range(file.num_row_groups):
                end: int = start + file.metadata.row_group(group).num_rows
                if mine := [n for n in wanted if start <= n < end]:
                    with damage_named(path):
                        table: pa.Table = file.read_row_group(group)
                    found |= {n: table.slice(n - start, 1).to_pylist()[0] for n in mine}
                start = end
    return found


def doc_of(directory: Path, doc_id: str) -> dict[str, Any] | None:
    """The document with this id, None if there is none: ids are scanned, then one row group is read."""
    compute: Any = pc  # its stub leaves the type of the value open
    start = 0
    for batch in read_docs(directory, ["id"]):
        place: int = compute.index(batch.column(0), doc_id).as_py()
        if place >= 0:
            return docs_at(directory, [start + place])[start + place]
        start += len(batch)
    return None


def verdict_of(cleaned: Path, doc_id: str) -> dict[str, Any] | None:
    """What cleaning said of one document: its row of `verdicts.parquet`, None if there is no such document."""
    found = read_list(cleaned / "verdicts.parquet", where=[("id", "=", doc_id)]).slice(0, 1).to_pylist()
    return found[0] if found else None


def read_list(
    path: Path, columns: Sequence[str] | None = None, where: Sequence[tuple[str, str, Any]] | None = None
) -> pa.Table:
    """The rows of one Parquet file of an artefact: of those columns, where all of `where` (name, operator, value) hold.

    A damaged file is an EnvironmentFault that names it.
    """
    parquet: Any = pq  # the stub leaves the type of column names open
    with damage_named(path):
        return parquet.read_table(path, columns=list(columns) if columns else None, filters=where)


def write_list(table: pa.Table, path: Path) -> None:
    """Writes a table to one Parquet file, packed by zstd."""
    parquet: Any = pq
    parquet.write_table(table, path, compression="zstd")


def column(batch: pa.RecordBatch, name: str) -> "pa.Array[Any]":
    """One column of a batch; pyarrow's stub leaves the type of what is in there open."""
    told: Any = batch
    return told[name]


def values(batch: pa.RecordBatch | pa.Table, name: str) -> list[Any]:
    """What one column holds, as Python's values; their type is for the reader of the schema to know."""
    told: Any = batch
    return told[name].to_pylist()


def storable(text: str) -> str:
    """The text with halves of surrogate pairs, which neither Arrow nor a file can hold, as U+FFFD.

    >>> storable("a\\ud800b")
    'a\ufffdb'
    """
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


def by_hash(doc_id: str) -> bytes:
    """sha1 of a document's id: the order in which documents are sampled and tokenised, the same for any input order."""
    return hashlib.sha1(doc_id.encode()).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """What became of the documents of one source after dedup and hold-out: sets of ids that do not overlap."""

    training: frozenset[str]
    heldout: frozenset[str]
    near_duplicates: frozenset[str]
    contaminated: frozenset[str]


def membership(source: str, dedup: Path, split: Path) -> Membership:
    """Who of `source` trains: the kept documents less the held-out ones less those that contain held-out text."""
    keep = ids_of(dedup / "keep.parquet", source)
    removed = ids_of(dedup / "removed.parquet", source)
    heldout = ids_of(split / "heldout.parquet", source)
    contaminated = ids_of(split / "contaminated.parquet", source) - heldout
    return Membership(
        training=keep - heldout - contaminated,
        heldout=heldout,
        near_duplicates=removed - keep - heldout - contaminated,
        contaminated=contaminated,
    )


class damage_named:  # noqa: N801 — reads as a clause: with damage_named(path)
    """Turns what pyarrow says about a damaged or missing file of an artefact into a sentence with the way out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: object) -> None:
        if isinstance(e, pa.ArrowException | FileNotFoundError) or (isinstance(e, OSError) and e.errno is None):
            raise EnvironmentFault(
                f"{self.path} is damaged or missing ({str(e).splitlines()[0]}). "
                f"Delete {self.path.parent} and run the same command again: it is made anew."
            ) from e


def _groups(docs: Iterable[Document]) -> Iterator[tuple[list[Document], int]]:
    """Documents in groups of bounded bytes and number, each with its bytes."""
    group: list[Document] = []
    size = 0
    for doc in docs:
        group.append(doc)
        size += len(doc.text.encode())
        if size >= GROUP_BYTES or len(group) >= GROUP_DOCS:
            yield group, size
            group, size = [], 0
    if group:
        yield group, size


def _writer(out: Path, number: int) -> pq.ParquetWriter:
    return pq.ParquetWriter(out / f"docs-{number:05d}.parquet", SCHEMA, compression="zstd")


def _batch(docs: Sequence[Document]) -> pa.RecordBatch:
    columns = [
        [d.id for d in docs],
        [d.text for d in docs],
        [d.url for d in docs],
        [d.licence for d in docs],
        [json.dumps(dict(sorted(d.meta.items())), ensure_ascii=False) for d in docs],
    ]
    return pa.record_batch([pa.array(c, t) for c, t in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)


def ids_of(path: Path, source: str) -> frozenset[str]:
    """Ids of one source in a list of (source, id, …)."""
    return frozenset(values(read_list(path, ["id"], [("source", "=", source)]), "id"))
