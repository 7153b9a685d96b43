"""`mixlab report`: one file that stands alone, and in which what others wrote stays text."""

import re
import shutil
from html.parser import HTMLParser

import pytest
from playwright.sync_api import sync_playwright

from mixlab import report, show_report
from mixlab.errors import MissingError
from mixlab.results.arms import arms_of
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace, read_json, write_json
from tests.app.synthetic_lab import HOSTILE, make_demo
from tests.conftest import mixlab

SWEEP = "# @package _global_\n# Question: does <b>code</b> help?\n# Expected: it does,\n# a little.\nsweep: starter\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A finished lab, with hostile samples, and the page of its sweep, in a project that asks a question."""
    project = tmp_path_factory.mktemp("report")
    ws = Workspace.open(project / "lab")
    make_demo(ws.root)
    for run in ws.runs():  # what the advice asks of a run and this lab does not say
        told = read_json(run / "run.json")
        told["spec"]["train"]["max_epochs"] = 4.0
        write_json(run / "run.json", told)
    ws.sweeps.mkdir()
    asked = sorted((p.name for p in ws.runs()), key=lambda name: ("natural" not in name, name))
    write_json(ws.sweeps / "starter.json", {"name": "starter", "runs": asked})
    (project / "sweeps").mkdir()
    (project / "sweeps" / "starter.yaml").write_text(SWEEP)
    told = report.report(ws, "starter", project)
    return project, told, show_report.page(told)


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_names_no_resource_and_runs_nothing(lab):
    tags = Tags(lab[2]).found
    assert not {tag for tag, _ in tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
    }
    names = {name for _, attrs in tags for name in attrs}
    assert not names & {"src", "href", "xlink:href", "srcset", "action", "background", "style"}
    assert not [name for name in names if name.startswith("on")]
    assert "url(" not in lab[2] and "@import" not in lab[2]


def test_hostile_text_stays_text(lab):
    page = lab[2]
    assert HOSTILE.split("</script>")[0] not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page and "\u202e" not in page and "\\u202e" in page
    assert "Does &lt;b&gt;code&lt;/b&gt; help?" in page and "It does, a little." in page


def test_every_chart_says_what_it_shows(lab):
    charts = [attrs for tag, attrs in Tags(lab[2]).found if tag == "svg"]
    assert len(charts) >= 6 and all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


def test_arms_are_runs_alike_but_for_the_seed_and_stand_against_the_first(lab):
    told = lab[1]
    assert [len(arm.runs) for arm in told.arms].count(3) == 2 and len(told.arms) == 13
    best = {a.arm: a for a in told.against if a.score == "shared"}["demo-recommended"]
    assert told.arms[0].name == "demo-natural" and best.difference.lo is not None
    assert told.verdict and told.is_clear is not None


def test_an_arm_is_called_by_its_mix_whatever_seed_stands_first_and_natural_is_the_reference(lab):
    ws = Workspace.open(lab[0] / "lab")
    rows = sorted(list_runs(ws), key=lambda r: (r["mixture"] == "demo-natural", -r["seed"]))
    natural = [{**r, "mixture": r["mixture"].removeprefix("demo-")} for r in rows]
    used, _ = report.chosen(natural, ws, None)
    arms, _ = arms_of([r for r in used if r["mixture"] in ("recommended", "natural")], ws)
    assert [arm.name for arm in arms] == ["natural", "recommended"]


def test_what_cannot_be_told_is_said_so_with_the_seeds_it_would_take(lab):
    words = {a.words for a in lab[1].against if not a.difference.distinguishable}
    assert words and all(w.startswith("not distinguishable (") for w in words)
    assert "not distinguishable" in lab[2]


@pytest.mark.browser
def test_the_command_writes_one_file_that_asks_for_nothing_in_a_browser(lab):
    project = lab[0]
    done = mixlab("report", "starter", "-o", "to send.html", env={"MIXLAB_HOME": str(project / "lab")}, cwd=project)
    assert done.returncode == 0, done.stderr
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs a browser: apt-get install chromium")
    asked, said = [], []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark", viewport={"width": 390, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto((project / "to send.html").as_uri())
        assert page.get_by_role("heading", name="Verdict").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 25, 30)"
        browser.close()
    assert asked == [(project / "to send.html").as_uri()] and said == []


def test_an_unknown_sweep_is_told_with_the_nearest(lab):
    with pytest.raises(MissingError, match="starter"):
        report.report(Workspace.open(lab[0] / "lab"), "startr", lab[0])


def test_a_lab_without_runs_says_where_to_look(tmp_path):
    with pytest.raises(MissingError, match=re.escape("no run of")):
        report.report(Workspace.open(tmp_path / "lab"), None, tmp_path)
