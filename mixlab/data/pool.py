"""The documents of a pool as dedup sees them: read from signatures, ranked into roles, read again where compared.

Reads signature files and the documents behind them; writes the shingles of candidates to a scratch folder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixlab.data import clusters, evidence, kernels, signatures
from mixlab.data.documents import damage_named, values
from mixlab.seeds import seed_of
from mixlab.types import Dedup

PLANTS = 64  # documents of which edited copies are planted
PLANT_SHINGLES = 50  # documents with at least this many can be edited by 1 %
DOCS = pa.schema([("source", pa.string()), ("id", pa.string()), ("bytes", pa.int64()), ("shingles", pa.int64())])


def scan(signed: Sequence[signatures.Shard], spec: Dedup) -> tuple[pa.Table, np.ndarray]:
    """(source, id, bytes, shingles) of each document in the order of the shards, and the name of its words."""
    tables, names = list[pa.Table](), [np.empty(0, np.uint8)]
    for shard in signed:
        signatures.check(shard, spec)
        for table in signatures.read(shard.signatures, signatures.DOCS.names):
            names.append(np.frombuffer(b"".join(values(table, "name")), np.uint8))
            source = pa.array([shard.source] * len(table), pa.string())
            tables.append(table.drop_columns("name").replace_schema_metadata().add_column(0, "source", source))
    docs = pa.concat_tables([DOCS.empty_table(), *tables]).combine_chunks()
    return docs, np.concatenate(names).view(np.uint64).reshape(-1, 2)


def roles(
    docs: pa.Table, names: np.ndarray, spec: Dedup, place: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """By rank: the best rank with the same text; who goes for being short; who joins the search; the scope."""
    at = np.array([place[s] for s in values(docs, "source")], np.int64)
    shingles, row = docs["shingles"].to_numpy(), np.arange(len(docs))
    is_old = at < len(dict.fromkeys(spec.against))
    is_short = shingles <= (spec.short_words or spec.ngram) - spec.ngram + 1
    scope = at * (spec.scope == "within")
    takes_part = (shingles > 0) & ~(is_short & (spec.short_docs != "exact"))
    first = np.where(takes_part & ~is_old, clusters.exact_classes(names, np.where(takes_part, scope, -1 - row)), row)
    goes = is_short & ~is_old if spec.short_docs == "drop" else np.zeros(len(docs), np.bool_)
    return first, goes, takes_part & ~is_short & (first == row), scope


def members(
    signed: Sequence[signatures.Shard], rank: np.ndarray, scope: np.ndarray, near: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rank, scope, signature) of those that join the search, a row group at a time."""
    at = 0
    for shard in signed:
        for table in signatures.read(shard.signatures, ["signature"]):
            ranks = rank[at : at + len(table)]
            joins = near[ranks]
            yield ranks[joins], scope[ranks[joins]], signatures.as_array(table["signature"])[joins]
            at += len(table)


def plantable(docs: pa.Table, near: np.ndarray) -> np.ndarray:
    """Ranks of the documents whose edited copies are planted: those with the smallest hashes of their names."""
    fit = np.flatnonzero(near & (docs["shingles"].to_numpy() >= PLANT_SHINGLES))
    fit = fit[:: max(len(fit) // (50 * PLANTS), 1)]  # by rank, so that a million names need not be hashed
    named = docs.take(fit).select(["source", "id"]).to_pylist()
    order = sorted(range(len(fit)), key=lambda n: seed_of(0, "plant", named[n]["source"], named[n]["id"]))
    return fit[order[:PLANTS]]


def reread(
    signed: Sequence[signatures.Shard],
    spec: Dedup,
    rank: np.ndarray,
    candidates: np.ndarray,
    plants: np.ndarray,
    scratch: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[evidence.Shingles, list[str]]:
    """Shingles of the candidates, counted from their texts and kept on disk; and the texts to plant copies of."""
    wanted, is_plant = np.zeros(len(rank), np.bool_), np.zeros(len(rank), np.bool_)
    wanted[candidates.ravel()] = True
    is_plant[plants] = True
    spans, places = np.zeros((len(rank), 2), np.int64), np.zeros((len(rank), 2), np.int64)
    texts: dict[int, str] = {}
    with open(scratch / "sets.u64", "wb") as sets, open(scratch / "runs.u64", "wb") as runs:
        for ranks, text in _texts(signed, rank, wanted | is_plant, progress):
            texts |= {r: text[n].as_py() for n, r in enumerate(ranks.tolist()) if is_plant[r]}
            hashes, offsets = kernels.wide_hashes(text, spec.ngram)
            distinct, ends = clusters.distinct(hashes, offsets)
            spans[ranks] = np.column_stack([ends[:-1], ends[1:]]) + sets.tell() // 8
            places[ranks] = np.column_stack([offsets[:-1], offsets[1:]]) + runs.tell() // 8
            sets.write(distinct.data)
            runs.write(hashes.data)
        sets.write(bytes(8))  # an empty file cannot be mapped
        runs.write(bytes(8))
    mapped = [np.memmap(scratch / name, np.uint64, mode="r+") for name in ("sets.u64", "runs.u64")]
    said = evidence.Shingles(sets=mapped[0], spans=spans, runs=mapped[1], places=places)
    return said, [texts[r] for r in plants.tolist()]


def _texts(
    signed: Sequence[signatures.Shard],
    rank: np.ndarray,
    wanted: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> "Iterator[tuple[np.ndarray, pa.ChunkedArray[Any]]]":
    """(ranks, texts) of the wanted documents; row groups without any are not read."""
    at = 0
    for number, shard in enumerate(signed, start=len(signed) + 1):
        with damage_named(shard.docs):
            file: Any = pq.ParquetFile(shard.docs)  # its stub leaves the type of column names open
        with file:
            for group in range(file.num_row_groups):
                ranks = rank[at : at + file.metadata.row_group(group).num_rows]
                at += len(ranks)
                pick = wanted[ranks]
                if pick.any():
                    with damage_named(shard.docs):
                        table: pa.Table = file.read_row_group(group, columns=["text"])
                    yield ranks[pick], table["text"].filter(pa.array(pick))
        if progress:
            progress(number, 2 * len(signed))
