"""Signatures on disk, one file per file of documents, and to and from datasketch's classes.

A signature file says how it was made: scheme, hash, unit, ngram, num_perm, seed and the sha256 of its documents. One
made otherwise, or damaged, is refused by name and never compared. Its pages carry checksums.
"""

import functools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixlab.data import kernels
from mixlab.data.documents import damage_named
from mixlab.data.shardmap import Work
from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.types import Dedup
from mixlab.workspace import file_sha256, key_of

if TYPE_CHECKING:  # imported where it is used: it brings much of scipy, a fifth of a second of every command
    from datasketch import LeanMinHash, MinHash, MinHashLSH  # pyright: ignore[reportMissingTypeStubs]  # it has none

FORMAT = 1
HASH = "words/fnv-poly-1"  # of kernels.py: raised when the hash of any shingle changes
SCHEME = "affine32"
DOCS = pa.schema(
    [("id", pa.string()), ("bytes", pa.int64()), ("shingles", pa.int64()), ("name", pa.binary(16))],
)
"""What a signature file tells of each document beside `signature`: UTF-8 bytes, shingles, the name of its words."""


class Shard(NamedTuple):
    """A file of documents and the file of their signatures."""

    source: str
    docs: Path
    sha256: str
    """Of the documents' file."""
    signatures: Path


def shards(sources: Mapping[str, Path], spec: Dedup, folder: Path) -> list[Shard]:
    """Every file of documents, by source and file name, with the place of its signatures below `folder`."""
    found = list[Shard]()
    for source in sorted(sources):
        for path in sorted(sources[source].glob("docs-*.parquet")):
            with damage_named(path):
                sha = file_sha256(path)
            name = f"{sha[:24]}-{key_of('dedup', FORMAT, made_how(spec), {})}.parquet"
            found.append(Shard(source, path, sha, folder / name))
    return found


def made_how(spec: Dedup) -> dict[str, Any]:
    """What two signatures must have in common to be compared."""
    told = {"ngram": spec.ngram, "num_perm": spec.num_perm, "seed": spec.seed}
    return {"format": FORMAT, "scheme": SCHEME, "hash": HASH, **told}


def writer(spec: Dedup) -> Work:
    """The work of `map_shards` that makes signature files."""
    return functools.partial(_write, made_how(spec))


def check(shard: Shard, spec: Dedup) -> None:
    """Raises EnvironmentFault unless the shard's signatures are of its documents and made as `spec` says."""
    path = shard.signatures
    with damage_named(path):
        metadata = _metadata(path)
    told = json.loads((metadata.metadata or {}).get(b"mixlab", b"{}"))
    want = {**made_how(spec), "docs_sha256": shard.sha256, "rows": _metadata(shard.docs).num_rows}
    wrong = [f"{name} is {told.get(name)!r}, not {want[name]!r}" for name in want if told.get(name) != want[name]]
    if metadata.num_rows != want["rows"]:
        wrong.append(f"it holds {metadata.num_rows} signatures of {want['rows']} documents")
    if wrong:
        raise EnvironmentFault(
            f"the signatures in {path} cannot be compared: {'; '.join(wrong)}. Delete the file: it is made anew."
        )


