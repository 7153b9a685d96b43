from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixlab.data.documents import membership, read_docs, write_docs
from mixlab.errors import EnvironmentFault
from mixlab.types import Document
from mixlab.workspace import file_sha256


def docs(n: int) -> list[Document]:
    return [Document(id=f"d{i}", text=f"text {i} é", url=None if i % 2 else "u", meta={"k": "v"}) for i in range(n)]


def test_documents_come_back_as_they_were_written(tmp_path: Path):
    assert write_docs(tmp_path, docs(3)) == (3, 3 * len("text 0 é".encode()))
    rows = [r for batch in read_docs(tmp_path) for r in batch.to_pylist()]
    assert [r["id"] for r in rows] == ["d0", "d1", "d2"]
    assert rows[0] == {"id": "d0", "text": "text 0 é", "url": "u", "licence": "unknown", "meta": '{"k": "v"}'}
    assert rows[1]["url"] is None


def test_files_are_of_bounded_size_and_keep_the_order(tmp_path: Path):
    big = [Document(id=f"{i:02d}", text="x" * 3_000_000) for i in range(7)]
    write_docs(tmp_path, big, file_bytes=8_000_000)
    assert len(list(tmp_path.glob("docs-*.parquet"))) == 4
    assert [i for b in read_docs(tmp_path, ["id"]) for i in b["id"].to_pylist()] == [d.id for d in big]


def test_an_empty_source_can_still_be_read(tmp_path: Path):
    assert write_docs(tmp_path, []) == (0, 0)
    assert sum(b.num_rows for b in read_docs(tmp_path)) == 0
    assert pq.read_schema(tmp_path / "docs-00000.parquet").names == ["id", "text", "url", "licence", "meta"]


def test_the_same_documents_give_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_docs(tmp_path / name, docs(50))
    assert file_sha256(tmp_path / "a/docs-00000.parquet") == file_sha256(tmp_path / "b/docs-00000.parquet")


def test_a_damaged_file_is_named(tmp_path: Path):
    write_docs(tmp_path, docs(3))
    path = tmp_path / "docs-00000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EnvironmentFault, match=r"docs-00000\.parquet is damaged"):
        list(read_docs(tmp_path))


def test_who_trains_is_who_is_kept_and_neither_held_out_nor_contaminated(tmp_path: Path):
    def listed(name: str, ids: str, source: str = "a") -> None:
        rows = [{"source": source, "id": i} for i in ids] + [{"source": "other", "id": "k"}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")

    listed("keep", "klmn")
    listed("removed", "rs")
    listed("heldout", "l")
    listed("contaminated", "m")
    who = membership("a", tmp_path, tmp_path)
    assert (who.training, who.heldout, who.near_duplicates, who.contaminated) == ({*"kn"}, {"l"}, {*"rs"}, {"m"})
