"""Dedup: every pair verified, every removal witnessed, no order matters, hostile input bounded."""

import json
import time
from collections import Counter
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mixlab.data import dedup
from mixlab.data.dedup import dedup_pool, near_duplicates
from mixlab.data.documents import write_docs
from mixlab.errors import ConfigError, SourceError
from mixlab.types import Dedup, Document
from tests.data.texts import edited, text

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "dedup"
DEFAULT = Dedup()


def pool(tmp_path: Path, sources: dict[str, dict[str, str]], file_bytes: int = 10**6) -> dict[str, Path]:
    clean = {}
    for name, docs in sources.items():
        clean[name] = tmp_path / "clean" / name
        clean[name].mkdir(parents=True)
        write_docs(clean[name], [Document(id=i, text=t) for i, t in docs.items()], file_bytes)
    return clean


def run(tmp_path: Path, sources: dict[str, dict[str, str]], spec: Dedup = DEFAULT, file_bytes: int = 10**6, **kw):
    facts = dedup_pool(pool(tmp_path, sources, file_bytes), spec, tmp_path / "out", **kw)
    keep = pq.read_table(tmp_path / "out" / "keep.parquet").to_pylist()
    removed = pq.read_table(tmp_path / "out" / "removed.parquet").to_pylist()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"keep.parquet", "removed.parquet"}
    assert len(keep) == facts["docs"]
    assert len(keep) + len(removed) == facts["docs_in"] == sum(map(len, sources.values()))
    return facts, keep, removed


def jaccard(a: str, b: str, n: int = 5) -> float:
    grams = [{tuple(w[i : i + n]) for i in range(max(len(w) - n + 1, 1))} for w in (a.split(), b.split())]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def test_pairs_carry_their_exact_jaccard():
    texts = [text(0), text(1), edited(text(0), 30), "", "x", "X!", edited(text(1), 0, 59)]
    found = near_duplicates(texts, 0.7)
    assert found[["i", "j"]].to_numpy().tolist() == [[0, 2], [1, 6], [4, 5]]
    assert found["jaccard"].tolist() == [jaccard(texts[0], texts[2]), jaccard(texts[1], texts[6]), 1.0]


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a"], ["...", "!"]])
def test_little_or_no_text_has_no_pairs(texts):
    found = near_duplicates(texts)
    assert list(found.columns) == ["i", "j", "jaccard"]
    assert len(found) == 0


@pytest.mark.parametrize("name", ["slr_records_human", "rustdoc_reexports"])
def test_labelled_pairs_are_found_and_nothing_else(name):
    if not GOLDEN.exists():
        pytest.skip(f"labelled near-duplicates are not at {GOLDEN}")
    with open(GOLDEN / f"{name}.jsonl.zst", "rb") as file:
        lines = TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
        docs = [json.loads(line) for line in lines]
    place = {d["id"]: n for n, d in enumerate(docs)}
    truth = pd.read_parquet(GOLDEN / f"{name}.pairs.parquet", filters=[("jaccard5", ">=", 0.8)])
    want = {
        (min(place[a], place[b]), max(place[a], place[b])): j
        for a, b, j in zip(truth["id1"], truth["id2"], truth["jaccard5"], strict=True)
    }
    found = near_duplicates([d["text"] for d in docs])
    got = {(i, j): s for i, j, s in found.itertuples(index=False)}
    assert all(want.get(pair) == s for pair, s in got.items())  # precision 1, and the very same Jaccard
    assert len(got) >= 0.97 * len(want)


def test_a_removed_document_names_the_kept_one_it_is_like(tmp_path):
    a = text(0)
    docs = {"long": a + " and more words here", "same": a + " AND more words, here!", "near": a, "other": text(1)}
    facts, keep, removed = run(tmp_path, {"s": {**docs, "void": "...", "void2": "..."}})
    assert [k["id"] for k in keep] == ["other", "same", "void", "void2"]  # longest in bytes is kept
    assert len({k["cluster"] for k in keep}) == 4
    near, exact = removed[1], removed[0]
    assert (exact["id"], exact["kept_id"], exact["exact"], exact["jaccard"]) == ("long", "same", True, 1.0)
    assert (near["id"], near["kept_source"], near["kept_id"], near["exact"]) == ("near", "s", "same", False)
    assert near["jaccard"] == jaccard(docs["long"], a)
    assert near["containment"] == 1.0
    assert facts["per_source"] == {"s": {"docs_in": 6, "removed": 2}}
    assert facts["removed_exact"] == 1


def test_likeness_is_not_passed_on(tmp_path):
    a = text(0, 200)
    b = edited(a, *range(0, 12))
    c = edited(b, *range(188, 200))
    assert jaccard(a, b) > 0.8 < jaccard(b, c)
    assert jaccard(a, c) < 0.8
    docs = {"1": a + " x y z w", "2": b + " x", "3": c}  # 1 is kept first; 3 is like 2 only
    _, keep, removed = run(tmp_path, {"s": docs}, Dedup(bands=32, rows=4))
    assert [k["id"] for k in keep] == ["1", "3"]
    assert [(r["id"], r["kept_id"]) for r in removed] == [("2", "1")]
    assert len({k["component"] for k in keep}) == 1
    assert len({k["cluster"] for k in keep}) == 2