def read(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The wanted columns of a signature file, row group by row group; a damaged page is an EnvironmentFault."""
    with damage_named(path):
        file: Any = pq.ParquetFile(path, page_checksum_verification=True)  # its stub leaves column names open
    with file:
        for group in range(file.num_row_groups):
            with damage_named(path):
                table: pa.Table = file.read_row_group(group, columns=list(columns))
            yield table


def as_array(column: "pa.ChunkedArray[Any]") -> np.ndarray:
    """A `signature` column as uint32 (documents, num_perm)."""
    chunks: list[Any] = column.chunks
    width: int = column.type.byte_width
    parts = [np.frombuffer(c.buffers()[1], np.uint8)[c.offset * width : (c.offset + len(c)) * width] for c in chunks]
    return np.concatenate([np.empty(0, np.uint8), *parts]).view(np.uint32).reshape(-1, width // 4)


def to_datasketch(signatures: np.ndarray, seed: int = 1) -> "list[LeanMinHash]":
    """datasketch's LeanMinHash of each signature (uint32 (n, num_perm)): ready for MinHashLSH and its storage."""
    from datasketch import LeanMinHash  # pyright: ignore[reportMissingTypeStubs]  # it has none

    return [LeanMinHash(seed=seed, hashvalues=row, scheme=SCHEME) for row in signatures]


def from_datasketch(minhashes: "Sequence[MinHash | LeanMinHash]", num_perm: int = 128, seed: int = 1) -> np.ndarray:
    """Signatures uint32 (n, num_perm) of datasketch objects; another scheme, seed or num_perm is a ConfigError."""
    out = np.empty((len(minhashes), num_perm), np.uint32)
    minhash: Any
    for n, minhash in enumerate(minhashes):
        told = {"scheme": minhash.scheme, "seed": minhash.seed, "num_perm": len(minhash)}
        want = {"scheme": SCHEME, "seed": seed, "num_perm": num_perm}
        if wrong := [f"{k} is {told[k]!r}, not {want[k]!r}" for k in want if told[k] != want[k]]:
            raise ConfigError(f"signature {n} cannot be compared with ours: {'; '.join(wrong)}. Compute it anew.")
        out[n] = minhash.hashvalues
    return out


def index(
    keys: Sequence[Hashable], signatures: np.ndarray, *, bands: int = 21, rows: int = 6, seed: int = 1
) -> "MinHashLSH":
    """A datasketch MinHashLSH filled with our signatures: query it, or insert more from `to_datasketch`.

    It proposes candidates; whether they are alike only their texts tell (`near_duplicates`, `dedup`).

    >>> lsh = index(["a"], kernels.signatures(["one two three four five six"]))
    >>> lsh.query(to_datasketch(kernels.signatures(["One, two, three, four, five, six!"]))[0])
    ['a']
    """
    from datasketch import MinHashLSH  # pyright: ignore[reportMissingTypeStubs]  # it has none

    lsh = MinHashLSH(num_perm=signatures.shape[1], params=(bands, rows))
    with lsh.insertion_session() as session:
        for key, minhash in zip(keys, to_datasketch(signatures, seed), strict=True):
            session.insert(key, minhash)
    return lsh


def _metadata(path: Path) -> pq.FileMetaData:
    parquet: Any = pq  # the stub leaves the type of what is read open
    return parquet.read_metadata(path)


def _write(how: Mapping[str, Any], docs: Path, out: Path) -> None:
    with damage_named(docs):
        file: Any = pq.ParquetFile(docs)  # its stub leaves the type of column names open
    told = {**how, "docs_sha256": file_sha256(docs), "rows": file.metadata.num_rows}
    width: int = 4 * how["num_perm"]
    fields = [*zip(DOCS.names, DOCS.types, strict=True), ("signature", pa.binary(width))]
    schema = pa.schema(fields, {"mixlab": json.dumps(told)})
    compute: Any = pc  # the stub leaves the type of arguments open
    plain: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    with file, pq.ParquetWriter(out, schema, write_page_checksum=True, **plain) as to:
        for group in range(file.num_row_groups):
            with damage_named(docs):
                batch: pa.Table = file.read_row_group(group, columns=["id", "text"]).combine_chunks()
            signature, shingles, names = kernels.signed(batch["text"], how["num_perm"], how["ngram"], how["seed"])
            size = compute.call_function("binary_length", [batch["text"]]).cast(pa.int64())
            columns: list[Any] = [batch["id"], size, shingles, _binary(names), _binary(signature)]
            to.write_table(pa.table(columns, schema=schema))


def _binary(rows: np.ndarray) -> "pa.Array[Any]":
    """Rows of a matrix as fixed-size bytes."""
    flat: Any = np.ascontiguousarray(rows)
    width: int = flat.shape[1] * flat.itemsize
    return pa.Array.from_buffers(pa.binary(width), len(flat), [None, pa.py_buffer(flat)])
