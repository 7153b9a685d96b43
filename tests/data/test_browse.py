"""Documents page by page, their fates, and what a changed rule set would keep."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixlab.data import atlas, browse, clean, documents, labels, matches, switches
from mixlab.data.audit import audit, keep, kept
from mixlab.data.cleaned import cleaned_sources, cleanings, raw_of
from mixlab.data.explain import explain
from mixlab.data.profiles import steps_of
from mixlab.data.rules import clean as clean_text
from mixlab.errors import ConfigError, MissingError
from mixlab.results import charts_data
from mixlab.types import Document
from mixlab.workspace import build, key_of, write_json
from tests.data.test_atlas import LINES, TFDS, lab_of
from tests.data.test_atlas import documents as pages

GOOD = "\n".join(LINES[:2] * 2)


def list_of(ws, stage, name, rows, facts):
    folder = ws.artefact(stage, "pool", f"0000{name}")
    folder.mkdir(parents=True)
    for file, told in rows.items():
        pq.write_table(pa.Table.from_pylist(told, NAMES[file]), folder / f"{file}.parquet")
    write_json(folder / "manifest.json", facts)
    return folder


ID = [("source", pa.string()), ("id", pa.string())]
NEAR = [("kept_source", pa.string()), ("kept_id", pa.string()), ("jaccard", pa.float64()), ("reason", pa.string())]
NAMES = {
    "keep": pa.schema(ID),
    "heldout": pa.schema(ID),
    "contaminated": pa.schema(ID),
    "removed": pa.schema(ID + NEAR),
}


@pytest.fixture
def pooled(tmp_path):
    """Six good documents and one that is dropped: one duplicate, one held out, one contaminated, three trained on."""
    docs = [Document(id=f"g{i}", text=f"{GOOD}\nAnd document {i} ends here.") for i in range(6)]
    ws = lab_of(tmp_path, [*docs, Document(id="bad", text=f"{GOOD}\n{{ A brace is in this line.")])
    twin = {"source": "s", "id": "g1", "kept_source": "s", "kept_id": "g0", "jaccard": 0.9, "reason": "near"}
    keep_ = [{"source": "s", "id": f"g{i}"} for i in (0, 2, 3, 4, 5)]
    list_of(ws, "dedup", "0001", {"keep": keep_, "removed": [twin]}, {"per_source": {"s": {}}})
    held = {"heldout": [{"source": "s", "id": "g2"}], "contaminated": [{"source": "s", "id": "g3"}]}
    list_of(ws, "split", "0002", held, {"heldout": {"s": 1}})
    return ws


def test_each_document_has_one_fate_and_the_last_stage_is_what_is_trained_on(pooled):
    told = cleaned_sources(pooled)[0]
    lists = browse.lists_of(pooled, told)
    found = browse.fates(told, lists)
    assert dict(zip(found["fate"], found["docs"], strict=True)) == {
        "kept": 3, "dropped": 1, "duplicate": 1, "contaminated": 1, "held out": 1
    }  # fmt: skip
    stages = browse.stages(pooled, [told])
    assert stages["step"].tolist()[-3:] == ["duplicates", "holds held-out text", "held out"]
    assert stages["docs"].tolist()[-4:] == [6, 5, 4, 3] and stages["docs"].iloc[0] == 7
    assert stages["bytes"].iloc[-1] == found.set_index("fate").loc["kept", "bytes_out"]


def test_a_pool_or_a_hold_out_of_other_documents_is_not_taken(pooled):
    told = cleaned_sources(pooled)[0]
    other = [{"source": "s", "id": f"x{i}"} for i in range(6)]
    list_of(pooled, "dedup", "0009", {"keep": other, "removed": []}, {"per_source": {"s": {}}})
    list_of(pooled, "split", "000a", {"heldout": other[:1], "contaminated": []}, {"heldout": {"s": 1}})
    lists = browse.lists_of(pooled, told)
    assert lists.dedup is not None and lists.split is not None
    assert lists.dedup.name == "pool-00000001" and lists.split.name == "pool-00000002"


def test_a_page_says_why_each_document_went(pooled):
    told = cleaned_sources(pooled)[0]
    lists = browse.lists_of(pooled, told)
    gone = browse.page(pooled, told, lists, browse.Ask(fate="dropped"), size=5, number=1)
    assert gone["id"].tolist() == ["bad"] and gone["why"].iloc[0] == "filtered:squigglybracket"
    twin = browse.page(pooled, told, lists, browse.Ask(fate="duplicate"), size=5, number=1).iloc[0]
    assert (twin["id"], twin["kept_id"], twin["why"]) == ("g1", "g0", "J 0.900, near: s g0")
    assert browse.count(told, lists, browse.Ask(part="G", ids=["g1", "g2", "bad"])) == 2
    assert browse.count(told, lists, browse.Ask(rule="line-filtered:no_endmark")) == 0
    assert browse.count(told, lists, browse.Ask(rule="filtered:squigglybracket", only=True)) == 1


def test_pages_cover_all_documents_in_order_and_read_only_their_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "GROUP_DOCS", 16)
    docs = pages(80)
    ws = lab_of(tmp_path, docs)
    told = cleaned_sources(ws)[0]
    assert documents.pq.ParquetFile(raw_of(ws, told) / "docs-00000.parquet").num_row_groups == 5
    read = []
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda f, g, **k: read.append(g) or whole(f, g, **k))
    seen = []
    for number in range(1, 9):
        seen += browse.page(ws, told, browse.Lists(), browse.Ask(), size=10, number=number)["id"].tolist()
    assert seen == [doc.id for doc in docs]
    assert len(read) <= 12  # 8 pages over 5 groups: a page of 10 touches one or two of 16
    assert browse.page(ws, told, browse.Lists(), browse.Ask(), size=10, number=9).empty
    found = documents.doc_of(raw_of(ws, told), "d079")
    assert found is not None and found["text"] == docs[79].text
    assert documents.doc_of(raw_of(ws, told), "none such") is None


@pytest.mark.parametrize(
    "asked",
    [
        ["badword=off", "filtered:squigglybracket=off"],
        ["filtered:too_few_sentences=1", "badword=off", "filtered:loremipsum=off"],
        ["min_sentences=5", "max_chars=150"],
        [],
    ],
)
def test_several_switches_at_once_are_what_cleaning_with_the_changed_profile_gives(tmp_path, asked):
    docs = pages(60, seed=2)
    cleaned = cleaned_sources(lab_of(tmp_path, docs))
    changes = [atlas.change(a) for a in asked]
    row = switches.answer(cleaned, changes).iloc[0]
    changed = switches.profile_with(TFDS, changes)
    now, then = (
        {d.id: made.text for d in docs if (made := clean_text(d.text, p, d.url)).text and made.text.strip()}
        for p in (TFDS, changed)
    )
    assert (row["docs"], row["docs_then"]) == (len(now), len(then))
    assert row["bytes_then"] == sum(len(text.encode()) for text in then.values())
    assert (row["docs_back"], row["docs_gone"]) == (len(set(then) - set(now)), len(set(now) - set(then)))


def test_a_switch_of_no_source_is_refused_and_a_random_control_has_none(tmp_path):
    cleaned = cleaned_sources(lab_of(tmp_path, pages(10)))
    with pytest.raises(ConfigError, match="is in no profile here"):
        switches.answer(cleaned, [atlas.change("gopher_short_doc=off")])
    with pytest.raises(ConfigError, match="at random"):
        switches.profile_with("random(of=c4/tfds-3.1.0+lang/en)", [atlas.change("badword=off")])
    steps_of(switches.profile_with("gopher/repetition", [atlas.change("dup_line_frac=0.5")]))


def test_a_histogram_counts_every_document_once(tmp_path):
    ws = lab_of(tmp_path, pages(80))
    told = cleaned_sources(ws)[0]
    for rule in browse.thresholds(told):
        bars = switches.histogram(told, rule)
        assert bars["docs"].sum() == 80 and (bars["high"] > bars["low"]).all()
        hit = browse.count(told, browse.Lists(), browse.Ask(rule=rule))
        assert bars["dropped"].sum() == hit
        limit = browse.thresholds(told)[rule]
        drawn = charts_data.measures(bars, rule, limit, limit + 1, "min").to_dict()
        assert str(hit) in drawn["description"] and "moved" in drawn["description"]
    assert switches.histogram(told, "badword").empty


def test_charts_of_cleaning_say_what_they_show(tmp_path):
    ws = lab_of(tmp_path, pages(80))
    cleaned = cleaned_sources(ws)
    fall, kills = browse.stages(ws, cleaned), atlas.kills(cleaned)
    assert "documents are left" in charts_data.waterfall(fall).to_dict()["description"]
    assert "removes most" in charts_data.kills(kills, {"s": "#000000"}).to_dict()["description"]
    assert "nothing is removed" in charts_data.kills(kills.iloc[:0], {}).to_dict()["description"]
    assert "pairs" in charts_data.overlap(atlas.overlap(cleaned)).to_dict()["description"]


def test_matched_spans_stand_where_the_rule_looks(tmp_path):
    text = "\n".join([LINES[0], "A {b} and {c} are here now.", "no end mark here at all", "The ass is an ass indeed."])
    ws = lab_of(tmp_path, [Document(id="x", text=text)])
    found = explain(ws, cleaned_sources(ws)[0], "x")
    told = [(n, found.lines[n - 1][1][start:end], rule) for n, start, end, rule in found.spans]
    assert told == [
        (2, "{", "filtered:squigglybracket"), (2, "{", "filtered:squigglybracket"),
        (3, "l", "line-filtered:no_endmark"), (4, "ass", "badword"), (4, "ass", "badword"),
    ]  # fmt: skip
    assert matches.spans("cutlass ass_1 ASS", "badword", "en-377") == [(14, 17)]
    assert matches.spans("ass, ass", "has_naughty_word", "en-403") == [(5, 8)]
    assert not matches.is_located("gopher_short_doc") and matches.is_located("badword")


def test_a_label_holds_until_another_is_given(tmp_path):
    ws = lab_of(tmp_path, [Document(id="=x", text=GOOD), Document(id="y", text="Too short.")])
    told = cleaned_sources(ws)[0]
    labels.put(ws, told, "=x", "bad", "boiler plate")
    labels.put(ws, told, "y", "bad")
    labels.put(ws, told, "y", "good", "fine")
    held = labels.read(ws).set_index("id")
    assert held.loc["y", ["label", "fate", "note"]].tolist() == ["good", "filtered:too_few_sentences", "fine"]
    assert held.loc["=x", "fate"] == "kept"
    labels.put(ws, told, "y", "none")
    assert labels.read(ws)["id"].tolist() == ["=x"] and labels.read(ws, "other").empty
    labels.export(labels.read(ws), tmp_path / "a.csv")
    assert "'=x" in (tmp_path / "a.csv").read_text() and '"id": "=x"' in labels.as_lines(labels.read(ws))
    with pytest.raises(ConfigError, match=r"\.csv or \.jsonl"):
        labels.export(labels.read(ws), tmp_path / "a.xls")
    with pytest.raises(ConfigError, match="good or bad"):
        labels.put(ws, told, "y", "goood")
    with pytest.raises(MissingError, match="there is no document 'zz'"):
        labels.put(ws, told, "zz", "good")


def test_an_audit_is_kept_for_the_cleaning_it_looked_at(tmp_path):
    ws = lab_of(tmp_path, pages(40))
    cleaned = cleaned_sources(ws)
    assert kept(ws, cleaned) is None
    found = audit(ws, cleaned, {"fine": "good"})
    keep(ws, found, cleaned)
    again = kept(ws, cleaned)
    assert again is not None
    pd.testing.assert_frame_equal(again.rates, found.rates, rtol=1e-12)
    assert list(again.words.columns) == list(found.words.columns) and len(again.swaps) == len(found.swaps)


def test_all_cleanings_of_a_source_are_known_the_newest_first(tmp_path):
    ws = lab_of(tmp_path, pages(10))
    raw = ws.artefact("raw", "s", "0000aaaa")
    key = key_of("clean", clean.VERSION, "none", {"raw": "0000aaaa"})
    build(ws.artefact("clean", "s", key), lambda out: clean.clean_source(raw, "none", out))
    assert [told.profile for told in cleanings(ws)] == ["none", TFDS]
    assert [told.profile for told in cleaned_sources(ws)] == ["none"]
    assert cleaned_sources(ws, cleanings(ws)[1].path.name)[0].profile == TFDS
