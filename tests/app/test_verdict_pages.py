"""Compare, Explore, Advice and Vibes in three states: an empty lab, what the demo leaves, live and failed runs."""

import json
import shlex
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from mixlab.advise.horizon import TIMES
from mixlab.app import advising, drafts, mixing, onward, parts
from mixlab.app.advising import Wanted
from mixlab.commands import keep
from mixlab.errors import ConfigError
from mixlab.results.landscape import FEWEST_TO_FIT
from tests.app.driver import said, show
from tests.app.synthetic_lab import HOSTILE

PAGES = ("compare", "explore", "advice", "vibes")
NATURAL, UNIFORM = "natural-s0-aaaa0001", "uniform-s0-aaaa0002"


def test_an_empty_lab_gets_the_command_that_fills_it(project):
    at = show("compare")
    for page in PAGES:
        at.switch_page(f"mixlab/app/pages_/{page}.py").run()
        assert not at.exception and "mixlab " in "".join(c.value for c in at.code), page


def test_live_and_failed_runs_break_no_page(lab):
    at = show("compare")
    for page in PAGES:
        at.switch_page(f"mixlab/app/pages_/{page}.py").run()
        told = {"advice": f"2 of {FEWEST_TO_FIT} mixes", "explore": "Too few mixes for a fit"}.get(page, "")
        assert not at.exception and told in said(at), page
    assert "mixlab demo" not in "".join(c.value for c in show("advice").code)  # it would train other sources


def test_two_mixes_are_compared_with_their_noise_in_words(lab):
    at = show("compare", ids=["natural", "uniform"])
    scores = at.dataframe[0].value
    assert scores["task"].iloc[0] == "bpb/macro" and len(scores) == 5
    assert set(scores["verdict"]) <= {"not distinguishable", "a is better", "b is better"}
    assert f"mixlab runs compare {NATURAL} {UNIFORM}" in said(at)
    assert len(at.get("vega_lite_chart")) == 2 + 1  # shares, differences; macro
    assert len(show("compare", ids=["natural", "uniform"], curves="Each source").get("vega_lite_chart")) == 2 + 4
    assert "trained alike" in said(at) or len(at.dataframe) > 1


def test_runs_of_other_exams_are_refused_in_a_sentence(lab):
    path = lab / "runs" / UNIFORM / "scores.jsonl"
    path.write_text(path.read_text().replace('"evals_key": "00000000"', '"evals_key": "11111111"'))
    text = said(show("compare", ids=[NATURAL, UNIFORM]))
    assert "These two cannot be compared" in text and "score both alike first" in text


def test_a_view_is_kept_and_opened_again(lab):
    at = show("compare", ids=["natural", "uniform"])
    at.text_input(key="view_name").set_value("../evil").run()
    at.button(key="save_view").click().run()
    assert "cannot be used" in said(at) and not drafts.names()
    at.text_input(key="view_name").set_value("first").run()
    assert "compare-first.json" in said(at)
    at.button(key="save_view").click().run()
    assert drafts.load("compare-first") == {"ids": ["natural", "uniform"]}
    at.multiselect(key="ids").set_value([]).run()
    at.selectbox(key="view").set_value("first").run()
    assert at.session_state["ids"] == ["natural", "uniform"] and len(at.dataframe) > 0


def test_explore_places_the_mixes_and_hands_one_to_the_mix_page(lab):
    at = show("explore")
    assert "3 finished runs of one recipe, 2 different mixes" in said(at)
    at.selectbox(key="run").set_value(UNIFORM).run()
    at.button(key="use").click().run()
    assert not at.exception and "the draft of the Mix page" in said(at)
    assert drafts.load("mix")["weights"] == dict.fromkeys(("books", "code", "docs", "wiki"), 0.25)


def test_advice_on_the_demo_is_a_verdict_with_its_commands(demo_lab, project):
    at = show("advice")
    assert "mixlab recommend" in said(at)
    shares = at.dataframe[0].value
    assert abs(sum(shares["weight"]) - 1) < 1e-6 and set(shares["source"]) == {"books", "code", "docs", "wiki"}
    assert "mixlab runs clone demo-" in said(at) and "--save sweeps/mixture/advised.yaml" in said(at)
    at.slider(key="limit_code").set_value((30, 100)).run()
    assert "--floor code=0.3" in said(at)
    shares = at.dataframe[0].value.set_index("source")
    assert shares.loc["code", "weight"] >= 0.2999
    at.multiselect(key="group_1").set_value(["books", "code"]).run()
    at.slider(key="sum_1").set_value((0, 40)).run()
    assert "--group 'books+code<=0.4'" in said(at) and at.multiselect(key="group_2").value == []
    shares = at.dataframe[0].value.set_index("source")["weight"]
    assert shares["books"] + shares["code"] <= 0.4001
    at.number_input(key="counts_wiki").set_value(3.0).run()
    assert "--weight wiki=3" in said(at) and not at.exception
    at.button(key="save_advice").click().run()
    saved = yaml.safe_load((project / "sweeps" / "mixture" / "advised.yaml").read_text())
    assert saved["weights"]["code"] >= 0.2999 and (demo_lab / "ledger.jsonl").exists()
    for source in ("books", "code"):  # more than there is to share out
        at.slider(key=f"limit_{source}").set_value((80, 100))
    at.run()
    assert "No mix can be recommended under these constraints" in said(at)


