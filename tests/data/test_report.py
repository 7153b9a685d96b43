"""The dedup report: evidence for each removal, choices, alarms; and shards that survive whatever kills a run."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasketch import LeanMinHash, MinHash, MinHashLSH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixlab.data import kernels, shardmap, signatures
from mixlab.data.dedup import dedup, dedup_pool
from mixlab.data.documents import write_docs
from mixlab.data.evidence import planted
from mixlab.errors import ConfigError, EnvironmentFault, SourceError
from mixlab.types import Dedup, Document
from tests.data.texts import WORDS, edited, text


def laid(folder: Path, docs: dict[str, str], per_file: int = 20) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    every = [Document(id=i, text=t) for i, t in docs.items()]
    for n, begin in enumerate(range(0, len(every), per_file)):
        write_docs(folder, every[begin : begin + per_file])
        (folder / "docs-00000.parquet").rename(folder / f"part-{n:05}")
    for n, path in enumerate(sorted(folder.glob("part-*"))):
        path.rename(folder / f"docs-{n:05}.parquet")
    return folder


def some(n: int) -> dict[str, str]:
    rng = np.random.default_rng(5)
    return {f"d{i:03}": edited(text(int(rng.integers(20))), *rng.integers(0, 80, rng.integers(0, 3))) for i in range(n)}


def names(report):
    return sorted(report.keep["id"]), report.removed.to_csv().splitlines()


def test_the_shared_span_is_where_it_says():
    docs = {"long": text(0, 100) + " z", "near": edited(text(0, 100), 4)}
    report = dedup({"s": [{"id": i, "text": t} for i, t in docs.items()]})
    row = report.removed.iloc[0]
    assert (row["id"], row["kept_id"], row["reason"], row["cluster_size"]) == ("near", "long", "near", 2)
    assert (row["shared_start"], row["kept_start"], row["shared_words"]) == (5, 5, 95)
    assert row["jaccard"] == pytest.approx(91 / 102) and row["containment"] == pytest.approx(91 / 96)


def test_closure_goes_where_stars_do_not_and_says_how_unlike():
    a = text(0, 200)
    b = edited(a, *range(12))
    c = edited(b, *range(188, 200))
    texts = [a + " x y z w", b + " x", c]
    spec = Dedup(bands=32, rows=4)
    assert len(dedup({"s": texts}, spec).keep) == 2
    closure = dedup({"s": texts}, Dedup(bands=32, rows=4, clusters="closure"))
    assert closure.keep["id"].tolist() == ["0"]
    last = closure.removed.set_index("id").loc["2"]
    assert last["jaccard"] < 0.8 and last["reason"] == "closure"  # counted against the kept one, below the threshold


def test_a_chain_of_likeness_raises_an_alarm():
    chain = [text(0, 120)]
    for k in range(8):
        chain.append(edited(chain[-1], *range(15 * k, 15 * k + 15)))
    spec = Dedup(threshold=0.6, bands=42, rows=3, clusters="closure", alarm_share=1.0)
    report = dedup({"s": chain}, spec)
    assert len(report.keep) == 1 and report.facts["clusters"]["least_alike"] < 0.5
    assert [a for a in report.alarms if "not alike" in a]


def test_a_source_that_loses_much_raises_an_alarm():
    report = dedup({"a": [text(0)], "b": [text(0), text(1)]}, Dedup(alarm_share=0.4))
    assert report.alarms == ["source 'b' lost 1 of 2 documents to near-duplicates"]
    assert dedup({"a": [text(0)], "b": [text(0), text(1)]}).alarms == []


@pytest.mark.parametrize(("policy", "left"), [("keep", 6), ("exact", 4), ("drop", 2)])
def test_short_documents_are_treated_as_was_chosen(policy, left):
    texts = ["", "one", "One!", "a b c d e", "A b c d, e", text(0), text(1)]
    report = dedup({"s": texts[1:]}, Dedup(short_docs=policy))
    assert len(report.keep) == left
    if policy == "drop":
        assert set(report.removed["reason"]) == {"short"} and report.removed["kept_id"].isna().all()
    nearly = [text(0, 20) + " x", text(0, 20) + " y"]
    assert len(dedup({"s": nearly}, Dedup(short_words=30, short_docs=policy)).keep) == (0 if policy == "drop" else 2)
    assert len(dedup({"s": nearly}, Dedup()).keep) == 1


def test_an_old_source_loses_nothing_and_a_new_one_what_is_there():
    old = [text(0), text(0), text(1)]
    new = [text(0), text(2), text(2) + " more"]
    report = dedup({"z-old": old, "a-new": new}, Dedup(against=("z-old",)))
    assert (report.keep["source"] == "z-old").sum() == 3
    assert report.keep[report.keep["source"] == "a-new"]["id"].tolist() == ["2"]
    with pytest.raises(ConfigError, match="Did you mean 'z-old'"):
        dedup({"z-old": old}, Dedup(against=("zold",)))


def test_planted_copies_are_found_as_often_as_the_curve_says():
    report = dedup({"s": [text(i, 300) for i in range(40)]})
    assert [p["edited"] for p in report.planted] == [0.01, 0.03, 0.1]
    light, middle, heavy = report.planted
    assert light["pairs"] == light["alike"] == light["found"] == 40 and light["recall"] == 1.0
    assert light["jaccard"] > middle["jaccard"] > heavy["jaccard"]
    assert dedup({"s": ["short"]}).planted[0]["recall"] is None
    assert report.detection[0.8] == pytest.approx(0.998, abs=1e-3)
    assert planted(["a b c"], 1) == planted(["a b c"], 1)


def test_a_path_without_documents_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"holds no docs-\*\.parquet"):
        dedup({"s": tmp_path})


def test_the_result_does_not_depend_on_processes_or_shard_sizes(tmp_path):
    docs = some(150)
    want = names(dedup({"s": laid(tmp_path / "one", docs, 1000)}))
    assert len(want[1]) > 50
    pooled = dedup({"s": laid(tmp_path / "many", dict(reversed(docs.items())), 40)}, Dedup(workers=2))
    assert names(pooled) == want


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_order_of_documents_files_or_sources_changes_the_result(tmp_path, data):
    docs = {s: {f"{s}{i}": t for i, t in enumerate(some(30).values())} for s in "ab"}
    spec = Dedup(clusters=data.draw(st.sampled_from(["star", "closure"])), priority=("b",))
    want = names(dedup({s: laid(fresh(tmp_path), docs[s], 1000) for s in "ab"}, spec))
    mixed = {s: dict(data.draw(st.permutations(list(docs[s].items())))) for s in data.draw(st.permutations("ab"))}
    size = data.draw(st.integers(1, 30))
    shuffled = {s: laid(fresh(tmp_path), mixed[s], size) for s in mixed}
    assert names(dedup(shuffled, spec)) == want and len(want[1]) > 10


def fresh(folder: Path) -> Path:
    return folder / uuid.uuid4().hex


def test_finished_shards_are_not_made_again(tmp_path):
    source = laid(tmp_path / "in", some(60), 12)
    first = dedup({"s": source}, out=tmp_path / "out")
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "signatures").iterdir()}
    assert len(made) == len(list(source.iterdir())) > 3
    victim = sorted(made)[0]
    victim.unlink()
    assert names(dedup({"s": source}, out=tmp_path / "out")) == names(first)
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "signatures").iterdir()}
    assert again.keys() == made.keys() and {p for p in made if again[p] != made[p]} == {victim}


def test_kill_9_and_again_gives_the_same_and_keeps_what_was_finished(tmp_path):
    source = laid(tmp_path / "in", some(120), 15)
    want = names(dedup({"s": source}))
    code = """
        import sys, time
        from pathlib import Path
        from mixlab.data import dedup, signatures, shardmap
        from mixlab.types import Dedup
        make = shardmap.make
        def slow(*args):
            make(*args)
            print("made", flush=True)
            time.sleep(0.3)
        shardmap.make = slow
        dedup.dedup({"s": Path(sys.argv[1])}, out=Path(sys.argv[2]))
    """
    argv = [sys.executable, "-c", textwrap.dedent(code), str(source), str(tmp_path / "out")]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        assert child.stdout.readline() == "made\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    shards = tmp_path / "out" / "signatures"
    before = {p: p.stat().st_mtime_ns for p in shards.glob("*.parquet")}
    assert 2 <= len(before) < len(list(source.iterdir()))
    assert names(dedup({"s": source}, out=tmp_path / "out")) == want
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_result(tmp_path):
    source, out = laid(tmp_path / "in", some(80), 8), tmp_path / "out"
    want = names(dedup({"s": source}))
    code = "import sys, pathlib; from mixlab.data.dedup import dedup; print(flush=True); "
    code += "dedup({'s': pathlib.Path(sys.argv[1])}, out=pathlib.Path(sys.argv[2]))"
    kept: dict[Path, int] = {}
    for moment in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6):  # seconds after the imports
        child = subprocess.Popen([sys.executable, "-c", code, str(source), str(out)], stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        time.sleep(moment)
        child.kill()
        child.wait()
        child.stdout.close()
        now = {p: p.stat().st_mtime_ns for p in (out / "signatures").glob("*.parquet")}
        assert kept.items() <= now.items()  # what was finished is not made again
        kept = now
    assert names(dedup({"s": source}, out=out)) == want
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in (out / "signatures").glob("*.parquet")}.items()
    assert not list(out.glob(".*"))  # nor does a killed run leave its scratch for ever


def die(source, made):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_worker_is_named(tmp_path):
    files = [laid(tmp_path / str(n), {"a": "b"}) / "docs-00000.parquet" for n in range(2)]
    with pytest.raises(EnvironmentFault, match="a worker process died"):
        shardmap.map_shards(die, [(f, tmp_path / f"o{n}") for n, f in enumerate(files)], workers=2)
    with pytest.raises(ConfigError, match="executor 'spark'"):
        shardmap.map_shards(die, [], executor="spark")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("wrong", [{"ngram": 4}, {"num_perm": 130}, {"seed": 2}])
def test_signatures_made_otherwise_are_refused_by_name(tmp_path, wrong):
    source = laid(tmp_path / "in", some(10))
    other = signatures.shards({"s": source}, Dedup(**wrong), tmp_path / "sig")[0]
    ours = signatures.shards({"s": source}, Dedup(), tmp_path / "sig")[0]
    assert other.signatures != ours.signatures
    shardmap.map_shards(signatures.writer(Dedup(**wrong)), [(other.docs, other.signatures)])
    other.signatures.rename(ours.signatures)
    name, value = next(iter(wrong.items()))
    with pytest.raises(EnvironmentFault, match=f"{name} is {value}, not"):
        dedup_pool({"s": source}, Dedup(), tmp_path / "out", shards=tmp_path / "sig")


def test_damaged_and_foreign_signatures_are_refused(tmp_path):
    source = laid(tmp_path / "in", some(50), 50)
    dedup({"s": source}, out=tmp_path / "out")
    (made,) = (tmp_path / "out" / "signatures").iterdir()
    whole = made.read_bytes()
    at = whole.find(pq.read_table(made, columns=["signature"])["signature"][7].as_py())
    made.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])  # one bit of one signature
    with pytest.raises(EnvironmentFault, match=made.name):
        dedup({"s": source}, out=tmp_path / "out")
    made.write_bytes(whole[:-200])
    with pytest.raises(EnvironmentFault, match=made.name):
        dedup({"s": source}, out=tmp_path / "out")
    pq.write_table(pq.read_table(made.parent.parent / "keep.parquet"), made)
    with pytest.raises(EnvironmentFault, match="scheme is None"):
        dedup({"s": source}, out=tmp_path / "out")


def test_datasketch_takes_our_signatures_and_gives_them_back():
    texts = [text(0), edited(text(0), 40), text(1)]
    signed = kernels.signatures(texts)
    lsh = signatures.index(["a", "c"], signed[[0, 2]])
    assert isinstance(lsh, MinHashLSH)
    lean = signatures.to_datasketch(signed)
    assert all(isinstance(m, LeanMinHash) for m in lean)
    assert lsh.query(lean[1]) == ["a"]
    lsh.insert("b", lean[1])
    assert sorted(lsh.query(lean[0])) == ["a", "b"]
    assert lean[0].jaccard(lean[1]) == (signed[0] == signed[1]).mean()
    assert np.array_equal(signatures.from_datasketch(lean), signed)
    theirs = MinHash(num_perm=128, seed=1, scheme="affine32", hashfunc=int)
    theirs.update_batch(kernels.shingle_hashes([texts[0]])[0].tolist())
    assert lsh.query(theirs) == lsh.query(lean[0])


@pytest.mark.parametrize(
    ("told", "wrong"),
    [({"scheme": "legacy"}, "scheme is 'legacy'"), ({"seed": 3}, "seed is 3"), ({"num_perm": 64}, "num_perm is 64")],
)
def test_minhashes_of_another_kind_are_refused(told, wrong):
    other = MinHash(**{"num_perm": 128, "seed": 1, "scheme": "affine32", **told})
    with pytest.raises(ConfigError, match=wrong):
        signatures.from_datasketch([other])


def test_extreme_documents_are_bounded():
    big = " ".join(WORDS * 30)  # 400 kB
    texts = ["\ud800", "one", big, big + " more", *["the same words again and again"] * 2000]
    began = time.process_time()
    report = dedup({"s": texts})
    assert time.process_time() - began < 20
    assert sorted(report.keep["id"], key=int) == ["0", "1", "3", "10"]  # of equal texts the smallest id


def test_ray_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentFault, match=r"mixlab\[ray\]"):
        dedup({"s": laid(tmp_path, some(5))}, Dedup(executor="ray"))
