"""Evaluation items in sources: found whole and short, told where, dropped or cut as asked, never silently missed."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixlab.data import decontaminate as room
from mixlab.data.decontaminate import decontaminate
from mixlab.data.documents import read_docs, write_docs
from mixlab.data.evalitems import Item, read_tasks, render
from mixlab.data.itemindex import MATCH, Wanted
from mixlab.errors import ConfigError, SourceError
from mixlab.types import Document

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "eval"
WORDS = [f"word{i}" for i in range(3000)]


def words(seed: int, size: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, size))


def item(number: int, size: int, answer: int = 0) -> Item:
    return Item(task=f"t{size}", number=number, query=words(number, size), answer=words(900 + number, answer))


LONG, MIDDLE, SHORT, TINY = item(0, 40, 10), item(1, 10), item(2, 5), item(3, 2)
ITEMS = [LONG, MIDDLE, SHORT, TINY]


def laid(folder: Path, texts: list[str]) -> Path:
    folder.mkdir(parents=True)
    write_docs(folder, [Document(id=str(n), text=t) for n, t in enumerate(texts)])
    return folder


def around(text: str, n: int) -> str:
    return f"{words(50 + n, 30)}. {text}! {words(70 + n, 20)}"


def left(folder: Path) -> dict[str, str]:
    return {r["id"]: r["text"] for b in read_docs(folder) for r in b.to_pylist()}


TEXTS = [around(i.text, n) for n, i in enumerate(ITEMS)] + [words(99, 200), around(LONG.query.upper(), 5)]


def test_items_are_found_where_they_stand(tmp_path):
    report = decontaminate({"s": laid(tmp_path / "s", TEXTS)}, ITEMS, tmp_path / "out")
    rows = report.hits.sort_values("id").to_dict("records")
    assert [(r["task"], r["id"], r["first_word"], r["end_word"]) for r in rows] == [
        ("t40", "0", 30, 80),
        ("t10", "1", 30, 40),
        ("t5", "2", 30, 35),
        ("t40", "5", 30, 70),
    ]
    assert [r["share"] for r in rows] == [1, 1, 1, 0.8]
    assert rows[0]["answer_share"] == 1 and rows[3]["answer_share"] == 0 and rows[3]["query_share"] == 1
    assert report.items["dirty"].tolist() == [True, True, True, False]
    assert report.items["ngram"].tolist() == [13, 8, 5, 0]  # what each was sought by; 0: too short
    table = report.summary.set_index("task")
    assert table.loc["t40", ["dirty", "answered", "docs", "met_13"]].tolist() == [1, 1, 2, 1]
    assert table.loc["t2", "too_short"] == 1
    assert report.sources["s"]["planted"] == report.sources["s"]["found"] == 3
    assert pd.read_parquet(tmp_path / "out" / "items.parquet").equals(report.items)


def test_documents_are_dropped_or_spans_cut_as_asked(tmp_path):
    at = {"s": laid(tmp_path / "s", [*TEXTS, SHORT.text])}
    told = decontaminate(at, ITEMS, tmp_path / "drop", "drop").sources["s"]
    assert left(tmp_path / "drop" / "s").keys() == {"3", "4"}
    assert (told["docs_in"], told["docs"], told["dropped"], told["cut"]) == (7, 2, 5, 0)
    told = decontaminate(at, ITEMS, tmp_path / "cut", "cut").sources["s"]
    texts = left(tmp_path / "cut" / "s")
    assert (told["docs"], told["dropped"], told["cut"]) == (6, 1, 4)  # of the last nothing is left
    for n in (0, 1, 2, 5):
        found = re.findall(r"\w+", texts[str(n)])
        plain = re.findall(r"\w+", TEXTS[n])
        assert found == plain[:30] + plain[-20:]
    assert texts["4"] == TEXTS[4]
    again = decontaminate({"s": tmp_path / "cut" / "s"}, ITEMS, tmp_path / "again")
    assert not again.hits["dirty"].any()


def test_part_of_an_item_is_dirty_from_the_share_on(tmp_path):
    half = " ".join(LONG.text.split()[:24])  # 24 of 50 words, 24 of the query's 40
    at = {"s": laid(tmp_path / "s", [around(half, 0)])}
    for share, dirty in ((0.5, True), (0.7, False)):
        report = decontaminate(at, ITEMS, tmp_path / str(share), min_share=share)
        assert report.items["dirty"].any() == dirty
        assert report.summary.set_index("task").loc["t40", ["met_8", "met_13"]].tolist() == [1, 1]


def test_a_blind_search_is_noticed(tmp_path, monkeypatch):
    at = {"s": laid(tmp_path / "s", TEXTS)}
    monkeypatch.setattr(room, "matches", lambda *_: np.empty(0, MATCH))
    with pytest.raises(AssertionError, match="the contamination check is blind: 3 of 3"):
        decontaminate(at, ITEMS, tmp_path / "out")


def test_nothing_to_search_and_nothing_to_look_for_are_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no documents"):
        decontaminate({"s": laid(tmp_path / "s", [])}, ITEMS, tmp_path / "out")
    with pytest.raises(SourceError, match="there is nothing to look for"):
        decontaminate({"s": laid(tmp_path / "s2", TEXTS)}, [TINY], tmp_path / "out2")
    with pytest.raises(SourceError, match="no evaluation items"):
        read_tasks([tmp_path])
    with pytest.raises(ConfigError, match="policy 'burn'"):
        decontaminate({}, ITEMS, tmp_path / "out3", "burn")


def test_task_files_say_their_format_or_are_refused_by_line(tmp_path):
    file = tmp_path / "mine.jsonl"
    rows = [{"query": "q\u2028", "choices": ["a", "b"], "gold": 1}, {"context": "c", "continuation": "d"}]
    file.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n", encoding="utf-8")
    assert [(i.task, i.number, i.query, i.answer) for i in read_tasks([file])] == [
        ("mine", 0, "q\u2028", "b"),
        ("mine", 1, "c", "d"),
    ]
    assert render({"context": "2+2", "chain_of_thought": "it is", "answer": "4"}) == ("2+2", "it is 4")
    file.write_text('{"query": "q"}\n', encoding="utf-8")
    with pytest.raises(SourceError, match="line 1: fields query are no known format"):
        read_tasks([file])
    file.write_text("{\n", encoding="utf-8")
    with pytest.raises(SourceError, match="line 1: not an evaluation item"):
        read_tasks([file])


def test_the_laid_tasks_are_read():
    if not GOLDEN.exists():
        pytest.skip(f"evaluation tasks are not at {GOLDEN}")
    items = read_tasks([GOLDEN])
    assert len(items) == 15116 and len({i.task for i in items}) == 13
    assert isinstance(room.build(items[:50]), Wanted)
