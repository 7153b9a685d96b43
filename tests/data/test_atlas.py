"""The atlas answers from stored verdicts what cleaning again would say."""

import json
import random
import re
from collections import Counter

import pyarrow.parquet as pq
import pytest

from mixlab.commands import cleaning
from mixlab.data import atlas, clean
from mixlab.data.audit import Audit, audit, log_odds, relative_risk, swapped, wilson
from mixlab.data.cleaned import cleaned_sources
from mixlab.data.documents import write_docs
from mixlab.data.explain import explain
from mixlab.data.profiles import PROFILES, steps_of
from mixlab.data.rulebook import rules_of
from mixlab.data.rules import clean as clean_text
from mixlab.errors import ConfigError, MissingError
from mixlab.types import Document
from mixlab.workspace import Workspace, build, key_of, write_json

LINES = [
    *("This line has an end. So it has two sentences.", "Another good line stands here.", "no end mark here at all"),
    *("{ A brace is in this line.", "Some lorem ipsum is in here.", "The ass is a fine animal.", "Too short."),
    *("Please enable javascript in here.", "Read our privacy policy some day.", "ok", "the of and to be", "- a bullet"),
]
TFDS = "c4/tfds-3.1.0?max_chars=300"


def documents(n=80, seed=0):
    rng = random.Random(seed)
    return [
        Document(id=f"d{i:03}", text="\n".join(rng.choices(LINES, k=rng.randint(1, 14))), url=f"http://a.org/{i}")
        for i in range(n)
    ]


def lab_of(path, docs, profile=TFDS, source="s"):
    ws = Workspace.open(path)
    raw = ws.artefact("raw", source, "0000aaaa")

    def write(out):
        n, size = write_docs(out, docs)
        return {"docs": n, "bytes": size}

    build(raw, write)
    key = key_of("clean", clean.VERSION, profile, {"raw": "0000aaaa"})
    build(ws.artefact("clean", source, key), lambda out: clean.clean_source(raw, profile, out))
    return ws


PAGE_PROFILES = [p for p in PROFILES if not p.startswith(("dedup/", "none", "c4/tfds-3.1.0-full"))]


@pytest.mark.parametrize("profile", [TFDS, *PAGE_PROFILES, "lang/en+c4/nopunct"])
def test_what_if_off_is_what_cleaning_without_the_rule_gives(tmp_path, profile):
    docs = documents()
    cleaned = cleaned_sources(lab_of(tmp_path, docs, profile))
    kept = {d.id for d in docs if (made := clean_text(d.text, profile, d.url)).text and made.text.strip()}
    for rule in cleaned[0].rules:
        if rule.name == "empty":
            continue
        link = next(p for p in profile.split("+") if rule in rules_of(steps_of(p)))
        without = profile.replace(link, f"{link}{'&' if '?' in link else '?'}without={rule.name}")
        again = {
            d.id: made.text for d in docs if (made := clean_text(d.text, without, d.url)).text and made.text.strip()
        }
        asked = atlas.change(f"{rule.name}=off")
        moved = atlas.moved_documents(cleaned, asked)
        assert set(moved["id"]) == set(again) - kept and set(moved["change"]) <= {"back"}
        answer = atlas.what_if(cleaned, asked).iloc[0]
        assert answer["docs"] + answer["docs_back"] == len(again) and answer["is_exact"]
        assert answer["bytes"] + answer["bytes_change"] == sum(len(t.encode()) for t in again.values())


@pytest.mark.parametrize(
    ("profile", "asked"),
    [
        *[("c4/tfds-3.1.0", f"min_sentences={n}") for n in (0, 1, 2, 4, 5)],
        *[("c4/tfds-3.1.0", "max_chars=150"), ("c4/datatrove-0.10", "min_sentences=2")],
        *[("gopher/quality", "min_doc_words=10"), ("gopher/quality", "min_stop_words=1")],
        *[("fineweb", "max_char_dup_ratio=0.2"), ("lang/en", "min_probability=0.9")],
    ],
)
def test_a_moved_threshold_is_what_cleaning_with_it_gives(tmp_path, profile, asked):
    docs = documents(60, seed=1)
    cleaned = cleaned_sources(lab_of(tmp_path, docs, profile))
    moved = atlas.moved_documents(cleaned, atlas.change(asked))
    now, then = (
        {d.id for d in docs if (made := clean_text(d.text, p, d.url)).text and made.text.strip()}
        for p in (profile, f"{profile}?{asked}")
    )
    changes = dict(zip(moved["id"], moved["change"], strict=True))
    assert {i for i, what in changes.items() if what == "back"} == then - now
    assert {i for i, what in changes.items() if what == "gone"} == now - then


