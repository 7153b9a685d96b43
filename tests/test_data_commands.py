"""`mixlab data dedup` and `mixlab data contamination`, as a user types them."""

import json
import re

from tests.conftest import documents, mixlab

SOURCES = ("source=[lists,prose]", "cleaning=none")


def test_dedup_tells_what_went_and_how_far_to_trust_it(project):
    told = mixlab("data", "dedup", *SOURCES, "--json", cwd=project)
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert facts["per_source"]["prose"] == {"docs_in": 60, "removed": 0}
    assert [p["recall"] for p in facts["planted"][:1]] == [1.0] and facts["detection"]["0.8"] > 0.99


def test_contamination_finds_planted_items_and_its_own(project):
    rows = [json.dumps({"context": d["text"], "continuation": "so"}) for d in documents("prose", 3)]
    (project / "mine.jsonl").write_text("\n".join(rows), encoding="utf-8")
    asked = ("data", "contamination", "--tasks", "mine.jsonl", *SOURCES)
    told = mixlab(*asked, "--policy", "drop", "--json", cwd=project)
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert facts["sources"]["prose"]["dropped"] == 3 and facts["sources"]["lists"]["dropped"] == 0
    assert all(s["planted"] == s["found"] > 0 for s in facts["sources"].values())
    assert mixlab(*asked, "--policy", "burn", cwd=project).returncode == 2


def test_spans_and_contamination_are_asked_for_by_option_or_setting(project):
    told = mixlab("data", "spans", *SOURCES, "--min-words", "20", "--json", cwd=project)
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert facts["min_words"] == 20 and facts["sources"]["prose"]["docs_in"] == 60
    assert "Repeated spans of 50 words" in mixlab("data", "spans", *SOURCES, cwd=project).stdout
    (project / "mine.jsonl").write_text('{"context": "three words here", "continuation": "so"}', encoding="utf-8")
    told = mixlab("data", "contamination", *SOURCES, "decontamination.tasks=[mine.jsonl]", cwd=project)
    assert told.returncode == 0, told.stderr
    found = re.search(r"(\d+) of (\d+) planted items found", " ".join(told.stdout.split()))
    assert found and found[1] == found[2] != "0", told.stdout
    told = mixlab("data", "contamination", *SOURCES, cwd=project)
    assert told.returncode == 2 and "give --tasks" in told.stderr
