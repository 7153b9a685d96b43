"""`mixlab data atlas`, `audit` and `explain`, as a user types them, over a source that was cleaned and deduplicated."""

import json
import re

from tests.conftest import mixlab, write_source

WORDS = [f"Wort{i} naïve{i % 7}" for i in range(120)]
GOOD = "\n".join(" ".join(WORDS[i : i + 12]) + " stands here. Another one." for i in range(0, 120, 12))


def test_a_near_duplicate_is_explained_by_the_longest_run_of_words_it_shares(project):
    near = GOOD.replace("Wort60 ", "Ein anderes ")
    rows = [{"id": "long", "text": GOOD + "\nAnd one more line of it."}, {"id": "near", "text": near}]
    rows += [
        {"id": "same", "text": GOOD.upper() + "\nAND ONE MORE LINE OF IT."},
        {"id": "bad", "text": GOOD + "\n{ is in this last line."},
    ]
    write_source(project, "pages", rows)
    asked = ("source=[pages]", "cleaning=c4")
    assert mixlab("data", "dedup", *asked, "--json", cwd=project).returncode == 0
    removed = {}
    for row in rows[:3]:
        told = mixlab("data", "explain", "pages", row["id"], "--json", cwd=project)
        assert told.returncode == 0, told.stderr
        found = json.loads(told.stdout)
        assert found["kept"] and found["reason"] is None
        if found["duplicate"]:
            removed[row["id"]] = found["duplicate"]
    kept = next(row["id"] for row in rows[:3] if row["id"] not in removed)
    assert len(removed) == 2 and {d["kept_id"] for d in removed.values()} == {kept}
    (pair,) = [d for d in removed.values() if not d["exact"]]
    texts = {row["id"]: row["text"] for row in rows}
    told, other = (re.findall(r"\w+", texts[i].lower()) for i in ("near", "long"))
    assert pair["shared_words"] == longest_run(told, other)
    shared = re.findall(r"\w+", pair["shared_span"].partition(" … (")[0].lower())
    assert f" {' '.join(shared)} " in f" {' '.join(told)} " and f" {' '.join(shared)} " in f" {' '.join(other)} "
    shown = " ".join(mixlab("data", "explain", "pages", next(iter(removed)), cwd=project).stdout.split())
    assert "then removed as a duplicate" in shown and f"Removed as a duplicate of pages {kept}" in shown
    dropped = mixlab("data", "explain", "pages", "bad", cwd=project).stdout
    assert "dropped: filtered:squigglybracket" in " ".join(dropped.split())


def longest_run(one, other):
    best, row = 0, [0] * (len(other) + 1)
    for word in one:
        row = [0] + [row[j] + 1 if word == said else 0 for j, said in enumerate(other)]
        best = max(best, *row)
    return best


def test_the_atlas_answers_and_the_audit_ends_with_3(project):
    rows = [{"id": f"d{i}", "text": f"{GOOD}\nA {'gay' if i < 15 else 'good'} page {i} stands.\n"} for i in range(60)]
    for row in rows[:12]:
        row["text"] += "Some sex is in it."
    write_source(project, "pages", rows)
    asked = ("source=[pages]", "cleaning=c4", "dedup=off")
    assert mixlab("data", "dedup", *asked, cwd=project).returncode == 0
    told = json.loads(mixlab("data", "atlas", "pages", "--what-if", "badword=off", "--json", cwd=project).stdout)
    assert told["sources"][0]["docs_back"] == 12 == len(told["documents"])
    told = json.loads(mixlab("data", "atlas", "--json", cwd=project).stdout)
    assert told["waterfall"][0]["docs"] == 60 and told["waterfall"][-1]["docs"] == 48
    assert mixlab("data", "audit", "--max-risk", "1.5", cwd=project).returncode == 3
    assert mixlab("data", "audit", "--max-risk", "9", cwd=project).returncode == 0
