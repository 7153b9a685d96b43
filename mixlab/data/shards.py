"""Kept documents → one memory-mapped file of tokens and its held-out documents; and back, checked.

Reads a clean artefact, the keep and hold-out lists and a tokenizer; writes `tokens.bin`, `ends.npy`, `ids.parquet`,
`heldout.parquet`. Documents lie in the order of sha1(id), each followed by end-of-text, whatever order they came in.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlab.data.documents import Membership, by_hash, membership, read_docs, read_list, values, write_list
from mixlab.data.tokenizer import Tokenizer, load
from mixlab.errors import EnvironmentFault, SourceError
from mixlab.types import Corpus, Source
from mixlab.workspace import file_sha256, lands_at, read_manifest

VERSION = 1
"""Raised when the same documents give another shard."""
TOKENS, ENDS, IDS, HELDOUT = "tokens.bin", "ends.npy", "ids.parquet", "heldout.parquet"
UNSORTED = ".unsorted.bin"  # tokens in the order of reading, gone when the shard is done
HELDOUT_SCHEMA = pa.schema(
    {"id": pa.string(), "text": pa.string(), "bytes": pa.int64(), "tokens": pa.list_(pa.int32())}
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heldout:
    """Documents of one source that no run trains on, in the order of sha1(id)."""

    ids: list[str]
    texts: list[str]
    bytes: np.ndarray
    """int64, UTF-8 bytes of each cleaned text: the same for every tokenizer, also for one that normalises."""
    tokens: list[np.ndarray]
    """int32 ids of each document, without end-of-text."""


def write_tokens(
    source: Source,
    clean: Path,
    dedup: Path,
    split: Path,
    tokenizer: Path,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    texts: Path | None = None,
    lost: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Facts for the manifest of a token artefact: the fields of `Corpus`, the dtype, and size and sha256 of each file.

    `texts`: where the documents of `clean` are if a later stage changed them; `lost`: reason -> documents it dropped.
    SourceError if no document is left to train on; it tells the profile, what dropped them and the way out.
    """
    began = time.monotonic()
    cleaned, who, words = read_manifest(clean), membership(source.name, dedup, split), load(tokenizer)
    dropped = _dropped(cleaned, who, lost or {})
    if not who.training:
        raise SourceError(_nothing_left(source, cleaned, who, dropped))
    dtype = np.dtype("<u2" if words.vocab_size <= 2**16 else "<u4")
    rows, held = _tokenise(texts or clean, who, words, out, dtype, progress)
    rows.sort(key=lambda row: by_hash(row.id))
    _write_sorted(rows, out, dtype)
    write_list(pa.Table.from_pylist([r.shown() for r in rows]), out / IDS)
    held.sort(key=lambda row: by_hash(row["id"]))
    write_list(pa.Table.from_pylist(held, HELDOUT_SCHEMA), out / HELDOUT)
    facts = _facts(source, rows, held, words, dtype, dropped, out)
    seconds = time.monotonic() - began
    logger.info(
        "tokens %s: %d docs, %d tokens, %.1f s, %s", source.name, facts["docs"], facts["tokens"], seconds, lands_at(out)
    )
    return facts


def open_corpus(directory: Path, verify: bool = False) -> Corpus:
    """Handle to a token artefact. Sizes are always checked, contents (sha256) with `verify`.

    EnvironmentFault names the damaged file and the way out.
    """
    facts = read_manifest(directory)
    for name, size in facts["sizes"].items():
        path = directory / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            told = "is missing" if found is None else f"has {found:,} bytes and was written with {size:,}"
            raise EnvironmentFault(_damaged(path, told))
        if verify and file_sha256(path) != facts["sha256"][name]:
            raise EnvironmentFault(_damaged(path, "has another sha256 than when it was written"))
    told = {f.name: facts[f.name] for f in fields(Corpus) if f.name not in ("key", "path")}
    return Corpus(**told, key=directory.name.rpartition("-")[2], path=directory)


def token_array(corpus: Corpus) -> np.memmap:
    """All training tokens of a corpus (uint16 or uint32), read-only and not loaded."""
    return np.memmap(corpus.path / TOKENS, dtype=np.dtype(read_manifest(corpus.path)["dtype"]), mode="r")


def document_ends(corpus: Corpus) -> np.ndarray:
    """int64 (docs,): where each document of `token_array` ends, its end-of-text included."""
    return np.load(corpus.path / ENDS)


def heldout(corpus: Corpus) -> Heldout:
    """The held-out documents of a corpus; none if the split took none."""
    table = read_list(corpus.path / HELDOUT)
    tokens = [np.asarray(t.as_py(), np.int32) for t in table["tokens"]]
    return Heldout(values(table, "id"), values(table, "text"), table["bytes"].to_numpy(), tokens)


@dataclass(frozen=True, slots=True)
class _Row:
    """One training document: where its tokens lie in the unsorted file."""

    id: str
    bytes: int
    start: int
    tokens: int
    licence: str

    def shown(self) -> dict[str, Any]:
        """The row as it stands in ids.parquet."""
        return {"id": self.id, "bytes": self.bytes, "tokens": self.tokens, "licence": self.licence}


