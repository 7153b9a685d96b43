"""Ray as back end: two nodes on this machine, one killed midway; the job finishes, the result is the same.

Needs the extra `ray`, which the default test set-up leaves out; without it these are skipped.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixlab.data import shardmap, signatures
from mixlab.data.dedup import dedup, dedup_pool
from mixlab.data.documents import write_docs
from mixlab.data.report import DedupReport
from mixlab.types import Dedup, Document

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed: pip install 'mixlab[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # ray warns of its own
WORDS = [f"word{i}" for i in range(500)]
WAIT_SECONDS = 120


@pytest.fixture
def nodes():
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    here = {
        "env_vars": {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}"}
    }  # workers import this file
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=here)
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def laid(folder: Path, count: int) -> Path:
    folder.mkdir()
    for n in range(count):
        rng = np.random.default_rng(n % 4)
        texts = [" ".join(rng.choice(WORDS, 60)) for _ in range(10)]
        write_docs(folder, [Document(id=f"{n:03}-{i}", text=t) for i, t in enumerate(texts)])
        (folder / "docs-00000.parquet").rename(folder / f"part-{n}")
    for path in folder.glob("part-*"):
        path.rename(folder / f"docs-{int(path.name[5:]):05}.parquet")
    return folder


def slowly(marks: Path, work: shardmap.Work, source: Path, made: Path) -> None:
    """The work, half a second late; says on which node."""
    (marks / source.name).write_text(ray.get_runtime_context().get_node_id())
    time.sleep(0.5)
    work(source, made)


def copy(source: Path, made: Path) -> None:
    made.write_bytes(source.read_bytes())


def killer(nodes, marks: Path) -> tuple[list[int], Callable[[int, int], None]]:
    """Kills the second node as soon as both are at work; and the list of what was done by then."""
    cluster, second = nodes
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if not killed and len({p.read_text() for p in marks.iterdir()}) == 2:
            killed.append(done)
            cluster.remove_node(second, allow_graceful=False)

    return killed, kill


def test_a_killed_node_changes_nothing(nodes, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    files = sorted(laid(tmp_path / "in", 12).iterdir())
    killed, kill = killer(nodes, marks)
    pairs = [(f, tmp_path / "out" / f.name) for f in files]
    shardmap.map_shards(functools.partial(slowly, marks, copy), pairs, executor="ray", progress=kill)
    assert killed and killed[0] < len(files)
    assert [made.read_bytes() for _, made in pairs] == [f.read_bytes() for f in files]


def test_dedup_by_ray_with_a_node_killed_is_dedup_in_one_process(nodes, tmp_path, monkeypatch):
    marks, out = tmp_path / "marks", tmp_path / "out"
    marks.mkdir()
    out.mkdir()
    source = laid(tmp_path / "in", 12)
    ours = dedup({"s": source}, Dedup(workers=1))
    killed, kill = killer(nodes, marks)
    real = signatures.writer
    monkeypatch.setattr(signatures, "writer", lambda spec: functools.partial(slowly, marks, real(spec)))
    facts = dedup_pool({"s": source}, Dedup(executor="ray"), out, kill, shards=tmp_path / "signatures")
    theirs = DedupReport.read(out, facts)
    assert killed and killed[0] < 12
    assert len(ours.removed) == 80
    assert theirs.keep.equals(ours.keep) and theirs.removed.equals(ours.removed)