def test_waterfall_and_shares_add_up(tmp_path):
    ws = lab_of(tmp_path, documents(120))
    tokens = ws.artefact("tokens", "s", "0000bbbb")
    tokens.mkdir(parents=True)
    write_json(tokens / "manifest.json", {"bytes": 400, "tokens": 100})
    cleaned = cleaned_sources(ws)
    facts = json.loads((cleaned[0].path / "manifest.json").read_text())
    fall, kills = atlas.waterfall(cleaned), atlas.kills(cleaned)
    assert fall["step"].tolist()[:3] == ["raw", "line rules", "too_long"] and fall["step"].iloc[-1] == "empty"
    assert fall["docs"].is_monotonic_decreasing and fall["bytes"].is_monotonic_decreasing
    first, last = fall.iloc[0], fall.iloc[-1]
    assert (first["docs"], first["bytes"]) == (facts["docs_in"], facts["bytes_in"])
    assert (last["docs"], last["bytes"], last["tokens"]) == (facts["docs"], facts["bytes"], round(facts["bytes"] / 4))
    assert kills["shapley_docs"].sum() == pytest.approx(facts["docs_in"] - facts["docs"])
    assert dict(zip(kills["rule"], kills["docs_first"], strict=True)) | facts["dropped"] == dict(
        zip(kills["rule"], kills["docs_first"], strict=True)
    )
    lost = int(fall.iloc[1]["bytes"]) - facts["bytes"]
    assert kills["shapley_bytes"].sum() == pytest.approx(lost)
    pairs = atlas.overlap(cleaned)
    assert (pairs["docs"] > 0).all() and pairs["jaccard"].between(0, 1).all()
    told = dict(zip(*(atlas.lines(cleaned)[c] for c in ("rule", "lines")), strict=True))
    assert told == facts["lines_dropped"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("badwords=off", "Did you mean 'badword'"),
        ("badword", "say `off` or a number"),
        ("badword=3", "has no threshold"),
        ("min_sentences=9", "counted up to 5 only"),
        ("line-filtered:policy=off", "is a line rule"),
        ("gopher_short_doc=off", "is in no profile here"),
    ],
)
def test_what_cannot_be_answered_is_told_with_the_way_out(tmp_path, asked, told):
    cleaned = cleaned_sources(lab_of(tmp_path, documents(3)))
    with pytest.raises(ConfigError, match=re.escape(told)):
        atlas.what_if(cleaned, atlas.change(asked))


def test_no_cleaning_is_said_and_a_later_comparison_makes_an_answer_inexact(tmp_path):
    with pytest.raises(MissingError, match="mixlab data prepare"):
        cleaned_sources(Workspace.open(tmp_path / "none"))
    cleaned = cleaned_sources(lab_of(tmp_path / "lab", documents(20), "c4/tfds-3.1.0-full?min_probability=0"))
    before = atlas.what_if(cleaned, atlas.change("filtered:too_few_sentences=off"))
    after = atlas.what_if(cleaned, atlas.change("badword=off"))
    assert not before["is_exact"].any() and after["is_exact"].all()