def _tokenise(
    clean: Path,
    who: Membership,
    words: Tokenizer,
    out: Path,
    dtype: np.dtype,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[_Row], list[dict[str, Any]]]:
    """Training rows (tokens written to UNSORTED) and held-out rows, in the order of reading."""
    rows: list[_Row] = []
    held: list[dict[str, Any]] = []
    total, at = len(who.training) + len(who.heldout), 0
    with open(out / UNSORTED, "wb") as file:
        for batch in read_docs(clean, ["id", "text", "licence"]):
            docs = [d for d in batch.to_pylist() if d["id"] in who.training or d["id"] in who.heldout]
            for doc, ids in zip(docs, words.encode([d["text"] for d in docs]), strict=True):
                size = len(doc["text"].encode())
                if doc["id"] in who.heldout:
                    held.append({"id": doc["id"], "text": doc["text"], "bytes": size, "tokens": ids})
                    continue
                file.write(np.append(ids, words.end_of_text_id).astype(dtype).tobytes())
                rows.append(_Row(doc["id"], size, at, len(ids) + 1, doc["licence"]))
                at += len(ids) + 1
            if progress:
                progress(len(rows) + len(held), total)
    _check_met(clean, who, len(rows), len(held))
    return rows, held


def _write_sorted(rows: list[_Row], out: Path, dtype: np.dtype) -> None:
    """tokens.bin in the order of `rows`, ends.npy; the unsorted file goes."""
    unsorted = np.memmap(out / UNSORTED, dtype=dtype, mode="r")
    with open(out / TOKENS, "wb") as file:
        for row in rows:
            file.write(unsorted[row.start : row.start + row.tokens].tobytes())
    del unsorted
    (out / UNSORTED).unlink()
    np.save(out / ENDS, np.cumsum([r.tokens for r in rows], dtype=np.int64))


def _facts(
    source: Source,
    rows: list[_Row],
    held: list[dict[str, Any]],
    words: Tokenizer,
    dtype: np.dtype,
    dropped: Mapping[str, int],
    out: Path,
) -> dict[str, Any]:
    licences: Counter[str] = Counter()
    for row in rows:
        licences[row.licence] += row.tokens
    files = [out / name for name in (TOKENS, ENDS, IDS, HELDOUT)]
    return {
        "source": source.name,
        "docs": len(rows),
        "bytes": sum(r.bytes for r in rows),
        "tokens": sum(r.tokens for r in rows),
        "heldout_docs": len(held),
        "heldout_tokens": sum(len(h["tokens"]) for h in held),
        "heldout_bytes": sum(h["bytes"] for h in held),
        "vocab_size": words.vocab_size,
        "licence": source.licence,
        "language": source.language,
        "licences": dict(sorted(licences.items())),
        "dropped": dict(dropped),
        "dtype": dtype.str,
        "end_of_text_id": words.end_of_text_id,
        "sizes": {f.name: f.stat().st_size for f in files},
        "sha256": {f.name: file_sha256(f) for f in files},
    }


def _dropped(cleaned: Mapping[str, Any], who: Membership, lost: Mapping[str, int]) -> dict[str, int]:
    """Reason -> documents over clean, dedup and hold-out, the commonest first."""
    counts = Counter[str](cleaned["dropped"]) + Counter[str](lost)
    counts["near-duplicate"] += len(who.near_duplicates)
    counts["contaminated"] += len(who.contaminated)
    return {reason: n for reason, n in counts.most_common() if n}


def _nothing_left(source: Source, cleaned: Mapping[str, Any], who: Membership, dropped: Mapping[str, int]) -> str:
    profile, entered = cleaned["profile"], cleaned["docs_in"]
    if not entered:
        return (
            f"source '{source.name}' has no documents at all: none was read, or all were skipped as empty or outside "
            "[min_bytes, max_bytes]. Correct its paths, members or sizes."
        )
    told = ", ".join(f"{reason} {n:,}" for reason, n in dropped.items()) or "nothing"
    held = f"; {len(who.heldout):,} are held out" if who.heldout else ""
    return (
        f"source '{source.name}' has nothing left to train on: of {entered:,} documents the profile '{profile}' kept "
        f"{cleaned['docs']:,}. Dropped: {told}{held}. Choose a profile that fits this text, e.g. "
        f"cleaning.per_source.{source.name}=none, add text, or leave the source out."
    )


def _check_met(clean: Path, who: Membership, rows: int, held: int) -> None:
    """Every document that the lists name must have been read."""
    if (rows, held) != (len(who.training), len(who.heldout)):
        raise EnvironmentFault(
            f"{clean} holds {rows:,} training and {held:,} held-out documents, but the keep and hold-out lists name "
            f"{len(who.training):,} and {len(who.heldout):,}. Delete {clean} and run the same command again."
        )


def _damaged(path: Path, told: str) -> str:
    return f"{path} {told}: it is damaged. Delete {path.parent} and run the same command again: it is made anew."
