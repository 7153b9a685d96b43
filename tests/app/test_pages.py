"""Each page in an empty lab and in a lab with finished, live and failed runs, without a browser."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from mixlab.app import lab as lab_reader
from mixlab.app.main import GROUPS
from mixlab.results.store import Store
from tests.app.driver import said, show
from tests.app.synthetic_lab import ENTRY, HOSTILE, ROOT

PAGES = [name for pages in GROUPS.values() for name, *_ in pages]
HOME, RUNS, MIX = "home", "runs", "mix"
FILES = [f"mixlab/app/pages_/{name}.py" for name in (RUNS, MIX)]


@pytest.mark.parametrize("page", [HOME, RUNS, MIX])
def test_an_empty_lab_says_what_to_do(project, page):
    at = show(page)
    assert "mixlab demo" in [line for code in at.code for line in code.value.splitlines()]
    assert not at.dataframe


@pytest.mark.parametrize("state", ["project", "demo_lab", "lab"])
def test_every_page_says_something_in_every_state(request, state):
    request.getfixturevalue(state)
    at = show(HOME)
    for page in PAGES:
        at.switch_page(f"mixlab/app/pages_/{page}.py").run()
        assert not at.exception, (page, at.exception[0].stack_trace)
        assert len(at.title) == 1 and len(said(at).splitlines()) > 2, page


def test_home_counts_states_and_ranks_mixes(lab):
    at = show(HOME)
    counts = {m.label: m.value for m in at.metric}
    assert counts["finished"] == "3" and counts["running"] == "1" and counts["failed"] == "1"
    best = at.dataframe[0].value
    assert sorted(best["bpb_macro"]) == list(best["bpb_macro"])
    assert dict(zip(best["mixture"], best["n_scored"], strict=True)) == {"uniform": 2, "natural": 1}
    shares = dict(zip(best["mixture"], best["shares"], strict=True))
    assert shares == {"uniform": "books 25, code 25, docs 25, wiki 25"} | {
        "natural": "code 60, docs 27, books 12, wiki 1"
    }
    assert "The gain over natural is 0.05 ± 0.01." in said(at)


@pytest.mark.parametrize(("made", "looks"), [("demo_lab", 1), ("lab", 2)])
def test_runs_are_read_again_only_while_one_has_not_ended(request, monkeypatch, made, looks):
    request.getfixturevalue(made)
    clock, seen, real = [1000.0], [], Store.runs
    monkeypatch.setattr(lab_reader, "time", SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(Store, "runs", lambda self: seen.append(clock[0]) or real(self))
    lab_reader.runs()
    clock[0] += 3 * lab_reader.STATE_SECONDS
    assert len(lab_reader.runs()) > 0 and len(seen) == looks
    lab_reader.runs()
    assert len(seen) == looks


def test_what_other_runs_write_is_no_reason_to_read_the_chosen_ones_again(lab, monkeypatch):
    seen, real = [], Store.scores
    monkeypatch.setattr(Store, "scores", lambda self, ids: seen.append(ids) or real(self, ids))
    chosen, other = ["uniform-s0-aaaa0002"], "code-x2-s0-aaaa0004"
    before = lab_reader.scores(chosen)
    for run in (other, *chosen):
        path = lab / "runs" / run / "scores.jsonl"
        path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
        assert len(lab_reader.scores(chosen)) >= len(before)
    assert seen == [chosen, chosen]  # first, and once it had changed itself


def test_what_the_demo_leaves_breaks_no_page(demo_lab):
    at = show("runs", run=["demo-natural-s0-bbbb0000", "demo-d01-s0-bbbb0001"])
    for page, told in (("run", "Choose one above"), ("sweep", "16 mixtures"), ("compare", "Pick two or more"),
                       ("vibes", "who wrote"), ("mix", "Predicted score")):  # fmt: skip
        at.switch_page(f"mixlab/app/pages_/{page}.py").run()
        assert not at.exception, page
        assert told.lower() in said(at).lower(), page


def test_home_without_a_verdict_names_the_command(lab):
    (lab / "verdict.json").unlink()
    assert "mixlab recommend" in said(show(HOME))


def test_a_verdict_torn_by_a_power_cut_is_to_be_asked_for_again(lab):
    (lab / "verdict.json").write_text("{")
    assert "mixlab recommend" in said(show(HOME))


def test_the_runs_table_hides_what_all_runs_share(lab):
    at = show(RUNS)
    assert len(at.dataframe[0].value) == 5
    shown = set(at.dataframe[0].proto.column_order)
    assert {"label", "state", "bpb_macro", "w_code", "seed"} <= shown
    assert not {"n_params", "sweep", "device", "path", "run_id"} & shown
    at.toggle(key="only_differing").set_value(False).run()
    assert {"n_params", "sweep", "path"} <= set(at.dataframe[0].proto.column_order)


def test_runs_are_found_by_words_and_by_state(lab):
    at = show(RUNS)
    at.text_input(key="q").set_value("code-x2").run()
    assert list(at.dataframe[0].value["name"]) == ["code-x2"]
    at.text_input(key="q").set_value("nothing-like-this").run()
    assert not at.dataframe and "Clear them" in said(at)
    at.text_input(key="q").set_value("").run()
    at.multiselect(key="state").set_value(["failed"]).run()
    assert list(at.dataframe[0].value["name"]) == ["broken"]


def test_one_chosen_run_shows_its_curves_and_its_samples_as_text(lab):
    at = show(RUNS, run="uniform-s0-aaaa0002")
    assert len(at.get("vega_lite_chart")) == 3  # bpb of all sources, training loss, mixture
    written = [c.value for c in at.code if c.value.startswith("at step")]
    assert set(written) == {f"at step 200: {lab_reader.visible(HOSTILE)}"}
    assert "\x1b" not in written[0] and "\u202e" not in written[0]
    assert HOSTILE not in "".join(m.value for m in at.markdown)
    at.select_slider(key="sample_step").set_value(0).run()
    assert any(c.value.startswith("at step 0") for c in at.code)


def test_several_chosen_runs_are_compared_domain_by_domain(lab):
    at = show(RUNS, run=["uniform-s0-aaaa0002", "code-x2-s0-aaaa0004"])
    assert len(at.get("vega_lite_chart")) == 3  # macro, training loss, mixtures
    at = show(RUNS, run=["uniform-s0-aaaa0002", "code-x2-s0-aaaa0004"], curves="Each source")
    assert len(at.get("vega_lite_chart")) == 6  # four sources for the mean
    assert not at.exception


def test_the_mix_page_starts_at_the_natural_mix_and_counts_epochs(lab):
    at = show(MIX)
    assert at.session_state["mix_state"].weights == (119, 597, 269, 15)
    assert at.metric[0].value == "100.0%"
    at.selectbox(key="preset").set_value("uniform").run()
    at.button(key="use_preset").click().run()
    assert at.session_state["mix_state"].weights == (250, 250, 250, 250)
    at.number_input(key="budget").set_value(1_000_000).run()
    assert "Repeated past the limit" in said(at)  # wiki: 250 k of 50 k tokens


def test_saving_a_mix_writes_a_value_of_the_group_and_asks_before_replacing(lab, project):
    at = show(MIX)
    at.text_input(key="mix_name").set_value("mine").run()
    assert "mixlab run mixture=mine" in said(at)
    at.button(key="save").click().run()
    path = project / "sweeps" / "mixture" / "mine.yaml"
    saved = yaml.safe_load(path.read_text())
    assert saved["rule"] == "weights" and saved["name"] == "mine"
    assert saved["weights"] == {"books": 0.119, "code": 0.597, "docs": 0.269, "wiki": 0.015}
    path.write_text("kept: true\n")
    at.button(key="save").click().run()
    assert "is there already" in said(at) and path.read_text() == "kept: true\n"
    at.checkbox(key="replace-mine").check().run()
    at.button(key="save").click().run()
    assert "kept" not in path.read_text()


@pytest.mark.parametrize("name", ["../evil", ""])
def test_a_name_that_is_no_name_is_refused_and_writes_nothing(lab, project, name):
    at = show(MIX)
    at.text_input(key="mix_name").set_value(name).run()
    at.button(key="save").click().run()
    assert "Not saved" in said(at)
    assert not list(project.rglob("*.yaml"))


def test_weights_that_the_browser_made_up_are_ignored(lab):
    at = show(MIX)
    before = at.session_state["mix_state"]
    rev = at.session_state["mix_rev"]
    at.session_state["mix"] = {"mix": {"rev": rev, "weights": [5000, -4000, 0, 0], "locked": [False] * 4}}
    at.run()
    assert not at.exception and at.session_state["mix_state"] == before


def test_the_app_starts_without_torch(lab):
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        f"at = AppTest.from_file({str(ENTRY)!r}, default_timeout=60).run()\n"
        f"for page in {FILES!r}:\n    at.switch_page(page).run()\n    assert not at.exception\n"
        "heavy = {'torch', 'datasets', 'hydra', 'lightgbm', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    got = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert got.returncode == 0, got.stderr[-2000:]
