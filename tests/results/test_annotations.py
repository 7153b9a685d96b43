import pytest

from mixlab.errors import ConfigError, MissingError
from mixlab.results import annotations
from mixlab.results.check import check
from mixlab.results.store import Store, publish


def told(ws) -> dict:
    return Store.open(ws).runs().set_index("run_id")[["is_starred", "is_archived", "tags", "note"]].to_dict("index")


def test_what_was_said_last_holds_in_the_file_and_in_the_store(ws, make_run):
    run, other = make_run("even", 0), make_run("odd", 1)
    publish(ws)
    annotations.star(run)
    annotations.tag(run, "baseline")
    annotations.tag(run, "again")
    annotations.tag(run, "baseline", on=False)
    annotations.note(run, "first")
    annotations.note(run, "the LR was too high, 'twas")
    annotations.archive(run)
    annotations.archive(run, on=False)
    said = {"is_starred": True, "is_archived": False, "tags": ["again"], "note": "the LR was too high, 'twas"}
    assert annotations.remarks(run) == said
    assert annotations.remarks(other) == {"is_starred": False, "is_archived": False, "tags": [], "note": ""}
    for _ in ("from the run's file", "from the index"):
        row = told(ws)[run.name]
        assert row == {**said, "tags": "again"}
        assert not told(ws)[other.name]["is_starred"]
        publish(ws)
    assert check(ws) == []


@pytest.mark.parametrize("name", ["", "  ", "a,b", "x" * 41, "two\nlines", "\x1b[31m"])
def test_a_tag_is_one_short_word_or_refused(make_run, name):
    run = make_run()
    with pytest.raises(ConfigError, match="is no tag"):
        annotations.tag(run, name)
    assert not (run / annotations.FILE).exists()


def test_a_run_that_is_gone_is_said_to_be_gone(ws):
    with pytest.raises(MissingError, match="runs ls"):
        annotations.star(ws.root / "runs" / "gone-s0-00000000")


def test_an_empty_note_takes_the_note_away(ws, make_run):
    run = make_run()
    annotations.note(run, "x")
    annotations.note(run, "")
    assert annotations.remarks(run)["note"] == "" and not isinstance(told(ws)[run.name]["note"], str)
