import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixlab.data import shards
from mixlab.data.documents import write_docs
from mixlab.data.tokenizer import build_tokenizer, load
from mixlab.errors import EnvironmentFault, MissingError, SourceError
from mixlab.types import Corpus, Document, Source, TokenizerSpec
from mixlab.workspace import build, file_sha256

SOURCE = Source(name="a", kind="files", licence="MIT")
DOCS = [
    Document(id=f"d{i}", text=f"Text é number {i}. " * (i + 1), licence="MIT" if i % 2 else "CC0-1.0") for i in range(9)
]
HELD, DIRTY, COPIES = ["d3", "d6"], ["d1"], ["d2"]


def prepared(root: Path, docs: list[Document], dropped: dict[str, int], held: list[str] = HELD) -> dict[str, Path]:
    """Artefacts of the earlier stages, as small as they can be."""
    at = {n: root / f"{n}-0" for n in ("clean", "dedup", "split", "tok")}
    for path in at.values():
        path.mkdir(parents=True)
    n, size = write_docs(at["clean"], docs)
    facts = {"profile": "p", "docs_in": n + sum(dropped.values()), "docs": n, "bytes": size, "dropped": dropped}
    (at["clean"] / "manifest.json").write_text(json.dumps(facts))
    ids = [d.id for d in docs]
    schema = pa.schema({"source": pa.string(), "id": pa.string()})

    def listed(path: Path, chosen: list[str]) -> None:
        pq.write_table(pa.Table.from_pylist([{"source": "a", "id": i} for i in chosen if i in ids], schema), path)

    listed(at["dedup"] / "keep.parquet", [i for i in ids if i not in COPIES])
    listed(at["dedup"] / "removed.parquet", COPIES)
    listed(at["split"] / "heldout.parquet", held)
    listed(at["split"] / "contaminated.parquet", DIRTY)
    facts = build_tokenizer(TokenizerSpec(kind="bytes"), lambda: iter(()), at["tok"], root)
    (at["tok"] / "manifest.json").write_text(json.dumps(facts))
    return at


def written(root: Path, docs: list[Document] = DOCS) -> Corpus:
    at, out = prepared(root, docs, {"too short": 4}), root / "a-0123abcd"
    build(out, lambda tmp: shards.write_tokens(SOURCE, at["clean"], at["dedup"], at["split"], at["tok"], tmp))
    return shards.open_corpus(out, verify=True)


def test_a_corpus_holds_its_training_documents_in_the_order_of_their_hashes(tmp_path: Path):
    corpus = written(tmp_path)
    trained = [d for d in DOCS if d.id not in [*HELD, *DIRTY, *COPIES]]
    trained.sort(key=lambda d: hashlib.sha1(d.id.encode()).digest())
    tokens, ends = shards.token_array(corpus), shards.document_ends(corpus)
    assert tokens.tolist() == [t for d in trained for t in (*d.text.encode(), 256)]
    assert [tokens[e - 1] for e in ends] == [256] * len(trained)
    assert (corpus.docs, corpus.tokens, ends[-1]) == (len(trained), len(tokens), len(tokens))
    assert corpus.bytes == corpus.tokens - corpus.docs == sum(len(d.text.encode()) for d in trained)
    assert pq.read_table(corpus.path / "ids.parquet")["id"].to_pylist() == [d.id for d in trained]
    assert tokens.dtype == np.uint16
    assert not tokens.flags.writeable


def test_the_handle_tells_what_was_dropped_and_under_which_licence(tmp_path: Path):
    corpus = written(tmp_path)
    assert corpus.dropped == {"too short": 4, "near-duplicate": 1, "contaminated": 1}
    assert sum(corpus.licences.values()) == corpus.tokens
    assert set(corpus.licences) == {"MIT", "CC0-1.0"}
    assert (corpus.source, corpus.key, corpus.path.name) == ("a", "0123abcd", "a-0123abcd")


def test_held_out_documents_are_kept_whole_and_never_among_the_tokens(tmp_path: Path):
    corpus = written(tmp_path)
    held = shards.heldout(corpus)
    assert sorted(held.ids) == HELD
    assert held.bytes.tolist() == [len(t.encode()) for t in held.texts]
    words = load(tmp_path / "tok-0")
    assert [words.decode(t) for t in held.tokens] == held.texts
    everything = words.decode(shards.token_array(corpus))
    assert "number 3" not in everything
    assert "number 6" not in everything
    assert (corpus.heldout_docs, corpus.heldout_bytes) == (2, held.bytes.sum())


def test_neither_the_order_of_documents_nor_of_files_matters(tmp_path: Path):
    one, other = written(tmp_path / "x"), written(tmp_path / "y", DOCS[::-1])
    for name in ("tokens.bin", "ends.npy", "ids.parquet", "heldout.parquet"):
        assert file_sha256(one.path / name) == file_sha256(other.path / name), name


@pytest.mark.parametrize("name", ["tokens.bin", "ends.npy", "ids.parquet", "heldout.parquet"])
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, name: str):
    path = written(tmp_path).path
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    shards.open_corpus(path)  # the size is right
    with pytest.raises(EnvironmentFault, match=f"{name} has another sha256 .*Delete {path}"):
        shards.open_corpus(path, verify=True)
    (path / name).write_bytes(content[:-1])
    with pytest.raises(EnvironmentFault, match=f"{name} has .* bytes and was written with"):
        shards.open_corpus(path)
    (path / name).unlink()
    with pytest.raises(EnvironmentFault, match=f"{name} is missing"):
        shards.open_corpus(path)


def test_a_corpus_that_was_never_finished_is_missing(tmp_path: Path):
    with pytest.raises(MissingError, match="not complete"):
        shards.open_corpus(tmp_path)


@pytest.mark.parametrize(("kept", "held"), [(0, []), (1, ["d0"])])
def test_a_source_with_nothing_left_says_what_took_it_and_the_way_out(tmp_path: Path, kept: int, held: list[str]):
    at = prepared(tmp_path, DOCS[:kept], {"too few sentences": 40, "curly brace": 2}, held)
    with pytest.raises(SourceError) as e:
        shards.write_tokens(SOURCE, at["clean"], at["dedup"], at["split"], at["tok"], tmp_path)
    assert f"source 'a' has nothing left to train on: of {42 + kept} documents the profile 'p' kept {kept}" in str(
        e.value
    )
    assert "Dropped: too few sentences 40, curly brace 2" in str(e.value)
    assert "cleaning.per_source.a=none" in str(e.value)


def test_a_source_that_gave_nothing_is_told_apart(tmp_path: Path):
    at = prepared(tmp_path, [], {})
    with pytest.raises(SourceError, match="'a' has no documents at all"):
        shards.write_tokens(SOURCE, at["clean"], at["dedup"], at["split"], at["tok"], tmp_path)


def test_lists_that_do_not_fit_the_documents_are_refused(tmp_path: Path):
    at = prepared(tmp_path, DOCS, {})
    write_docs(at["clean"], DOCS[:5])
    with pytest.raises(EnvironmentFault, match="keep and hold-out lists name"):
        shards.write_tokens(SOURCE, at["clean"], at["dedup"], at["split"], at["tok"], tmp_path)


def test_progress_reaches_its_total(tmp_path: Path):
    at, told = prepared(tmp_path, DOCS, {}), []
    args = (SOURCE, at["clean"], at["dedup"], at["split"], at["tok"], tmp_path)
    shards.write_tokens(*args, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)
