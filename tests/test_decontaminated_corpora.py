"""Evaluation items and repeated spans on the way to the corpora: what is cut or dropped is not trained on."""

import json

import numpy as np
import pandas as pd
import pytest

from mixlab import pipeline
from mixlab.compose import spec_of
from mixlab.data.places import places
from mixlab.data.shards import document_ends, token_array
from mixlab.errors import SourceError
from mixlab.results.store import Store
from mixlab.workspace import Workspace, key_of
from tests.conftest import TINY, documents, write_source


@pytest.fixture
def ws(project):
    return Workspace.open(project / "lab")


@pytest.fixture
def items(project):
    """Three items: the second and third sentences of three documents."""
    found = [". ".join(d["text"].split(". ")[1:3]) for d in documents("prose", 3)]
    rows = [json.dumps({"context": text, "continuation": "so"}) for text in found]
    (project / "mine.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return found


def prepared(project, ws, *overrides):
    spec = spec_of([*TINY, *overrides], project)
    return spec, places(spec, ws), pipeline.prepare(spec, ws)


def texts(corpus):
    """Training texts of a byte-tokenised corpus."""
    tokens, ends = np.asarray(token_array(corpus)), document_ends(corpus)
    return [bytes(tokens[a : b - 1].astype(np.uint8)).decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def held(corpus):
    return pd.read_parquet(corpus.path / "heldout.parquet")["text"].tolist()


def test_what_is_cut_or_dropped_is_not_trained_on(project, ws, items):
    asked = "decontamination.tasks=[mine.jsonl]"
    _, plain, before = prepared(project, ws)
    assert plain.contamination is None and plain.texts == plain.clean and plain.kept == plain.dedup
    every = texts(before["prose"]) + held(before["prose"])
    assert all(any(item in text for text in every) for item in items)

    _, told, same = prepared(project, ws, asked)
    assert {n: c.key for n, c in same.items()} == {n: c.key for n, c in before.items()}  # a report changes no text
    assert told.contamination is not None
    flags = pd.read_parquet(told.contamination / "items.parquet")
    assert flags[["task", "item", "dirty"]].values.tolist() == [["mine", n, True] for n in range(3)]

    for policy, left in (("cut", 60), ("drop", 57)):
        spec, at, after = prepared(project, ws, asked, f"decontamination.policy={policy}")
        now = texts(after["prose"]) + held(after["prose"])
        assert len(now) == left
        assert not any(item in text for item in items for text in now)
        assert after["prose"].key != before["prose"].key
        assert after["prose"].dropped.get("evaluation-items", 0) == 60 - left
        assert at.contamination is not None and spec.decontamination.policy in at.contamination.name
    check_store(Store.open(ws), at)


def check_store(store, at):
    """The store tells of items, stages and the whole way back, as far as the last corpora, `at`, are concerned."""
    met = store.sql(
        "SELECT n_docs, n_items, n_items_hit, removed FROM contamination WHERE key = ? AND source = 'prose'",
        [at.contamination.name],
    )
    assert met.values.tolist() == [[3, 3, 3, True]]
    stages = "SELECT docs_in, docs_out FROM filter_stage WHERE stage = ? AND source = 'prose' ORDER BY key = ? DESC"
    assert store.sql(stages, ["contamination", at.contamination.name]).values.tolist()[0] == [60, 57]
    (told,) = store.sql("FROM source WHERE key = ?", [at.tokens["prose"].name[-8:]]).itertuples()
    ways = {"tokenizer_id": at.tokenizer, "pipeline_id": at.clean["prose"], "parent_source_id": at.raw["prose"]}
    assert all(getattr(told, name) == f"{path.parent.name}/{path.name}" for name, path in ways.items())
    back = """WITH RECURSIVE way AS (SELECT ? AS name UNION SELECT parent FROM lineage_edge JOIN way ON child = name)
              SELECT name FROM way"""
    names = set(store.sql(back, [f"tokens/{told.source}-{told.key}"])["name"])
    every = [*ways.values(), *at.raw.values(), *at.clean.values(), at.contamination, at.dedup, at.split]
    assert names == {f"{p.parent.name}/{p.name}" for p in [*every, at.tokens["prose"]]}


def test_items_decide_the_key_not_the_place_of_their_file(project, ws, items):
    def key(*overrides):
        return places(spec_of([*TINY, "decontamination.policy=drop", *overrides], project), ws).tokens["prose"]

    at = key("decontamination.tasks=[mine.jsonl]")
    (project / "elsewhere").mkdir()
    (project / "elsewhere" / "mine.jsonl").write_bytes((project / "mine.jsonl").read_bytes())
    assert key("decontamination.tasks=[elsewhere]") == at
    (project / "elsewhere" / "mine.jsonl").write_text('{"context": "other words", "continuation": "here now"}')
    assert key("decontamination.tasks=[elsewhere]") != at
    with pytest.raises(SourceError, match="holds no evaluation items"):
        prepared(project, ws, "decontamination.tasks=[nowhere]")


def test_repeated_spans_are_trained_on_once(project, ws):
    rows = documents("prose", 60)
    passage = " ".join(f"boiler{n}" for n in range(60))
    rows = [{**row, "text": f"{row['text']} {passage} end{n}"} for n, row in enumerate(rows)]
    rows.append({"id": "passage", "text": f"{passage} {passage}"})
    write_source(project, "prose", rows)
    _, _, before = prepared(project, ws)
    spec, at, after = prepared(project, ws, "spans.min_words=50")
    assert sum(t.count("boiler7 ") for t in texts(before["prose"]) + held(before["prose"])) > 50
    assert sum(t.count("boiler7 ") for t in texts(after["prose"]) + held(after["prose"])) == 1
    assert at.kept != at.dedup
    assert key_of("runs", 1, spec, {}) == key_of("runs", 1, spec_of([*TINY], project), {})  # the corpora's keys tell
