"""A source keeps its place, and so its colour, whatever comes after it."""

import os

import pandas as pd

from mixlab.results import charts
from mixlab.results.catalogue import source_order
from mixlab.results.store import Store


def prepared(ws, source, at):
    folder = ws.root / "tokens" / f"{source}-00000001"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    os.utime(folder / "manifest.json", (at, at))


def test_a_source_that_comes_later_changes_no_colour(ws, make_run):
    prepared(ws, "wiki", 200.0)
    prepared(ws, "my-pages", 100.0)
    before = source_order(ws, pd.DataFrame())
    assert before == ["my-pages", "wiki"]
    prepared(ws, "a-new-one", 300.0)
    make_run("even", 0)  # of code and wiki, made now
    order = source_order(ws, Store.open(ws).runs())
    assert order == ["my-pages", "wiki", "a-new-one", "code"]
    one, other = charts.colours(before), charts.colours(order)
    assert one.items() <= other.items()
    assert list(other) == sorted(other)  # legends are read by name


def test_a_run_that_others_trained_brings_its_sources_when_it_is_imported(ws, make_run):
    run = make_run("even", 0)
    prepared(ws, "pages", 100.0)
    os.utime(run / "run.json", (200.0, 200.0))
    rows = Store.open(ws).runs()
    assert source_order(ws, rows.assign(origin="elsewhere", created_at=pd.Timestamp(0))) == ["pages", "code", "wiki"]