def test_the_best_mix_is_told_for_longer_runs_as_the_command_tells_it(demo_lab):
    told = onward.horizon(Wanted(max_epochs=50.0))
    assert list(told["steps"]) == list(TIMES) and "R_D*" in told["hangs_on"]
    assert all(said.startswith(f"{times:g}x (") for times, (said, _) in told["steps"].items())
    assert all(mix is None or abs(sum(mix.values()) - 1) < 1e-9 for _, mix in told["steps"].values())
    assert set(told["drift"]["source"]) == {"books", "code", "docs", "wiki"}
    assert Wanted(max_epochs=50.0).of_runs("horizon") == ["advise", "horizon", "--max-epochs", "50"]
    with pytest.raises(ConfigError, match="all else is more than 0"):
        onward.horizon(Wanted(max_epochs=-1.0))
    nothing = onward.horizon(Wanted(max_epochs=0.001))
    assert nothing["hangs_on"] == "" and nothing["drift"].empty and "cannot fill it" in nothing["steps"][1][0]


def test_many_runs_are_fitted_only_when_somebody_asks_for_it(demo_lab, monkeypatch):
    monkeypatch.setattr(parts, "FITTED_AT_ONCE", 8)
    monkeypatch.setattr(mixing, "FITTED_AT_ONCE", 8)
    monkeypatch.setattr(advising, "behind", None)  # whoever fits without being asked fails
    monkeypatch.setattr(advising, "advice", None)
    monkeypatch.setattr(mixing, "foresee", None)
    at = show("explore")
    for page, command in (
        ("explore", "mixlab advise check"),
        ("advice", "mixlab recommend"),
        ("mix", "Predicted score"),
    ):
        at.switch_page(f"mixlab/app/pages_/{page}.py").run()
        assert not at.exception and "takes minutes" in said(at), page
        assert at.toggle(key="fit").value is False and command in said(at)


@pytest.fixture
def two_writers(lab):
    """The lab with samples of two runs, one of them hostile."""
    shutil.copy(lab / "runs" / UNIFORM / "samples.jsonl", lab / "runs" / NATURAL / "samples.jsonl")
    return lab


def test_a_run_named_in_markdown_is_no_markdown(two_writers):
    evil = "![x](http://127.0.0.1:9/x.png)"
    path = two_writers / "runs" / UNIFORM / "run.json"
    path.write_text(path.read_text().replace('"uniform"', json.dumps(evil)))
    for page, query in (("home", {}), ("runs", {"run": UNIFORM}), ("compare", {"ids": [NATURAL, UNIFORM]}),
                        ("vibes", {"runs": [NATURAL, UNIFORM], "shows": "true"}), ("explore", {})):  # fmt: skip
        at = show(page, **query)
        read = [e.value for part in (at.markdown, at.caption, at.header, at.subheader, at.title) for e in part]
        assert not [told for told in (*read, *(m.label for m in at.metric)) if "![x](" in told], page
        assert any("![x](" in told.replace("\\", "") for told in read) or page in ("home", "runs", "explore"), page


def test_votes_are_blind_until_cast_and_are_counted(two_writers):
    at = show("vibes", runs=[NATURAL, UNIFORM])
    captions = [c.value for c in at.caption]
    assert captions.count("A") == captions.count("B") == 2 and not any("natural" in c for c in captions)
    assert HOSTILE not in "".join(m.value for m in at.markdown) and "\x1b" not in "".join(c.value for c in at.code)
    at.button(key="vote-0-0").click().run()
    captions = [c.value for c in at.caption]
    assert captions.count("A") == 1 and sum(c.startswith(("A: ", "B: ")) for c in captions) == 2
    tally = at.dataframe[0].value
    assert sorted(tally["won"]) == [0, 1] and set(tally["said"]) == {"not distinguishable"}
    lines = (two_writers / "runs" / NATURAL / "annotations.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["vote"]
    (shown,) = [c.value for c in at.code if c.value.startswith("mixlab runs vote ")]
    told = CliRunner().invoke(keep.app, shlex.split(shown)[2:])
    assert told.exit_code == 0 and "won 1, lost 0" in told.stdout, told.output
    again = (two_writers / "runs" / NATURAL / "annotations.jsonl").read_text().splitlines()
    assert [json.loads(line) | {"ts": 0} for line in again] == 2 * [json.loads(lines[0]) | {"ts": 0}]
    at.button(key="tie-1").click().run()
    assert list(at.dataframe[0].value["tied"]) == [1, 1]


def test_prompts_are_saved_as_an_exam_and_asked_by_a_command(two_writers, project):
    at = show("vibes", runs=[NATURAL, UNIFORM])
    at.text_area(key="prompts").set_value("def main():\\n    \nOnce").run()
    at.button(key="save_prompts").click().run()
    path = project / "sweeps" / "evals" / "vibes.yaml"
    assert yaml.safe_load(path.read_text()) == {"prompts": ["def main():\n    ", "Once"]}
    assert f"mixlab runs clone {NATURAL}" in said(at)
    at.text_input(key="prompts_name").set_value("live").run()
    at.button(key="save_prompts").click().run()
    assert "an exam that mixlab ships" in said(at)