def test_the_prior_source_keeps_its_copy(tmp_path):
    sources = {"a": {"1": text(0) + " longer"}, "b": {"1": text(0)}}
    assert [k["source"] for k in run(tmp_path / "name", sources)[1]] == ["a"]
    assert [k["source"] for k in run(tmp_path / "told", sources, Dedup(priority=("b",)))[1]] == ["b"]
    assert len(run(tmp_path / "within", sources, Dedup(scope="within"))[1]) == 2
    assert len(run(tmp_path / "within2", {"a": {"1": "q", "2": "q"}, "b": {"1": "q"}}, Dedup(scope="within"))[1]) == 2
    with pytest.raises(ConfigError, match="Did you mean 'b'"):
        run(tmp_path / "typo", sources, Dedup(priority=("bb",)))


def test_without_removal_clusters_are_told_and_all_is_kept(tmp_path):
    _, keep, removed = run(tmp_path, {"s": {"1": text(0), "2": text(0), "3": text(1)}}, Dedup(remove=False))
    assert removed == []
    assert keep[0]["cluster"] == keep[1]["cluster"] != keep[2]["cluster"]
    assert keep[0]["component"] == keep[1]["component"] != keep[2]["component"]


def test_the_result_does_not_depend_on_order_files_or_threads(tmp_path):
    rng = np.random.default_rng(3)
    bases = [text(s, 80) for s in range(25)]
    sources = {
        s: {f"d{i}": edited(bases[rng.integers(25)], *rng.integers(0, 80, rng.integers(0, 3))) for i in range(60)}
        for s in "xyz"
    }
    want = run(tmp_path / "0", sources)
    assert want[0]["removed"] > 50
    for n, file_bytes in enumerate((500, 3000, 10**6), start=1):
        order = rng.permutation(60)
        mixed = {s: {f"d{i}": sources[s][f"d{i}"] for i in order} for s in rng.permutation(list("xyz"))}
        assert run(tmp_path / str(n), mixed, file_bytes=file_bytes, shards=None) == want
    for row in want[2]:
        a, b = sources[row["source"]][row["id"]], sources[row["kept_source"]][row["kept_id"]]
        assert row["jaccard"] == pytest.approx(jaccard(a, b), abs=1e-12)
        assert row["jaccard"] >= 0.8


def test_no_two_kept_documents_are_near_duplicates(tmp_path):
    docs = {f"d{i}": edited(text(i % 7, 100), *range(i % 5)) for i in range(100)}
    _, keep, _ = run(tmp_path, {"s": docs}, Dedup(bands=32, rows=4))
    kept = [docs[k["id"]] for k in keep]
    assert max(jaccard(a, b) for n, a in enumerate(kept) for b in kept[:n]) < 0.8


def test_one_bucket_for_all_is_bounded_and_reported(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(dedup, "BUCKET_ANCHORS", 4)
    docs = {f"{i:03}": edited(text(0, 300), i) for i in range(200)}
    facts, keep, _ = run(tmp_path, {"s": docs}, Dedup(bucket_cap=20))
    assert facts["overflow"]["buckets"] > 0
    assert facts["overflow"]["largest"] > 20
    assert facts["overflow"]["comparisons_skipped"] > 0
    assert facts["candidates"] < 200 * 199 / 4
    assert len(keep) == 1  # all are like the best keeper
    assert "buckets hold more than 20 documents" in caplog.text


def test_twenty_thousand_copies_take_no_time(tmp_path):
    sources = {"s": dict.fromkeys(map(str, range(20_000)), text(0))}
    began = time.process_time()
    _, keep, removed = run(tmp_path, sources)
    assert [k["id"] for k in keep] == ["0"]
    assert Counter(r["exact"] for r in removed) == {True: 19_999}
    assert time.process_time() - began < 15  # seconds of CPU; about 1 when nothing has to be compiled


def test_an_empty_pool_stays_empty(tmp_path):
    facts, _, _ = run(tmp_path, {"s": {}})
    assert facts["docs"] == 0


def test_progress_ends_at_its_total(tmp_path):
    seen = []
    run(tmp_path, {"s": {str(i): text(i) for i in range(10)}}, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (2, 2)  # each file is read twice


def test_wrong_settings_and_repeated_ids_are_named(tmp_path):
    with pytest.raises(ConfigError, match="Raise num_perm"):
        near_duplicates(["a"], bands=32, rows=8)
    with pytest.raises(ConfigError, match="threshold"):
        near_duplicates(["a"], 1.5)
    path = tmp_path / "twins"
    path.mkdir()
    write_docs(path, [Document(id="1", text="a"), Document(id="1", text="b")])
    with pytest.raises(SourceError, match="'twins' has 2 documents with the id '1'"):
        dedup_pool({"twins": path}, Dedup(), tmp_path / "out")


def test_arrow_input_gives_the_same_pairs():
    texts = [text(0), text(1), text(0)]
    assert near_duplicates(pa.array(texts)).equals(near_duplicates(texts))