def test_a_biased_list_raises_the_alarm_and_the_swap_tells_the_term_from_its_company(tmp_path, monkeypatch):
    good = "One is here now. Two is here now. Three is here now."
    docs = [
        Document(id=f"p{i}", text=f"{good} A lesbian writer. {'Sex, they say.' if i < 20 else ''}") for i in range(30)
    ]
    docs += [Document(id=f"q{i}", text=f"{good} A queer writer {i}.") for i in range(20)]
    docs += [Document(id=f"o{i}", text=f"{good} Some other text {i}.") for i in range(150)]
    ws = lab_of(tmp_path, docs)
    found = audit(ws, cleaned_sources(ws))
    row = found.rates.query("rule == 'badword' and term == 'lesbian'").iloc[0]
    assert (row["docs"], row["removed"]) == (30, 20)
    assert row["low"] < 2 / 3 < row["high"] and row["base_rate"] == 0.1
    assert row["relative_risk"] == pytest.approx((20 / 30) / 0.1)
    assert set(found.alarms(1.5)["term"]) == {"lesbian"} and found.alarms(7).empty
    swap = found.swaps.query("term == 'lesbian' and rule == 'badword'").iloc[0]
    assert (swap["removed"], swap["freed"]) == (20, 0)  # the company it keeps, not the term
    assert found.words["word"].iloc[0] in ("sex", "say", "they", "lesbian")
    monkeypatch.setenv("MIXLAB_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        cleaning.audit(None, 1.5, False)
    assert stopped.value.code == 3
    cleaning.audit(None, 7.0, True)


def test_a_term_that_is_itself_on_the_list_is_freed_by_the_swap(tmp_path):
    text = "One is here now. Two is here now. Three is a negro spiritual."
    ws = lab_of(tmp_path, [Document(id="a", text=text)])
    found = audit(ws, cleaned_sources(ws), {"negro": "local"})
    assert isinstance(found, Audit) and found.swaps.values.tolist() == [
        ["s", "any rule", "negro", 1, 1],
        ["s", "badword", "negro", 1, 1],
    ]


def test_the_swap_tells_which_rule_the_term_alone_sets_off(tmp_path):
    ws = lab_of(tmp_path, [Document(id="a", text="Only two are here now. One is a negro spiritual.")])
    found = audit(ws, cleaned_sources(ws), {"negro": "local"}).swaps
    assert dict(zip(found["rule"], found["freed"], strict=True)) == {
        "any rule": 0,  # too few sentences are left, whatever the word
        "badword": 1,
        "filtered:too_few_sentences": 0,
    }


def test_a_word_of_every_document_does_not_mark_the_short_ones():
    removed, kept = (
        Counter({"the": 90, "rare": 20}),
        Counter({"the": 99, "rare": 1, **{f"w{i}": 50 for i in range(99)}}),
    )
    assert [row[0] for row in log_odds(removed, kept, 100, 100, top=5)] == ["rare"]


def test_the_statistics_are_those_of_the_textbooks():
    low, high = wilson(0, 10)
    assert low == 0 and high == pytest.approx(0.2775, abs=1e-4)  # Newcombe (1998), table I: 0 of 10
    risk, low, high = relative_risk(20, 100, 10, 100)
    assert (risk, low, high) == (2, pytest.approx(0.987, abs=1e-3), pytest.approx(4.054, abs=1e-3))
    assert relative_risk(0, 5, 1, 9) is None
    assert log_odds(Counter({"a": 50, "b": 50}), Counter({"a": 5, "b": 95}), 100, 100, top=1)[0][0] == "a"
    assert swapped("The gay, GAYS' and a Lesbian; gayly", {"gay": "tall", "lesbian": "tall"}) == (
        "The tall, TALLS' and a Tall; gayly"
    )


def test_a_document_is_explained_line_by_line(tmp_path, monkeypatch, capsys):
    text = "\n".join([LINES[0], LINES[3], "no end", LINES[5], LINES[7]])
    ws = lab_of(tmp_path, [Document(id="x", text=text), Document(id="y", text="\n".join(LINES[:2] * 2))])
    told = cleaned_sources(ws)[0]
    found = explain(ws, told, "x")
    assert [what for _, _, what in found.lines] == [
        "kept",
        "kept, filtered:squigglybracket",
        "line-filtered:no_endmark",
        "kept",
        "line-filtered:javascript",
    ]
    assert not found.kept and found.reason == "filtered:squigglybracket"
    verdicts = {name: (hit, what) for name, hit, what in found.rules}
    assert verdicts["badword"] == (True, "found: ass")
    assert verdicts["filtered:too_few_sentences"] == (False, "4, must be at least 3")
    with pytest.raises(MissingError, match="Did you mean 'x'"):
        explain(ws, told, "xx")
    monkeypatch.setenv("MIXLAB_HOME", str(tmp_path))
    cleaning.explain("s", "y", False)
    assert "kept" in capsys.readouterr().out
    cleaning.atlas("s", None, True)
    assert set(json.loads(capsys.readouterr().out)) == {"waterfall", "kills", "overlap", "lines"}
    cleaning.atlas(None, ["badword=off"], False)
    assert "Documents that would move" in capsys.readouterr().out
    cleaning.atlas(None, ["badword=off", "min_sentences=1"], True)
    assert json.loads(capsys.readouterr().out)["sources"][0]["docs_then"] == 1


@pytest.mark.parametrize(
    "profile",
    [TFDS, "c4/dolma-v1+c4/tfds-3.1.0", "c4/nopunct+c4/dolma-v1", "c4/datatrove-0.10+c4/tfds-3.1.0?min_words=6"],
)
def test_every_line_that_a_chain_drops_is_explained_by_its_rule(tmp_path, profile):
    odd = Document(id="odd", text="Two in one to dolma.\u2028short\u2028Three words here, mind. \n\nAnother good line.")
    ws = lab_of(tmp_path, [*documents(12), odd], profile)
    told = cleaned_sources(ws)[0]
    verdicts = {v["id"]: dict(v["lines_dropped"]) for v in pq.read_table(told.path / "verdicts.parquet").to_pylist()}
    for doc_id in [f"d{i:03}" for i in range(12)] + ["odd"] * ("dolma" not in profile):
        whats = [what.split(", ") for _, _, what in explain(ws, told, doc_id).lines]
        lines = {r.name for r in rules_of(steps_of(profile)) if r.level == "line"}
        assert Counter(w for what in whats if what[0] != "kept" for w in what if w in lines) == verdicts[doc_id]
    assert [what for _, _, what in explain(ws, told, "odd").lines]


def test_lines_that_went_to_other_pages_or_came_twice_are_explained(tmp_path):
    profile = "c4/tfds-3.1.0-full?min_probability=0&min_dedup_sentences=0"
    own = [f"This line stands on page {i} alone. So does this one." for i in "xy"]
    cited = "[1] A line that opens with a citation."  # its blank stays: the line is stripped before, not after
    docs = [Document(id=i, text="\n".join([own[n], cited, LINES[0], own[n].upper()])) for n, i in enumerate("xy")]
    ws = lab_of(tmp_path, docs, profile)
    told = [[what for _, _, what in explain(ws, cleaned_sources(ws)[0], i).lines] for i in "xy"]
    elsewhere = ["line-filtered:global_duplicate"] * 2
    repeat = "line-filtered:local_duplicate"
    assert sorted(told) == [["kept", "kept", "kept", repeat], ["kept", *elsewhere, repeat]]
    rules = [{name: what for name, _, what in explain(ws, cleaned_sources(ws)[0], i).rules} for i in "xy"]
    assert sorted(r["dedupe-lines:empty"] for r in rules) == ["", "lines that other pages keep: 2"]


def test_a_near_duplicate_is_explained_by_its_kept_partner(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = "\n".join(LINES[:2] * 2)
    ws = lab_of(tmp_path, [Document(id="x", text=good), Document(id="y", text=good)])
    pool = ws.artefact("dedup", "pool", "0000cccc")
    pool.mkdir(parents=True)
    row = {"source": "s", "id": "x", "kept_source": "s", "kept_id": "y", "jaccard": 1.0, "containment": 1.0}
    row |= {"exact": True, "shared_words": 4, "shared_start": 1, "kept_start": 1}
    pq.write_table(pa.Table.from_pylist([row]), pool / "removed.parquet")
    pq.write_table(pa.table({"source": ["s"], "id": ["y"]}), pool / "keep.parquet")
    write_json(pool / "manifest.json", {})
    told = cleaned_sources(ws)[0]
    partner = explain(ws, told, "x").duplicate
    assert partner is not None and (partner["kept_id"], partner["shared_span"]) == ("y", "line has an end")
    assert explain(ws, told, "y").duplicate is None
