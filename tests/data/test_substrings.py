"""Repeated spans: what was there before goes, the first copy stays whole, memory and order do not matter."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.data import substrings
from mixlab.data.cuts import word_bounds
from mixlab.data.documents import read_docs, write_docs
from mixlab.errors import ConfigError
from mixlab.types import Document

WORDS = [f"word{i}" for i in range(5000)]


def words(seed, size):
    return np.random.default_rng(seed).choice(WORDS, size).tolist()


def laid(tmp_path, sources, file_bytes=10**6):
    out = {}
    for name, docs in sources.items():
        out[name] = tmp_path / name
        out[name].mkdir(parents=True)
        write_docs(out[name], [Document(id=i, text=t) for i, t in docs.items()], file_bytes)
    return out


def fresh(path):
    path.mkdir()
    return path


def rows(frame):
    return list(frame.itertuples(index=False, name=None))


def test_a_copied_passage_is_cut_and_its_first_copy_stays(tmp_path):
    passage = words(0, 60)
    a = words(1, 100) + passage + words(2, 40)
    b = words(3, 10) + passage + words(4, 30)
    at = laid(tmp_path, {"x": {"a": " ".join(a)}, "y": {"b": ", ".join(b).upper(), "c": " ".join(words(5, 200))}})
    found = substrings.repeated_spans(at, 50)
    assert rows(found) == [("y", "b", 10, 70)]
    assert rows(substrings.repeated_spans(at, 50, priority=["y"])) == [("x", "a", 100, 160)]
    assert len(substrings.repeated_spans(at, 61)) == 0
    told = substrings.cut_repeats(at, fresh(tmp_path / "out"), 50)["sources"]
    assert told["y"] == {"docs_in": 2, "docs": 2, "cut": 1, "emptied": 0, "words_cut": 60, "spans": 1}
    assert pd.read_parquet(tmp_path / "out" / "spans.parquet").equals(found)
    text = {r["id"]: r["text"] for b in read_docs(tmp_path / "out" / "y") for r in b.to_pylist()}["b"]
    assert re.findall(r"\w+", text.lower()) == b[:10] + b[70:]
    assert len(substrings.repeated_spans({n: tmp_path / "out" / n for n in at}, 50)) == 0


def test_equal_texts_leave_one(tmp_path):
    at = laid(tmp_path, {"s": dict.fromkeys("abcd", " ".join(words(0, 80)))})
    found = substrings.repeated_spans(at, 50)
    assert found[["first_word", "end_word"]].to_numpy().tolist() == [[0, 80]] * 3
    assert substrings.cut_repeats(at, fresh(tmp_path / "out"), 50)["sources"]["s"]["emptied"] == 3


def test_one_word_a_thousand_times_keeps_one_window(tmp_path):
    at = laid(tmp_path, {"s": {"a": "no " * 1000, "b": "no " * 49, "c": "", "d": "..."}})
    assert rows(substrings.repeated_spans(at, 50)) == [("s", "a", 50, 1000)]


def test_neither_order_nor_files_nor_memory_matter(tmp_path):
    parts = [words(i, 40) for i in range(12)]
    rng = np.random.default_rng(9)
    docs = {f"d{i}": " ".join(" ".join(parts[k]) for k in rng.integers(0, 12, 4)) for i in range(60)}
    want = substrings.repeated_spans(laid(tmp_path / "0", {"s": docs}), 50)
    assert len(want) > 10
    mixed = {i: docs[i] for i in rng.permutation(list(docs))}
    got = substrings.repeated_spans(laid(tmp_path / "1", {"s": mixed}, file_bytes=3000), 50, bucket_bytes=5000)
    assert got.equals(want)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("aB_9 .,-İΣς中"), max_size=40))
def test_words_lie_where_their_bounds_say(text):
    found = [text[a:b].lower() for a, b in word_bounds(text)]
    plain = re.findall(r"\w+", text.lower())
    # the lower case of Σ depends on its neighbours; that of İ ends in a dot that is no part of a word
    assert [f.replace("ς", "σ").removesuffix("\u0307") for f in found] == [p.replace("ς", "σ") for p in plain]


def test_hostile_text_is_searched_within_its_memory(tmp_path, monkeypatch):
    """One window 3,000 times in one bucket: what is held at once is told by the reads, not by the text."""
    at = laid(tmp_path, {"s": {f"d{i}": "no " * 100 for i in range(60)}})
    want = substrings.repeated_spans(at, 50)
    most = []
    real = substrings._chunks
    monkeypatch.setattr(substrings, "_chunks", lambda *a: (most.append(len(c)) or c for c in real(*a)))
    assert substrings.repeated_spans(at, 50, bucket_bytes=2400).equals(want)
    assert len(most) > 30 and max(most) <= 100
    assert len(want) == 60  # the first text keeps one window, the others nothing


def test_only_kept_documents_count_and_emptied_ones_leave_the_list(tmp_path):
    text = " ".join(words(0, 80))
    at = laid(tmp_path, {"s": {"a": text, "b": text, "c": text + " " + " ".join(words(1, 20)), "d": "short"}})
    dedup = fresh(tmp_path / "dedup")
    keep = pa.table({"source": ["s"] * 3, "id": ["b", "c", "d"], "component": [0, 1, 2]})
    pq.write_table(keep.replace_schema_metadata({"ngram": "5"}), dedup / "keep.parquet")
    pq.write_table(pa.table({"source": ["s"], "id": ["a"]}), dedup / "removed.parquet")
    told = substrings.cut_repeats(at, fresh(tmp_path / "out"), 50, dedup=dedup)["sources"]["s"]
    assert told["docs_in"] == 3 and told["spans"] == 1
    left = pq.read_table(tmp_path / "out" / "keep.parquet")
    assert left.schema.metadata == {b"ngram": b"5"}
    texts = {r["id"]: r["text"] for b in read_docs(tmp_path / "out" / "s") for r in b.to_pylist()}
    assert set(left["id"].to_pylist()) == set(texts) and "a" not in texts
    assert told["docs"] == len(texts) == 3 - told["emptied"]


def test_a_window_of_one_word_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="too small"):
        substrings.repeated_spans({}, 1)
