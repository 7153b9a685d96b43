"""`mixlab.open()`: a lab as frames, for notebooks."""

import ast
import inspect
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

import mixlab
from mixlab.errors import ConfigError, MissingError
from mixlab.lab import Lab
from tests.app.synthetic_lab import SOURCES, make_lab
from tests.conftest import documents, write_source
from tests.conftest import mixlab as command


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("open") / "lab"
    make_lab(root)
    return mixlab.open(root)


def test_mixes_sum_to_one_and_carry_their_unit(lab):
    mixes = lab.mixes()
    assert list(mixes.columns) == sorted(SOURCES) and len(mixes) == 5
    assert mixes.sum(axis=1).tolist() == pytest.approx([1.0] * 5, abs=1e-9)
    assert set(mixes.attrs["units"].values()) == {"share of training tokens"}


def test_frames_say_the_units_of_their_columns(lab):
    units = lab.runs().attrs["units"]
    assert (units["bpb_wiki"], units["w_wiki"], units["seen_tokens"]) == (
        "bits per byte",
        "share of training tokens",
        "tokens",
    )
    assert lab.metrics().attrs["units"]["tokens"] == "tokens"


def test_runs_by_a_condition_and_only_where_they_differ(lab):
    seeds = lab.runs("mixture = 'uniform' AND state = 'finished'", only_differing=True)
    assert seeds["seed"].tolist() == [0, 1]
    assert "mixture" not in seeds and "w_wiki" not in seeds
    with pytest.raises(ConfigError, match="statte"):
        lab.runs("statte = 'finished'")


def test_live_scores_are_asked_for(lab):
    assert lab.scores()["is_final"].all()
    assert not lab.scores(final=False)["is_final"].all()


def test_a_difference_of_shares_is_in_points(lab):
    runs = lab.runs("state = 'finished' AND seed = 0").set_index("mixture")["run_id"]
    told = lab.diff(runs["natural"], runs["uniform"]).set_index("key")
    shares = told.loc[[f"w_{s}" for s in SOURCES]]
    assert shares["difference"].sum() == pytest.approx(0, abs=1e-9)
    wiki = told.loc["w_wiki"]
    assert wiki["difference"] == pytest.approx(100 * (wiki["b"] - wiki["a"]))
    assert lab.diff(runs["natural"], runs["natural"]).empty
    with pytest.raises(MissingError, match="natural"):
        lab.diff(runs["natural"], "naturel-s0-aaaa0001")


def test_threads_get_the_answer_of_one(lab):
    alone = lab.runs()
    with ThreadPoolExecutor(4) as pool:
        assert all(frame.equals(alone) for frame in pool.map(lambda _: lab.runs(), range(12)))


EXAMPLES = {
    name: re.findall(r"^```python\n(.*?)^```", inspect.getdoc(method) or "", re.MULTILINE | re.DOTALL)
    for name, method in vars(Lab).items()
    if inspect.isfunction(method) and not name.startswith("_")
}
OF_TEXT = ("documents", "retention")


def shown(name: str, lab: Lab) -> pd.DataFrame:
    """What a notebook shows of a method's example: the value of its last line."""
    (code,) = EXAMPLES[name]
    *before, last = ast.parse(code).body
    names = {"lab": lab}
    exec(compile(ast.Module(before, []), name, "exec"), names)
    return eval(ast.unparse(last), names)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in OF_TEXT])
def test_the_example_of_a_method_runs(lab, name):
    assert not shown(name, lab).empty or name == "sources"  # nothing was prepared in this lab


def test_documents_and_retention_tell_what_cleaning_did(project):
    pages = [
        {**doc, "text": doc["text"][:-1] + (" {." if i % 3 == 0 else ".")}
        for i, doc in enumerate(documents("prose", 30))
    ]
    write_source(project, "notes", pages)
    told = command("data", "prepare", "source=[notes]", "cleaning=c4", "tokenizer=bytes", "holdout.min_docs=4")
    assert told.returncode == 0, told.stderr
    lab = mixlab.open()
    kept, dropped = lab.documents("notes"), lab.documents("notes", kept=False)
    assert (len(kept), len(dropped)) == (20, 10)
    assert kept["reason"].isna().all() and all("{" in text for text in dropped["text"])
    rule = dropped["reason"].iloc[0]
    assert lab.documents("notes", kept=False, rule=rule, n=5)["id"].tolist() == dropped["id"].tolist()[:5]
    assert lab.documents("notes", rule=rule).empty
    with pytest.raises(ConfigError, match="no rule 'badwrd'"):
        lab.documents("notes", rule="badwrd")
    steps = lab.retention("notes")
    assert (steps["docs"].iloc[0], steps["docs"].iloc[-1]) == (30, 20)
    assert steps.attrs["units"]["bytes"] == "bytes"
    assert list(shown("retention", lab).columns) == ["notes"] and len(shown("documents", lab)) == 5


def test_no_lab_is_said_with_the_way_out(tmp_path):
    with pytest.raises(MissingError, match="mixlab demo"):
        mixlab.open(tmp_path / "nowhere")


def test_the_front_loads_nothing_heavy():
    code = "import sys, mixlab; sys.exit(bool({'pandas', 'duckdb', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
