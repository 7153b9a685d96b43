"""Files of known formats → records: text files, JSON, JSON lines, CSV, Parquet, SQLite. Knows formats, not sources.

Bytes that are not UTF-8 are read as cp1252, else as latin-1, line by line. Large formats are streamed.
"""

import csv
import gzip
import io
import itertools
import json
import re
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from mixlab.errors import SourceError, nearest

Record = Mapping[str, Any]
UNREADABLE = (
    *(OSError, EOFError, zlib.error, zstandard.ZstdError, pa.ArrowException),
    *(csv.Error, sqlite3.Error, json.JSONDecodeError, RecursionError),
)
"""What a damaged file, or one of another format, raises while it is read."""
JSON_LINES: Mapping[str, Callable[[BinaryIO], Any]] = {
    ".jsonl": lambda raw: raw,
    ".jsonl.gz": lambda raw: gzip.GzipFile(fileobj=raw),
    ".jsonl.zst": lambda raw: io.BufferedReader(
        zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(raw, read_across_frames=True), 2**20
    ),
}
TEXT = (".txt", ".md", ".rst")


def decoded(content: bytes) -> str:
    """Bytes as text: UTF-8, else cp1252, else latin-1, which knows every byte.

    >>> decoded("é".encode()), decoded(b"\\xe9"), decoded(b"\\x81")
    ('é', 'é', '\\x81')
    """
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def normalised(text: str) -> str:
    """Text with LF line ends, no NUL, no trailing blanks, at most one blank line in a row, and nothing around it.

    Halves of surrogate pairs, which no file can hold, become U+FFFD.

    >>> normalised("  a \\r\\n\\n\\n\\nb\\x00 ")
    'a\\n\\nb'
    """
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    text = "\n".join(line.rstrip() for line in text.split("\n"))  # a regex for trailing blanks is quadratic
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def file_format(path: Path) -> str:
    """The ending that tells how a file is read; SourceError with the list if it is none we know."""
    known = [*JSON_LINES, *TEXT, ".json", ".csv", ".parquet", ".db", ".sqlite"]
    for ending in known:
        if path.name.lower().endswith(ending):
            return ending
    raise SourceError(f"{path}: cannot tell the format from the name. Known endings: {', '.join(known)}.")


def of_file(path: Path, wanted: Sequence[str], query: str | None) -> Iterator[tuple[str | None, Record]]:
    """(key or None, record) for each record of one file; a text file is one record with the field `text`.

    `wanted`: fields that are needed, read even if a Parquet column of theirs is not text. `query`: for SQLite.
    """
    ending = file_format(path)
    if ending in TEXT:
        yield None, {"text": decoded(path.read_bytes())}
    elif ending == ".json":
        yield from of_json(path.read_bytes())
    elif ending in (".db", ".sqlite"):
        yield from of_sqlite(path.read_bytes(), query)
    elif ending == ".parquet":
        yield from ((None, r) for r in _parquet(path, wanted))
    else:
        with open(path, "rb") as raw:
            if ending == ".csv":
                yield from ((None, r) for r in _csv(raw))
            else:
                yield from of_lines(JSON_LINES[ending](raw))


def of_lines(lines: Iterable[bytes]) -> Iterator[tuple[None, Record]]:
    """One record per JSON line; blank lines are none. A line that is no object is a SourceError with its number."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(decoded(line))
        except json.JSONDecodeError as e:
            raise SourceError(f"line {number} is not JSON ({e})") from e
        if not isinstance(record, dict):
            raise SourceError(f"line {number} is {type(record).__name__}, not an object of fields")
        yield None, record


def of_json(content: bytes) -> Iterator[tuple[str | None, Record]]:
    """Records of a JSON file: an object of records gives each its key, a list of records gives none."""
    tree: dict[str, Any] | list[Any] | str | float | None = json.loads(decoded(content))
    if not isinstance(tree, dict | list):
        raise SourceError(f"the file holds {type(tree).__name__}, not an object or a list of records")
    pairs = tree.items() if isinstance(tree, dict) else ((None, r) for r in tree)
    for key, record in pairs:
        if not isinstance(record, dict):
            raise SourceError(f"record {key!r} is {type(record).__name__}, not an object of fields")
        yield key, record


def of_sqlite(content: bytes, query: str | None) -> Iterator[tuple[str, Record]]:
    """One record per id: (id, text) rows of `query`, neighbours with the same id joined by a line break.

    The database lies in memory and refuses every change.
    """
    if not query:
        raise SourceError("reader sqlite needs a `query`: a SELECT that gives (id, text) rows")
    db = sqlite3.connect(":memory:")
    try:
        db.deserialize(content)
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA query_only = ON")
        rows = db.execute(query)
        if rows.description is None or len(rows.description) != 2:
            raise SourceError("the query must give two columns: id and text")
        for doc_id, group in itertools.groupby(rows, key=lambda row: row[0]):
            yield str(doc_id), {"text": "\n".join(str(text) for _, text in group if text is not None)}
    finally:
        db.close()


def text_of(record: Record, field: str) -> str:
    """The text of a record: a field, or several (`a+b`) with a blank line between; null is empty."""
    parts = list[str]()
    for name in field.split("+"):
        if name not in record:
            raise SourceError(f"no field '{name}' to take text from.{nearest(name, record)}")
        value = record[name]
        if value is not None and not isinstance(value, str):
            raise SourceError(f"field '{name}' holds {type(value).__name__}, not text")
        parts.append(value or "")
    return "\n\n".join(p for p in parts if p)


def _csv(raw: BinaryIO) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses texts over 128 kB
    for number, row in enumerate(csv.DictReader(decoded(line) for line in raw), 1):
        if None in row or None in row.values():
            raise SourceError(f"row {number} does not have the columns of the first line")
        yield row


def _parquet(path: Path, wanted: Sequence[str]) -> Iterator[Record]:
    with pq.ParquetFile(path) as opened:
        file: Any = opened  # its stub leaves the type of column names open
        schema: pa.Schema = file.schema_arrow
        kinds = zip(schema.names, schema.types, strict=True)
        text = [name for name, kind in kinds if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
        columns = [n for n in schema.names if n in text or n in wanted]
        for batch in file.iter_batches(batch_size=1000, columns=columns):
            yield from batch.to_pylist()
