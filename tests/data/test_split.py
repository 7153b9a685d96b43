"""Split: whole components, no near-duplicate across the border, every contaminated document with its witness."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixlab.data.dedup import dedup_pool
from mixlab.data.documents import write_docs
from mixlab.data.split import choose, split_pool
from mixlab.errors import EnvironmentFault, SourceError
from mixlab.types import Dedup, Document, Holdout

DEDUP = Dedup()
SPEC = Holdout(frac=0.2, min_docs=4, max_docs=30)


def text(seed: int, size: int = 60) -> str:
    return " ".join(f"w{i}" for i in np.random.default_rng(seed).integers(0, 3000, size))


def prepared(tmp_path: Path, sources: dict[str, dict[str, str]], spec: Dedup = DEDUP):
    clean = {}
    for name, docs in sources.items():
        clean[name] = tmp_path / "clean" / name
        clean[name].mkdir(parents=True)
        write_docs(clean[name], [Document(id=i, text=t) for i, t in docs.items()])
    dedup_pool(clean, spec, tmp_path / "dedup")
    return clean, tmp_path / "dedup"


def run(tmp_path: Path, sources, spec: Holdout = SPEC, dedup: Dedup = DEDUP):
    facts = split_pool(*prepared(tmp_path, sources, dedup), spec, tmp_path / "split")
    rows = [pq.read_table(tmp_path / "split" / f"{n}.parquet").to_pylist() for n in ("heldout", "contaminated")]
    return facts, [(r["source"], r["id"]) for r in rows[0]], rows[1]


def jaccard(a: str, b: str) -> float:
    grams = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (a.split(), b.split())]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def plain(n: int, first: int = 0) -> dict[str, str]:
    return {f"d{i}": text(first + i) for i in range(n)}


def test_each_source_gives_its_share_within_its_bounds(tmp_path):
    facts, heldout, contaminated = run(tmp_path, {"a": plain(50), "b": plain(10, 100), "c": plain(200, 200)})
    assert facts["heldout"] == {"a": 10, "b": 4, "c": 30} == Counter(s for s, _ in heldout)
    assert facts["contaminated"] == {"a": 0, "b": 0, "c": 0}
    assert contaminated == []
    assert heldout == sorted(heldout)


def test_the_choice_depends_on_names_and_seed_only():
    keep = {("a", f"d{i}"): i for i in range(100)}
    other = {name: 1000 - n for name, n in reversed(keep.items())}
    more = other | {("b", f"d{i}"): 2000 + i for i in range(50)}
    first = choose(keep, SPEC, ["a"])
    assert choose(other, SPEC, ["a"]) == first
    assert [n for n in choose(more, SPEC, ["a", "b"]) if n[0] == "a"] == first
    assert choose(keep, Holdout(frac=0.2, min_docs=4, max_docs=30, seed=1), ["a"]) != first


@pytest.mark.parametrize("seed", range(4))
def test_no_near_duplicate_straddles_even_if_minhash_missed_it(tmp_path, seed):
    rng = np.random.default_rng(seed)
    sources = {}
    for s in "ab":
        docs = {}
        for i in range(60):
            words = text(int(rng.integers(30)), 120).split()
            for place in rng.integers(0, 120, rng.integers(0, 5)):
                words[place] = "new"
            docs[f"d{i}"] = " ".join(words)
        sources[s] = docs
    blind = Dedup(remove=False, bands=1, rows=16)  # finds almost nothing: the split has to
    spec = Holdout(frac=0.2, min_docs=4, max_docs=30, max_overlap=1.0, seed=seed)
    _, heldout, contaminated = run(tmp_path, sources, spec, blind)
    gone = {(r["source"], r["id"]) for r in contaminated}
    train = [(s, i) for s in sources for i in sources[s] if (s, i) not in gone and (s, i) not in heldout]
    straddling = [jaccard(sources[s][i], sources[t][j]) for s, i in train for t, j in heldout]
    assert max(straddling) < 0.8
    assert contaminated
    for row in contaminated:
        a, b = sources[row["source"]][row["id"]], sources[row["heldout_source"]][row["heldout_id"]]
        assert row["jaccard"] == jaccard(a, b)
        assert (row["source"], row["id"]) not in heldout


def test_a_component_over_two_sources_stays_whole(tmp_path):
    shared = {f"s{i}": text(1000 + i) for i in range(20)}
    _, heldout, contaminated = run(
        tmp_path, {"a": shared | plain(20), "b": shared | plain(20, 50)}, dedup=Dedup(remove=False)
    )
    assert contaminated == []
    for i in shared:
        assert (("a", i) in heldout) == (("b", i) in heldout)
    assert any(i.startswith("s") for _, i in heldout)


def test_a_training_document_that_holds_a_held_out_one_is_named(tmp_path):
    docs = plain(40)
    _, heldout, _ = run(tmp_path / "before", {"a": docs})
    victim = heldout[0][1]
    extra = {"zz": text(900, 400) + " " + docs[victim] + " " + text(901, 400)}
    _, again, contaminated = run(tmp_path / "after", {"a": docs, "b": plain(9, 500) | extra})
    assert ("a", victim) in again
    assert ("b", "zz") not in again  # true for this seed
    row = contaminated[0]
    assert (row["source"], row["id"], row["heldout_source"], row["heldout_id"]) == ("b", "zz", "a", victim)
    assert row["overlap"] == 1.0
    assert row["jaccard"] is None


def test_a_source_that_is_too_small_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"'b' has 7 documents .* at most 3"):
        run(tmp_path, {"a": plain(30), "b": plain(7, 100)})


def test_a_source_of_one_component_is_named():
    keep = {("a", f"d{i}"): 0 for i in range(40)}
    with pytest.raises(SourceError, match="near-duplicate groups are too large"):
        choose(keep, SPEC, ["a"])


def test_a_dedup_of_other_directories_is_refused(tmp_path):
    _, dedup = prepared(tmp_path / "1", {"a": plain(40)})
    clean, _ = prepared(tmp_path / "2", {"a": {f"other{i}": t for i, t in plain(40).items()}})
    with pytest.raises(EnvironmentFault, match="is about other ones"):
        split_pool(clean, dedup, SPEC, tmp_path / "split")
