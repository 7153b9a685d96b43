"""Sources, Filters and Documents: in three labs, with documents that would like to be more than text."""

import json
import shutil

import pytest
import yaml

from mixlab import jobs
from mixlab.data import labels
from mixlab.workspace import Workspace
from tests.app.corpora_lab import EVIL, PAGES, make_corpora
from tests.app.driver import said, show

EVIL_ID = next(name for name in PAGES if name.startswith("evil"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The lab of corpora, written once. Copy it, do not write."""
    root = tmp_path_factory.mktemp("corpora")
    make_corpora(root / "lab")
    return root / "lab"


@pytest.fixture
def corpus(project, made):
    """A copy of the lab of corpora, the app pointed at it."""
    shutil.copytree(made, project / "lab", copy_function=shutil.copy2)
    return project / "lab"


def passages(at) -> list[dict]:
    """What the text components were given."""
    return [json.loads(e.proto.json) for e in at.get("bidi_component")]


@pytest.mark.parametrize("page", ["sources", "filters", "documents"])
def test_an_empty_lab_says_what_to_do(project, page):
    assert "mixlab data prepare" in [line for code in show(page).code for line in code.value.splitlines()]


@pytest.mark.parametrize("page", ["sources", "filters", "documents"])
@pytest.mark.parametrize("state", ["lab", "demo_lab"])
def test_pages_stand_in_a_lab_of_tokens_and_runs_alone(request, page, state):
    request.getfixturevalue(state)
    at = show(page)
    assert ("4 of 5" if page == "sources" else "No source is cleaned") in said(at) + "".join(m.value for m in at.metric)


def test_the_catalogue_shows_size_licence_and_fingerprint(corpus):
    at = show("sources")
    told = at.dataframe[0].value.set_index("source")
    assert told.loc["pages", ["docs", "tokens", "licence", "language", "fingerprint"]].tolist() == [
        43, 1000, "CC0-1.0", "en", "abcdefabcdef"
    ]  # fmt: skip
    assert "mixlab data prepare 'source=[books,code,docs,wiki]' cleaning=starter" in said(at)


def test_preparing_starts_one_detached_job_however_often_it_is_asked(corpus, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "_start", lambda ws, folder: started.append(folder))
    monkeypatch.setattr(jobs, "START_S", 1e9)  # it stays "starting" however slow the machine is
    at = show("sources")
    at.multiselect(key="prepare").set_value(["books"]).run()
    button = next(b for b in at.button if b.label == "Prepare")
    button.click().run()
    at.run()
    assert len(started) == 1
    assert jobs.jobs(Workspace(corpus))[0]["words"] == ["data", "prepare", "source=[books]", "cleaning=starter"]
    assert next(b for b in at.button if b.label == "Prepare").disabled


def test_a_source_is_added_by_the_form_and_its_draft_is_kept_until_then(corpus, project):
    (project / "mine.txt").write_text("Text of mine.")
    at = show("sources")
    at.text_input(key="new_name").set_value("mine").run()
    assert "needs `paths`" in said(at)
    at.text_area(key="new_paths").set_value("mine.txt").run()
    at.text_input(key="new_licence").set_value("MIT").run()
    assert not at.error
    at = show("sources")  # a reload
    assert at.text_input(key="new_name").value == "mine" and at.text_area(key="new_paths").value == "mine.txt"
    content = "# @package sources.mine\nkind: files\npaths:\n- mine.txt\nlicence: MIT\n"
    assert content in [code.value + "\n" if not code.value.endswith("\n") else code.value for code in at.code]
    at.button(key="save_source").click().run()
    assert (project / "sweeps" / "source" / "mine.yaml").read_text() == content
    assert "mine" in show("sources").multiselect(key="prepare").options


def test_a_switched_rule_tells_its_tokens_at_once_and_is_saved_as_a_cleaning(corpus, project):
    at = show("filters", look="What if")
    before = {m.label: m for m in at.metric}
    assert before["Come back"].value == "0" and before["Tokens"].delta == "no change"
    at.toggle(key="on-badword").set_value(False).run()
    after = {m.label: m for m in at.metric}
    assert after["Come back"].value == "1" and after["Tokens"].delta.startswith("+")
    assert "mixlab data atlas --what-if badword=off" in said(at)
    at.number_input(key="limit-filtered:too_few_sentences").set_value(1.0).run()
    assert {m.label: m.value for m in at.metric}["Come back"] == "2"
    at.text_input(key="rule_set").set_value("looser").run()
    at.button(key="save_rules").click().run()
    told = yaml.safe_load((project / "sweeps" / "cleaning" / "looser.yaml").read_text())
    assert told["per_source"]["pages"] == "c4/tfds-3.1.0?without=badword&min_sentences=1"
    assert told["per_source"]["plain"] == "none"
    at.text_input(key="rule_set").set_value("../evil").run()
    assert "cannot be used" in said(at)


def test_a_switch_is_shared_by_the_address(corpus):
    at = show("filters", look="What if", **{"on-filtered:squigglybracket": "false"})
    assert "--what-if filtered:squigglybracket=off" in said(at)


@pytest.mark.parametrize("look", ["What is left", "Rules", "Thresholds", "Bias audit"])
def test_each_look_at_the_filters_has_words_for_its_charts(corpus, look):
    at = show("filters", look=look)
    charts = at.get("vega_lite_chart")
    assert len(charts) == {"What is left": 2, "Rules": 2, "Thresholds": 1, "Bias audit": 0}[look]
    assert all(json.loads(chart.proto.spec)["description"] for chart in charts)
    if look == "Bias audit":
        assert "not audited yet" in said(at) and "mixlab data audit" in said(at)


def test_documents_are_found_by_fate_and_rule_and_a_label_is_kept(corpus):
    at = show("documents", source="pages", fate="dropped")
    assert sorted(at.dataframe[0].value["fate"].unique()) == ["dropped"] and len(at.dataframe[0].value) == 4
    at = show("documents", source="pages", rule="filtered:squigglybracket", only="true")
    assert at.dataframe[0].value["id"].tolist() == ["brace"]
    at = show("documents", source="pages", id="swear")
    assert "Dropped by cleaning" in said(at) and "found: sex" in str(at.dataframe[1].value["measured"].tolist())
    at.button(key="label-bad").click().run()
    held = labels.read(Workspace(corpus))
    assert held[["source", "id", "label", "fate"]].values.tolist() == [["pages", "swear", "bad", "badword"]]
    assert show("documents", source="pages", label="bad").dataframe[0].value["id"].tolist() == ["swear"]


def test_no_match_offers_to_clear_and_an_unknown_id_names_the_nearest(corpus):
    at = show("documents", source="pages", part="nothing like this")
    assert "0 documents match" in said(at)
    at.button(key="clear").click().run()
    assert len(at.dataframe[0].value) == 20
    assert "Did you mean 'brace'" in said(show("documents", source="pages", id="bracee"))


def test_a_near_duplicate_stands_beside_the_kept_document(corpus):
    at = show("documents", source="pages", id="twin")
    removed, kept, whole = passages(at)
    assert "Jaccard 0.850" in said(at) and (removed["label"], kept["label"]) == ("Removed text", "Kept text")
    marks = {kind for line in removed["lines"] for _, kind in line["parts"]}
    assert {"shared", "differs"} <= marks and len(whole["lines"]) == 3


def test_a_hostile_document_is_text_everywhere(corpus):
    at = show("documents", source="pages", id=EVIL_ID)
    (text,) = passages(at)
    shown = "\n".join("".join(piece for piece, _ in line["parts"]) for line in text["lines"])
    assert EVIL[0] in shown and "<U+202E>right to left<U+202C>" in shown and "<U+001B>[31mred" in shown
    marked = [*at.markdown, *at.caption, *at.subheader, *at.title, *at.info, *at.warning, *at.error]
    assert not any("script" in str(e.value) or "onerror" in str(e.value) for e in marked)
    at.session_state["plain"] = True
    told = [str(code.value) for code in at.code] + [
        str(v) for frame in at.dataframe for v in frame.value.values.ravel()
    ]
    assert not any({"\x1b", "\u202e"} & set(value) for value in told)
